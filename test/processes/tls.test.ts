/** TLS by itself, and certificates that change while clients pull, in every form that the program is run in. */
import { afterEach, beforeAll, expect, test } from 'bun:test';
import { copyFile, readFile, rename, writeFile } from 'node:fs/promises';
import { request as requestPlainly } from 'node:http';
import { request } from 'node:https';
import { connect } from 'node:tls';
import { freePort } from '../harness/ports.ts';
import { type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { run } from '../harness/tools.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { untilHolds, untilLogged } from '../harness/waiting.ts';

let workspace: Workspace;
let registry: RunningRegistry | undefined;
beforeAll(async () => {
  workspace = await createWorkspace('tls');
});
afterEach(async () => {
  await registry?.dispose();
  registry = undefined;
});

/** The status of a request over TLS on a connection of its own. */
function status(port: number, ca: string, servername = 'localhost'): Promise<number> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, path: '/v2/', ca, servername, agent: false };
    const asked = request(options, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode ?? 0));
    });
    asked.on('error', reject);
    asked.end();
  });
}

/** What plain HTTP answers to that host, and to where it sends. */
function sentTo(port: number, host: string): Promise<[number, string | undefined]> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, path: '/v2/', agent: false, headers: { host } };
    const asked = requestPlainly(options, (answer) => {
      answer.resume();
      resolve([answer.statusCode ?? 0, answer.headers.location]);
    });
    asked.on('error', reject);
    asked.end();
  });
}

test('an authority is made, its certificate told by plain HTTP, and nothing else is', async () => {
  const plain = await freePort();
  const port = await freePort();
  const tls = { auto: true, names: ['registry.test'], plainaddr: `127.0.0.1:${plain}` };
  registry = await startEntrepot({ workers: 2, port, config: { http: { tls } }, isTls: true });
  const answer = await fetch(`http://127.0.0.1:${plain}/root-ca.crt`);
  const root = await answer.text();
  const { stdout } = await run('sh', [
    '-c',
    `openssl x509 -in ${registry.dataDirectory}/_entrepot/tls/root.crt -noout -fingerprint -sha256`,
  ]);
  expect(stdout).toContain(answer.headers.get('entrepot-fingerprint-sha256') ?? 'none');
  for (const name of ['localhost', 'registry.test']) expect(await status(port, root, name)).toBe(200);
  expect(status(port, root, 'other.test')).rejects.toThrow();
  const sent = await fetch(`http://127.0.0.1:${plain}/v2/_catalog?n=1`, { redirect: 'manual' });
  expect([sent.status, sent.headers.get('location')]).toEqual([
    308,
    `https://127.0.0.1:${port}/v2/_catalog?n=1`,
  ]);
  expect(await sentTo(plain, 'evil.example')).toEqual([308, `https://registry.test:${port}/v2/`]);
  for (const host of ['x:99999', '[::1%25eth0]'])
    expect([host, await sentTo(plain, host)]).toEqual([host, [400, undefined]]);
}, 300_000);

async function makePair(
  name: string,
  names = 'DNS:localhost',
): Promise<{ certificate: string; key: string; ca: string }> {
  const [certificate, key] = [workspace.join(`${name}.crt`), workspace.join(`${name}.key`)];
  const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=${names}`];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await run('openssl', [
    'req',
    '-x509',
    ...kind,
    '-days',
    '2',
    ...subject,
    '-keyout',
    key,
    '-out',
    certificate,
  ]);
  return { certificate, key, ca: await readFile(certificate, 'utf8') };
}

/** The common name of the certificate that is shown. */
function shown(port: number, servername = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, servername }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.end();
    });
    socket.on('error', reject);
  });
}

test('certificates that change on the disk are shown to who comes then, and no transfer ends', async () => {
  const pairs = await Promise.all(['first', 'second', 'third'].map((name) => makePair(name)));
  const [certificate, key] = [workspace.join('used.crt'), workspace.join('used.key')];
  const use = async (index: number) => {
    // As tools do it: one file after the other.
    await copyFile(pairs[index]?.key ?? '', key);
    await copyFile(pairs[index]?.certificate ?? '', certificate);
  };
  await use(0);
  const port = await freePort();
  const plain = await freePort();
  registry = await startEntrepot({
    workers: 2,
    port,
    config: { http: { tls: { certificate, key, plainaddr: `127.0.0.1:${plain}` } } },
    isTls: true,
  });
  // Nobody is sent to a host that the certificate is not for.
  const sent = await fetch(`http://127.0.0.1:${plain}/root-ca.crt`, { redirect: 'manual' });
  expect([sent.status, sent.headers.get('location')]).toEqual([308, `https://localhost:${port}/root-ca.crt`]);
  const all = pairs.map(({ ca }) => ca).join('');
  const end = new AbortController();
  const failures: unknown[] = [];
  let count = 0;
  const client = async () => {
    while (!end.signal.aborted) {
      await status(port, all).then(
        () => (count += 1),
        (error: unknown) => failures.push(error),
      );
    }
  };
  const clients = Array.from({ length: 4 }, client);
  for (const [index, name] of ['first', 'second', 'third'].entries()) {
    if (index > 0) await use(index);
    // All workers do, when it is shown a dozen times in a row.
    let times = 0;
    for (const until = Date.now() + 240_000; times < 12 && Date.now() < until;) {
      times = (await shown(port)) === name ? times + 1 : 0;
      if (times === 0) await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect([name, times]).toEqual([name, 12]);
  }
  end.abort();
  await Promise.all(clients);
  expect(failures).toEqual([]);
  expect(count).toBeGreaterThan(50);
}, 300_000);

test('a certificate that changes while the server starts is shown', async () => {
  const pairs = await Promise.all(['one', 'other'].map((name) => makePair(name)));
  const texts = await Promise.all(pairs.map(async ({ ca, key }) => ca + (await readFile(key, 'utf8'))));
  const both = workspace.join('both.pem');
  const use = async (index: number) => {
    await writeFile(`${both}.new`, texts[index % 2] ?? '', { mode: 0o600 });
    await rename(`${both}.new`, both);
  };
  await use(0);
  const port = await freePort();
  const tls = { certificate: both, key: both };
  const starting = startEntrepot({ workers: 2, port, config: { http: { tls } }, isTls: true });
  // As often as can be, until both workers may have begun to watch.
  let last = 0;
  for (let isThere = false; !isThere;) {
    await use((last += 1));
    isThere = await shown(port).then(
      () => true,
      () => false,
    );
  }
  registry = await starting;
  let times = 0;
  await untilHolds(async () => {
    times = (await shown(port)) === ['one', 'other'][last % 2] ? times + 1 : 0;
    return times === 12;
  });
}, 300_000);

test('of several certificates each name has its own; one that does not fit keeps all of those before', async () => {
  const [main, wild, named, later] = await Promise.all([
    makePair('main', 'DNS:main.test,IP:127.0.0.1'),
    makePair('wild', 'DNS:*.test,DNS:other.example'),
    makePair('named', 'DNS:unused.test'),
    makePair('later', 'DNS:*.test'),
  ]);
  const [certificate, key] = [workspace.join('several.crt'), workspace.join('several.key')];
  await copyFile(wild.certificate, certificate);
  await copyFile(wild.key, key);
  const certificates = [
    { certificate, key },
    { certificate: named.certificate, key: named.key, names: ['named.test'] },
  ];
  const port = await freePort();
  const tls = { certificate: main.certificate, key: main.key, certificates, minimumtls: 'tls1.3' };
  registry = await startEntrepot({
    workers: 2,
    port,
    config: { http: { tls }, log: { level: 'info' } },
    isTls: true,
  });
  const all = async (): Promise<Record<string, string>> => {
    const names = ['', 'main.test', 'a.test', 'other.example', 'named.test', 'unused.test', 'elsewhere'];
    return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await shown(port, name)])));
  };
  const before = {
    '': 'main',
    // Its own name is before the wildcard of another one.
    'main.test': 'main',
    'a.test': 'wild',
    'other.example': 'wild',
    'named.test': 'named',
    'unused.test': 'wild',
    elsewhere: 'main',
  };
  expect(await all()).toEqual(before);
  const limited = run('curl', ['-sk', '--tls-max', '1.2', `https://127.0.0.1:${port}/v2/`]);
  expect(limited).rejects.toThrow();
  const { logs } = registry;
  // All workers have read them: one that starts with files that do not fit would end the server.
  await untilHolds(() => logs().includes('is serving on'));
  // The other half does not come for a while.
  await copyFile(later.key, key);
  const told = 'http.tls.certificates[0].certificate: ';
  await untilHolds(() => logs().split(told).length > 2);
  await untilLogged(registry, `${certificate} does not fit ${key}`);
  expect(await all()).toEqual(before);
  await copyFile(later.certificate, certificate);
  const after = { ...before, 'a.test': 'later', 'other.example': 'main', 'unused.test': 'later' };
  // All workers do, when it is so several times in a row. Bun may end what is in its handshake meanwhile.
  let found: Record<string, string> | undefined;
  let times = 0;
  await untilHolds(async () => {
    found = await all().catch(() => undefined);
    times = Bun.deepEquals(found, after) ? times + 1 : 0;
    return times === 4;
  });
  expect([found, times]).toEqual([after, 4]);
}, 300_000);

test.each([
  ['no names', 'IP:127.0.0.1', 'has no DNS name that clients could ask for: give it "names"'],
  ['another key', 'DNS:a.test', 'does not fit'],
])('a certificate with %s is told at the start', async (_case, names, message) => {
  const [main, other] = await Promise.all([makePair('start', 'DNS:localhost'), makePair('wrong', names)]);
  const key = message === 'does not fit' ? main.key : other.key;
  const tls = {
    certificate: main.certificate,
    key: main.key,
    certificates: [{ certificate: other.certificate, key }],
  };
  const start = startEntrepot({ workers: 1, config: { http: { tls } }, isTls: true });
  expect(start).rejects.toThrow(`http.tls.certificates[0].certificate: ${other.certificate} ${message}`);
  await start.catch(() => undefined);
});
