import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hostNames } from '../../src/tls/host-names.ts';
import { localCertificate, RootLost } from '../../src/tls/local-ca.ts';
import { rootCaOf } from '../../src/tls/root-ca.ts';
import { failureOf } from '../harness/failure-of.ts';
import { run } from '../harness/tools.ts';

let folder: string;
beforeEach(async () => {
  folder = join(await mkdtemp(join(tmpdir(), 'entrepot-ca-')), 'tls');
});
afterEach(async () => {
  await rm(join(folder, '..'), { recursive: true });
});

const DAY = 24 * 3_600_000;
const NOW = Date.UTC(2026, 5, 1);
const NAMES = ['registry.local', 'localhost', '127.0.0.1', '::1', 'fd00::2'];
const make = (changed: object = {}) => localCertificate({ folder, names: NAMES, now: NOW, ...changed });
const leaf = async () => new X509Certificate(await readFile(join(folder, 'server.crt')));

test('a root and a certificate are made, which openssl finds good for every name', async () => {
  const made = await make({ now: Date.now() });
  expect([made.isNewRoot, made.isNew]).toEqual([true, true]);
  const ca = join(folder, 'root.crt');
  for (const name of NAMES) {
    const flag = /^[\d.]+$|:/.test(name) ? '-verify_ip' : '-verify_hostname';
    const { stdout } = await run('openssl', ['verify', '-CAfile', ca, flag, name, made.certificateFile]);
    expect(stdout).toContain('OK');
  }
  const { stdout } = await run('openssl', ['x509', '-in', ca, '-noout', '-fingerprint', '-sha256', '-text']);
  expect(stdout).toContain(`Fingerprint=${made.fingerprint}`);
  expect(stdout).toContain('CA:TRUE, pathlen:0');
  const certificate = await leaf();
  expect(
    new Date(certificate.validTo).getTime() - new Date(certificate.validFrom).getTime(),
  ).toBeLessThanOrEqual(397 * DAY);
  for (const key of ['root.key', 'server.key'])
    expect((await stat(join(folder, key))).mode & 0o777).toBe(0o600);
  expect((await stat(folder)).mode & 0o777).toBe(0o700);
});

describe('the certificate', () => {
  test('stays as long as it will do', async () => {
    await make();
    const first = (await leaf()).fingerprint256;
    expect((await make({ now: NOW + 200 * DAY })).isNew).toBe(false);
    expect((await make({ names: NAMES.slice(1) })).isNew).toBe(false);
    expect((await make({ names: ['FD00:0:0:0:0:0:0:2'] })).isNew).toBe(false);
    expect((await leaf()).fingerprint256).toBe(first);
  });

  test.each([
    ['two thirds of its time are over', { now: NOW + 265 * DAY }],
    ['the host has another address', { names: [...NAMES, '192.0.2.7'] }],
  ])('is made anew when %s, by the same root', async (_, changed) => {
    const { root } = await make();
    const again = await make(changed);
    expect([again.isNew, again.isNewRoot, again.root]).toEqual([true, false, root]);
  });

  test.each(['server.key', 'server.crt'])('is made anew when %s is lost', async (file) => {
    await make();
    await rm(join(folder, file));
    const again = await make();
    expect([again.isNew, again.isNewRoot]).toEqual([true, false]);
  });
});

/** Another process that makes a certificate in the folder. */
const MAKE = `
import { localCertificate } from ${JSON.stringify(join(import.meta.dirname, '../../src/tls/local-ca.ts'))};
const { isNewRoot, isNew, fingerprint } = await localCertificate({ folder: process.argv[1], names: ['localhost'] });
console.log(isNewRoot, isNew, fingerprint);`;
const maker = [process.execPath, '-e', MAKE] as const;

test('of several first starts on one folder one makes it all, and the others take that', async () => {
  const started = Array.from({ length: 4 }, () => run(maker[0], [...maker.slice(1), folder]));
  const told = (await Promise.all(started)).map(({ stdout }) => stdout.trim());
  const { fingerprint256 } = new X509Certificate(await readFile(join(folder, 'root.crt')));
  expect(told.sort()).toEqual([
    ...Array.from({ length: 3 }, () => `false false ${fingerprint256}`),
    `true true ${fingerprint256}`,
  ]);
  const key = createPrivateKey(await readFile(join(folder, 'server.key')));
  expect((await leaf()).checkPrivateKey(key)).toBe(true);
  expect((await readdir(folder)).sort()).toEqual(['root.crt', 'root.key', 'server.crt', 'server.key']);
}, 300_000);

test.each([
  ['root.key', ['making.lock', 'root.new']],
  ['root.crt', ['making.lock', 'root.key', 'root.new']],
  ['the end', ['making.lock', 'root.crt', 'root.key', 'root.new']],
] as const)(
  'a first start that is killed before %s is gone on with',
  async (before, left) => {
    if (before !== 'the end') {
      // By the path: calls are counted by thread.
      const inject = ['-P', join(folder, before), '-e', 'inject=link,linkat:signal=KILL:error=EINTR'];
      await run('strace', ['-f', '-o', '/dev/null', ...inject, ...maker, folder]).catch(() => undefined);
    } else {
      await make({ now: Date.now() });
      const pem = await Promise.all(['root.crt', 'root.key'].map((name) => readFile(join(folder, name))));
      await writeFile(join(folder, 'root.new'), Buffer.concat(pem));
      await Promise.all(['server.crt', 'server.key'].map((name) => rm(join(folder, name))));
      await writeFile(join(folder, 'making.lock'), 'cut short');
      await utimes(join(folder, 'making.lock'), 0, 0);
    }
    expect((await readdir(folder)).filter((name) => !name.startsWith('.')).sort()).toEqual([...left]);
    const [, begun = ''] = /(-----BEGIN CERT.*CERTIFICATE-----\n)/s.exec(
      await readFile(join(folder, 'root.new'), 'utf8'),
    ) ?? [''];
    const again = await make({ now: Date.now() });
    expect([again.root, again.isNew]).toEqual([begun, true]);
    const names = (await readdir(folder)).filter((name) => !name.startsWith('.'));
    expect(names.sort()).toEqual(['root.crt', 'root.key', 'server.crt', 'server.key']);
    expect((await make({ now: Date.now() })).isNew).toBe(false);
  },
  300_000,
);

test.each([
  ['an empty key', ''],
  ['another key', 'other'],
])('a certificate beside %s is made anew', async (_, text) => {
  await make();
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const pem = other.export({ type: 'pkcs8', format: 'pem' });
  await writeFile(join(folder, 'server.key'), text === '' ? text : pem);
  const again = await make();
  expect([again.isNew, again.isNewRoot]).toEqual([true, false]);
  const key = createPrivateKey(await readFile(again.keyFile));
  expect((await leaf()).checkPrivateKey(key)).toBe(true);
});

test('a root whose files do not fit, or cannot be read, is told and stays', async () => {
  await make();
  const key = join(folder, 'root.key');
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  await writeFile(key, other.export({ type: 'pkcs8', format: 'pem' }));
  expect(make()).rejects.toThrow('root.key is not the key of');
  for (const damaged of [key, join(folder, 'root.crt')]) {
    await writeFile(damaged, '');
    const problem = await failureOf(make({ now: NOW + 300 * DAY }));
    expect([problem.name, problem.message]).toEqual(['RootLost', expect.stringContaining('is damaged')]);
  }
  await rm(key);
  await run('mkfifo', [key]);
  expect((await failureOf(make())).message).toBe(`${key} is no file`);
  await rm(key);
  await mkdir(key);
  expect((await failureOf(make())).message).toContain('root.key');
});

test('what the clock does: an early certificate is made anew, an authority that is not good is told of', async () => {
  const { root } = await make();
  // Made while the clock was a month ahead, and put right since.
  expect((await make({ now: NOW + 300 * DAY })).isNew).toBe(true);
  const back = await make({ now: NOW + 100 * DAY });
  expect([back.isNew, back.root]).toEqual([true, root]);
  expect((await make({ now: NOW + 100 * DAY })).isNew).toBe(false);
  const shown = (await leaf()).fingerprint256;
  for (const now of [NOW - 400 * DAY, NOW + 4000 * DAY]) {
    const problem = await failureOf(make({ now }));
    expect([problem.name, problem.message]).toEqual(['RootLost', expect.stringContaining('set the clock')]);
    expect((await leaf()).fingerprint256).toBe(shown);
  }
  // Shortly before the end of the authority it is made once more, and not every few seconds.
  const end = NOW + 3650 * DAY;
  const made: boolean[] = [];
  for (const before of [100, 50, 1, 0.001]) made.push((await make({ now: end - before * DAY })).isNew);
  expect(made).toEqual([true, false, false, false]);
});

test('keys that others could read are so no more, and that is told', async () => {
  await make();
  const warnings: string[] = [];
  await chmod(join(folder, 'root.key'), 0o644);
  await make({ warn: (message: string) => warnings.push(message) });
  await make({ warn: (message: string) => warnings.push(message) });
  expect(warnings).toEqual([expect.stringContaining('root.key could be read by others (0644)')]);
  expect((await stat(join(folder, 'root.key'))).mode & 0o777).toBe(0o600);
});

test.each(['root.key', 'root.crt'])('a root of which %s is lost is never replaced', async (file) => {
  await make();
  await rm(join(folder, file));
  expect(make()).rejects.toThrow(RootLost);
  expect(make()).rejects.toThrow(`${file} is missing`);
});

test('a root that may only sign below some domains signs for no other', async () => {
  const limited = { onlyBelow: ['local', 'lan'], now: Date.now() };
  const names = ['registry.local', 'localhost', 'Host.LAN', 'host', 'notlocal', '127.0.0.1'];
  // One name that is not allowed, and clients would refuse all of it.
  const made = await make({ ...limited, names });
  expect(made.names).toEqual(['registry.local', 'Host.LAN', '127.0.0.1']);
  const ca = join(folder, 'root.crt');
  const verify = (certificate: string) => run('openssl', ['verify', '-CAfile', ca, certificate]);
  expect((await verify(made.certificateFile)).stdout).toContain('OK');
  expect((await make({ ...limited, names })).isNew).toBe(false);
  expect(make({ now: limited.now })).rejects.toThrow('root.crt was made with other constraints');

  const key = join(folder, 'root.key');
  const other = join(folder, 'other.crt');
  const subject = ['-subj', '/CN=other', '-addext', 'subjectAltName=DNS:bank.example', '-nodes'];
  const signed = ['req', '-x509', '-CA', ca, '-CAkey', key, '-addext', 'basicConstraints=critical,CA:FALSE'];
  const files = ['-newkey', 'rsa:2048', '-keyout', join(folder, 'other.key'), '-out', other];
  await run('openssl', [...signed, ...subject, ...files]);
  expect(verify(other)).rejects.toThrow('permitted subtree violation');
});

test('the root in the forms of other machines', async () => {
  const { root, fingerprint } = await make();
  const forms = rootCaOf(root);
  expect(forms.fingerprint).toBe(fingerprint);
  expect(new X509Certificate(forms.der).fingerprint256).toBe(fingerprint);
  const profile = join(folder, 'profile.xml');
  await writeFile(profile, forms.mobileConfig);
  expect(forms.mobileConfig).toContain('com.apple.security.root');
  expect(forms.mobileConfig).toContain(Buffer.from(forms.der).toString('base64'));
});

test('the host’s names are all that it is reached by', () => {
  const names = hostNames(['extra.example']);
  expect(names).toEqual(expect.arrayContaining(['extra.example', 'localhost', '127.0.0.1', '::1']));
  expect(new Set(names).size).toBe(names.length);
  expect(names.some((name) => name.startsWith('fe80'))).toBe(false);
});
