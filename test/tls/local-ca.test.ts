import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
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

test.each(['root.key', 'root.crt'])('a root of which %s is lost is never replaced', async (file) => {
  await make();
  await rm(join(folder, file));
  expect(make()).rejects.toThrow(RootLost);
  expect(make()).rejects.toThrow(`${file} is missing`);
});

test('a root that is junk, or half another one, is told', async () => {
  await make();
  const [root, key] = [join(folder, 'root.crt'), join(folder, 'root.key')];
  const [pem, keyPem] = await Promise.all([readFile(root, 'utf8'), readFile(key, 'utf8')]);
  const serverKey = await readFile(join(folder, 'server.key'), 'utf8');
  for (const [certificate, itsKey, message] of [
    ['junk', keyPem, 'the first is no certificate'],
    ['', keyPem, 'the first is no certificate'],
    [pem, 'junk', 'the second is no key'],
    [pem, serverKey, 'they do not fit each other'],
  ] as const) {
    await writeFile(root, certificate);
    await writeFile(key, itsKey);
    const failure = await failureOf(make());
    expect(failure).toBeInstanceOf(RootLost);
    expect(failure.message).toContain(message);
  }
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
