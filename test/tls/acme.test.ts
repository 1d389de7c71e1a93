/** Asking a real directory (Pebble) for certificates, in one process: what fails, what is tried again, and when. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { X509Certificate } from 'node:crypto';
import { chmod, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { LockHeld, withFileLock } from '../../src/file-lock.ts';
import type { Logger } from '../../src/log.ts';
import { createPlainHandler } from '../../src/protocol/plain-handler.ts';
import type { Listener } from '../../src/server/listener.ts';
import { listen } from '../../src/server/runtime.ts';
import { adviceFor } from '../../src/tls/acme-advice.ts';
import { AcmeFolder, isPlaceholder } from '../../src/tls/acme-folder.ts';
import { type AcmeOrder, DirectoryProblem, orderCertificate, retryAfter } from '../../src/tls/acme-order.ts';
import { backOff, keepRenewed, prepareAcme, type Renewal, renewIfDue } from '../../src/tls/acme-renewal.ts';
import { ChallengeFiles } from '../../src/tls/challenge-files.ts';
import { runDnsHook } from '../../src/tls/dns-hook.ts';
import { dnsResponder, httpResponder } from '../../src/tls/responders.ts';
import { ALGORITHM, exportKey, makeKeys, x509 } from '../../src/tls/x509.ts';
import { failureOf } from '../harness/failure-of.ts';
import { freePort } from '../harness/ports.ts';
import { type Pebble, startPebble } from '../harness/pebble.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { untilHolds } from '../harness/waiting.ts';

const HOSTS = ['a.entrepot.example', 'b.entrepot.example'];
const DAY = 24 * 3_600_000;

let workspace: Workspace;
let pebble: Pebble;
let plain: Listener;
let folder: AcmeFolder;
let files: ChallengeFiles;
let number = 0;
let lines: string[] = [];

const note =
  (level: string) =>
  (message: string, fields = {}) => {
    lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
  };
const log = {
  error: note('error'),
  warn: note('warn'),
  info: note('info'),
  debug: note('debug'),
} satisfies Logger;

beforeAll(async () => {
  workspace = await createWorkspace('acme');
  const port = await freePort();
  const handler = createPlainHandler({ token: (token) => files.token(token), hosts: () => [] }, 443);
  const address = { hostname: '127.0.0.1', port };
  plain = await listen({ address, reusePort: false, idleSeconds: 30, handler });
  pebble = await startPebble({ httpPort: port, blocked: ['blocked.example'] });
});
beforeEach(() => {
  lines = [];
  number += 1;
  folder = new AcmeFolder(workspace.join(`folder-${number}`));
  files = new ChallengeFiles(folder.path);
});
afterAll(async () => {
  await plain.close();
  await pebble.dispose();
  await workspace.remove();
});

async function orderOf(changes: Partial<AcmeOrder> = {}): Promise<AcmeOrder> {
  return {
    directoryUrl: pebble.directoryUrl,
    ca: await readFile(pebble.ca, 'utf8'),
    accountKey: await folder.accountKey(),
    hosts: HOSTS,
    responder: httpResponder(files),
    ...changes,
  };
}

function renewalOf(changes: Partial<Renewal> = {}, order: Partial<AcmeOrder> = {}): Renewal {
  const hosts = changes.hosts ?? HOSTS;
  return {
    folder,
    hosts,
    directoryUrl: pebble.directoryUrl,
    settings: hosts.join(' '),
    order: async () => orderCertificate(await orderOf({ hosts, ...order })),
    advise: (problem) => adviceFor(problem, 'http-01'),
    log,
    ...changes,
  };
}

/** A certificate that some directory signed so long ago (milliseconds), for 90 days. */
async function signedBefore(age: number, hosts = HOSTS): Promise<void> {
  const keys = await makeKeys();
  const begin = Date.now() - age;
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=some directory',
    notBefore: new Date(begin),
    notAfter: new Date(begin + 90 * DAY),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.SubjectAlternativeNameExtension(hosts.map((value) => ({ type: 'dns' as const, value }))),
    ],
  });
  await folder.writeCertificate(certificate.toString('pem'), await exportKey(keys));
}

const issuer = async () => (await folder.certificate())?.issuer ?? 'none';

describe('with a directory', () => {
  test('a placeholder, then a certificate for all names, then nothing until two thirds of its time', async () => {
    expect(await prepareAcme(folder, HOSTS)).toBe(false);
    const placeholder = await folder.certificate();
    expect(placeholder !== undefined && isPlaceholder(placeholder)).toBe(true);
    expect(await renewIfDue(renewalOf({}, { email: 'admin@entrepot.example' }))).toBe('obtained');
    const text = await readFile(folder.certificateFile, 'utf8');
    const leaf = new X509Certificate(text);
    expect(leaf.subjectAltName?.split(', ').sort()).toEqual(HOSTS.map((host) => `DNS:${host}`));
    const [, intermediate = ''] = text.split(/(?<=-----END CERTIFICATE-----)\s/);
    const chain = new X509Certificate(intermediate);
    expect([leaf.checkIssued(chain), leaf.verify(chain.publicKey)]).toEqual([true, true]);
    expect(chain.verify(new X509Certificate(await pebble.root()).publicKey)).toBe(true);
    for (const name of ['account.key', 'certificate.pem', 'state.json']) {
      expect((await stat(`${folder.path}/${name}`)).mode & 0o777).toBe(0o600);
    }
    expect(await prepareAcme(folder, HOSTS)).toBe(true);
    const issued = pebble.issued();
    const [begin, end] = [Date.parse(leaf.validFrom), Date.parse(leaf.validTo)];
    const twoThirds = begin + ((end - begin) * 2) / 3;
    expect(await renewIfDue(renewalOf(), twoThirds - 1000)).toBe('nothing');
    expect(pebble.issued()).toBe(issued);
    // The account is known by now: another address of it is told.
    await signedBefore(61 * DAY);
    expect(await renewIfDue(renewalOf({}, { email: 'root@entrepot.example' }))).toBe('obtained');
    expect(new X509Certificate(await readFile(folder.certificateFile)).serialNumber).not.toBe(
      leaf.serialNumber,
    );
    expect(await readdir(`${folder.path}/challenges`)).toEqual([]);
    expect(lines.join('\n')).not.toContain('error');
    // A clock that is far ahead makes everything old: that is a failure, and not a reason to ask every few seconds.
    expect(await renewIfDue(renewalOf(), twoThirds + DAY)).toBe('failed');
    expect(await renewIfDue(renewalOf(), twoThirds + DAY + 5000)).toBe('waiting');
    expect(lines.join('\n')).toContain('set the clock');
  });

  test('other names, and another directory, are asked for at once; a name less is not', async () => {
    await signedBefore(DAY, [...HOSTS, 'c.entrepot.example']);
    expect(await renewIfDue(renewalOf())).toBe('nothing');
    await signedBefore(DAY, ['a.entrepot.example']);
    expect(await renewIfDue(renewalOf())).toBe('obtained');
    await signedBefore(DAY);
    await folder.writeState({ signedBy: 'https://staging.example/dir' });
    expect(await renewIfDue(renewalOf())).toBe('obtained');
    expect(await renewIfDue(renewalOf())).toBe('nothing');
  });

  test('of several that see that it is time one asks, and a lock left behind holds up nobody', async () => {
    await signedBefore(70 * DAY);
    const before = pebble.issued();
    const outcomes = await Promise.all(Array.from({ length: 4 }, () => renewIfDue(renewalOf())));
    expect(outcomes.filter((outcome) => outcome === 'obtained')).toHaveLength(1);
    expect(pebble.issued()).toBe(before + 1);
    const lock = `${folder.path}/order.lock`;
    // One of another machine, fresh and old.
    await writeFile(lock, 'elsewhere-1-1');
    await signedBefore(70 * DAY);
    expect(await renewIfDue(renewalOf())).toBe('elsewhere');
    const old = new Date(Date.now() - 6 * 60_000);
    await utimes(lock, old, old);
    expect(['elsewhere', 'obtained']).toContain(await renewIfDue(renewalOf()));
    if ((await issuer()).includes('some directory')) expect(await renewIfDue(renewalOf())).toBe('obtained');
  });

  test('a name that it does not sign for is told, with what to do, and tried again later', async () => {
    const hosts = ['blocked.example'];
    const renewal = renewalOf({ hosts });
    await signedBefore(70 * DAY, hosts);
    expect(await renewIfDue(renewal)).toBe('failed');
    expect(lines.join('\n')).toContain('http.tls.letsencrypt.hosts: take it out');
    expect(await issuer()).toContain('some directory');
    expect(await renewIfDue(renewal)).toBe('waiting');
    const { notBefore = 0, failures } = await folder.state();
    expect(failures).toBe(1);
    expect(notBefore).toBeGreaterThanOrEqual(Date.now() + 50_000);
    expect(await renewIfDue(renewal, notBefore + 1)).toBe('failed');
    expect((await folder.state()).failures).toBe(2);
    // Corrected settings do not wait.
    expect(await renewIfDue(renewalOf())).toBe('obtained');
    expect(await folder.state()).toEqual({ signedBy: pebble.directoryUrl });
  });

  test('a name that does not lead here', async () => {
    const nowhere = {
      type: 'http-01' as const,
      present: () => Promise.resolve(),
      cleanUp: () => Promise.resolve(),
    };
    const problem = await failureOf(orderOf({ responder: nowhere }).then(orderCertificate));
    expect(problem.message).toMatch(/^[ab]\.entrepot\.example: http-01: .*returned 404/);
    expect(adviceFor(problem, 'http-01')).toContain('has to lead here by DNS');
  });

  test('dns-01 by a program of the operator, wildcards too', async () => {
    const hook = workspace.join('hook.sh');
    const post = (path: string, body: string) => `curl -sf -d '${body}' ${pebble.dns}/${path}`;
    await writeFile(
      hook,
      `#!/bin/sh
echo "$@ \${REGISTRY_HTTP_SECRET-none}" >> ${hook}.log
case $1 in
present) ${post('set-txt', `{"host":"'"$3"'.","value":"'"$4"'"}`)} ;;
cleanup) ${post('clear-txt', `{"host":"'"$3"'."}`)} ;;
esac
`,
    );
    await chmod(hook, 0o700);
    process.env['REGISTRY_HTTP_SECRET'] = 'hush';
    const hosts = ['*.entrepot.example', 'entrepot.example'];
    try {
      const responder = dnsResponder(hook);
      expect(await renewIfDue(renewalOf({ hosts }, { responder }))).toBe('obtained');
    } finally {
      delete process.env['REGISTRY_HTTP_SECRET'];
    }
    const told = (await readFile(`${hook}.log`, 'utf8')).trim().split('\n');
    const line = / entrepot\.example _acme-challenge\.entrepot\.example [\w-]{43} none$/;
    expect(told.filter((each) => line.test(each)).map((each) => each.split(' ')[0])).toEqual([
      'present',
      'cleanup',
      'present',
      'cleanup',
    ]);
  });

  test('a program that fails, or does not end', async () => {
    const hook = workspace.join('failing.sh');
    await writeFile(hook, '#!/bin/sh\n[ $1 = cleanup ] && exec sleep 60\necho no such zone >&2\nexit 3\n');
    await chmod(hook, 0o700);
    const record = { domain: 'a.example', name: '_acme-challenge.a.example', value: 'x; touch /tmp/shell' };
    expect((await failureOf(runDnsHook(hook, 'present', record))).message).toBe(
      `${hook} present a.example: exited with 3: no such zone`,
    );
    expect((await failureOf(runDnsHook(hook, 'cleanup', record, 100))).message).toContain(
      'did not end within 0.1 s',
    );
    expect((await failureOf(runDnsHook('/nowhere/hook', 'present', record))).message).toContain('ENOENT');
  });
});

test('a directory that is away: what is there stays, and it is asked again; it may have forgotten us', async () => {
  await signedBefore(DAY);
  const renewal = renewalOf();
  await pebble.down();
  try {
    expect(await renewIfDue(renewal)).toBe('nothing');
    await signedBefore(70 * DAY);
    expect(await renewIfDue(renewal)).toBe('failed');
  } finally {
    await pebble.up();
  }
  expect(await issuer()).toContain('some directory');
  expect(lines.join('\n')).toMatch(/cannot be reached: .*can this machine reach .*one until /);
  expect(await renewIfDue(renewal)).toBe('waiting');
  // What the log says an operator can do.
  await rm(folder.stateFile);
  expect(await renewIfDue(renewal)).toBe('obtained');
  expect(await issuer()).toContain('Pebble');
});

test('a directory that binds accounts, whose nonces are bad half of the time', async () => {
  const hmacKey = 'zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W';
  const strict = await startPebble({
    httpPort: plain.port,
    refusedNonces: 50,
    eabKeys: { 'kid-1': hmacKey },
  });
  try {
    const to = { directoryUrl: strict.directoryUrl, ca: await readFile(strict.ca, 'utf8') };
    const unbound = await failureOf(orderOf(to).then(orderCertificate));
    expect(adviceFor(unbound, 'http-01')).toContain('http.tls.letsencrypt.eab');
    const wrong = orderOf({ ...to, eab: { kid: 'kid-1', hmacKey: `a${hmacKey.slice(1)}` } });
    expect(await failureOf(wrong.then(orderCertificate))).toBeInstanceOf(DirectoryProblem);
    const order = await orderOf({ ...to, eab: { kid: 'kid-1', hmacKey } });
    expect((await orderCertificate(order)).certificate).toStartWith('-----BEGIN CERTIFICATE-----');
    // By then we are known, and the binding is not told again: some directories take it once.
    expect((await orderCertificate({ ...order, eab: undefined })).key).toContain('PRIVATE KEY');
    // Its own TLS is verified.
    const untrusted = await failureOf(orderCertificate({ ...order, ca: undefined }));
    expect(untrusted.message).toContain('the directory cannot be reached');
  } finally {
    await strict.dispose();
  }
});

describe('without a directory', () => {
  test('a certificate that is cut short, or is another key’s, is not there', async () => {
    await signedBefore(DAY);
    const good = await readFile(folder.certificateFile, 'utf8');
    for (const bad of ['', good.slice(0, 300), good.split('-----BEGIN PRIVATE')[0] ?? '']) {
      await writeFile(folder.certificateFile, bad);
      expect(await folder.certificate()).toBeUndefined();
      expect(await prepareAcme(folder, HOSTS)).toBe(false);
      expect(await folder.certificate()).toBeDefined();
    }
    // A good one, with a chain that no server can show: neither taken from a directory, nor a reason not to start.
    const junk = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
    const [leaf = '', ownKey = ''] = good.split(/(?=-----BEGIN PRIVATE)/);
    for (const chain of [leaf + junk, `${leaf}-----BEGIN CERTIFICATE-----\nMIIB`, good]) {
      const refused = await failureOf(folder.writeCertificate(chain, ownKey));
      expect(refused.message).toContain('cannot be read');
    }
    await writeFile(folder.certificateFile, leaf + junk + ownKey);
    expect(await prepareAcme(folder, HOSTS)).toBe(false);
    const shown = await folder.certificate();
    expect(shown !== undefined && isPlaceholder(shown)).toBe(true);
    const another = await exportKey(await makeKeys());
    const certificate = good.split('-----BEGIN PRIVATE')[0] ?? '';
    expect((await failureOf(folder.writeCertificate(certificate, another))).message).toContain(
      'does not fit',
    );
    await writeFile(`${folder.path}/account.key`, 'cut');
    expect((await failureOf(folder.accountKey())).message).toContain('account.key is no key');
  });

  test('the wait doubles from a minute to six hours, and Retry-After counts', async () => {
    expect([1, 2, 3].map((failures) => backOff(failures, 0) / 60_000)).toEqual([1, 2, 4]);
    expect(backOff(1, 1)).toBe(90_000);
    expect([9, 10, 1000].map((failures) => backOff(failures, 1) / 3_600_000)).toEqual([6, 6, 6]);
    expect([retryAfter('120'), retryAfter('soon'), retryAfter(undefined)]).toEqual([120_000, 0, 0]);
    expect(retryAfter('Thu, 01 Jan 1970 00:01:00 GMT', 0)).toBe(60_000);
    const limited = new DirectoryProblem('too many', 'rateLimited', 3_600_000);
    const renewal = renewalOf({ order: () => Promise.reject(limited) });
    const before = Date.now();
    expect(await renewIfDue(renewal)).toBe('failed');
    expect((await folder.state()).notBefore ?? 0).toBeGreaterThanOrEqual(before + 3_600_000);
    expect(lines.join()).toContain('asked too often');
  });

  test('a lock is had by one, tried once where nobody waits, and kept fresh', async () => {
    const path = workspace.join('locked');
    await withFileLock(
      path,
      async () => {
        expect(await failureOf(withFileLock(path, () => Promise.resolve(), { wait: 0 }))).toBeInstanceOf(
          LockHeld,
        );
        const old = new Date(Date.now() - 60_000);
        await utimes(`${path}.lock`, old, old);
        while ((await stat(`${path}.lock`)).mtimeMs < Date.now() - 30_000) await new Promise(setImmediate);
      },
      { stale: 60 },
    );
    expect(await withFileLock(path, () => Promise.resolve('again'), { wait: 0 })).toBe('again');
  });

  test('what Node 20 does not have is not needed', async () => {
    const names = ['validFromDate', 'validToDate'] as const;
    const before = names.map((name) => Object.getOwnPropertyDescriptor(X509Certificate.prototype, name));
    for (const name of names)
      Object.defineProperty(X509Certificate.prototype, name, { value: undefined, configurable: true });
    try {
      const order = () => Promise.reject(new Error('asked'));
      await signedBefore(59 * DAY);
      expect(await renewIfDue(renewalOf({ order }))).toBe('nothing');
      await signedBefore(61 * DAY);
      expect(await renewIfDue(renewalOf({ order }))).toBe('failed');
    } finally {
      for (const [index, name] of names.entries())
        Object.defineProperty(X509Certificate.prototype, name, before[index] ?? {});
    }
  });

  test('looking after it goes on, and is told of, whatever fails', async () => {
    let orders = 0;
    const order = () => Promise.reject(new Error(`order ${(orders += 1)}`));
    // A file where the folder should be.
    await writeFile(folder.path, '');
    const stop = keepRenewed(renewalOf({ order }), 5);
    const failures = () => lines.filter((line) => line.includes('cannot be looked after'));
    await untilHolds(() => failures().length >= 3);
    expect(failures()[0]).toContain('"again":"');
    await rm(folder.path);
    await untilHolds(() => orders > 0);
    stop();
  });
});
