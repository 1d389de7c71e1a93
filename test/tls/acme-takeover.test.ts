/** The folder of `registry:2` (version 3), as Go's autocert writes it, at our first start with it. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { createPrivateKey, generateKeyPairSync, webcrypto, X509Certificate } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { prepareAcme } from '../../src/app-acme.ts';
import { StartFailure } from '../../src/start-failure.ts';
import { AcmeFolder, isPlaceholder } from '../../src/tls/acme-folder.ts';
import { renewIfDue } from '../../src/tls/acme-renewal.ts';
import { ALGORITHM, exportKey, makeKeys, x509 } from '../../src/tls/x509.ts';
import { loaded } from '../config/config-file.ts';
import { failureOf } from '../harness/failure-of.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

const HOST = 'registry.example.com';

let workspace: Workspace;
let lines: string[] = [];
const note = (message: string) => void lines.push(message);
const log = { error: note, warn: note, info: note, debug: note };
beforeAll(async () => {
  workspace = await createWorkspace('takeover');
});
afterAll(() => workspace.remove());

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const RSA = {
  name: 'RSASSA-PKCS1-v1_5',
  hash: 'SHA-256',
  modulusLength: 2048,
  publicExponent: new Uint8Array([1, 0, 1]),
} as const;
const DAY = 86_400_000;

/** A file of autocert, 20 days old: the key in SEC 1 or PKCS #1, then the leaf and who signed it. */
async function cached(host: string, days: number, kind: typeof EC | typeof RSA = EC): Promise<string> {
  const { X509CertificateGenerator, SubjectAlternativeNameExtension } = x509;
  const signer = await makeKeys();
  const dates = {
    notBefore: new Date(Date.now() - 20 * DAY),
    notAfter: new Date(Date.now() + (days - 20) * DAY),
  };
  const name = 'CN=some authority';
  const root = await X509CertificateGenerator.createSelfSigned({
    ...dates,
    name,
    keys: signer,
    signingAlgorithm: ALGORITHM,
  });
  const keys = await webcrypto.subtle.generateKey(kind, true, ['sign', 'verify']);
  const leaf = await X509CertificateGenerator.create({
    ...dates,
    subject: `CN=${host}`,
    issuer: name,
    publicKey: keys.publicKey,
    signingKey: signer.privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [new SubjectAlternativeNameExtension([{ type: 'dns', value: host }])],
  });
  const key = createPrivateKey(await exportKey(keys));
  const text = key.export({ type: kind === EC ? 'sec1' : 'pkcs1', format: 'pem' } as typeof SEC1);
  return `${text.toString()}${leaf.toString('pem')}\n${root.toString('pem')}\n`;
}

const SEC1 = { type: 'sec1', format: 'pem' } as const;

/** Starts over a folder of such files, and asks nobody. @returns whether somebody would be asked */
async function start(name: string, files: Readonly<Record<string, string>>, hosts = [HOST]) {
  lines = [];
  const path = workspace.join(name);
  await mkdir(path);
  for (const [file, text] of Object.entries(files)) await writeFile(join(path, file), text, { mode: 0o600 });
  await prepareAcme(await configOf(path, hosts), log);
  const folder = new AcmeFolder(path);
  let isAsked = false;
  const order = () => {
    isAsked = true;
    return Promise.reject(new Error('nobody'));
  };
  const directoryUrl = 'https://acme.example/dir';
  await renewIfDue({ folder, hosts, directoryUrl, settings: '', order, advise: () => '', log });
  return { folder, isAsked };
}

function configOf(path: string, hosts: readonly string[]) {
  return loaded(
    `version: 0.1\nstorage: {inmemory: {}}\nhttp: {tls: {letsencrypt: {cachefile: ${path}, hosts: [${hosts.join()}]}}}\n`,
  );
}

test('account and certificate are taken over, nothing is asked for, and theirs stay as they were', async () => {
  const account = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const files = {
    'acme_account+key': account.export(SEC1).toString(),
    [HOST]: await cached(HOST, 90),
  };
  const { folder, isAsked } = await start('whole', files);
  expect(isAsked).toBe(false);
  const leaf = new X509Certificate(files[HOST]);
  expect((await folder.certificate())?.fingerprint256).toBe(leaf.fingerprint256);
  const shown = await readFile(folder.certificateFile, 'utf8');
  expect(shown.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
  expect(createPrivateKey(await folder.accountKey()).equals(account)).toBe(true);
  for (const name of ['account.key', 'certificate.pem'])
    expect((await stat(join(folder.path, name))).mode & 0o777).toBe(0o600);
  expect(await readFile(join(folder.path, HOST), 'utf8')).toBe(files[HOST]);
  expect(lines.join('\n')).toContain(`for ${HOST} in ${folder.path} is taken over`);
  // At the next start ours count, whatever lies there.
  lines = [];
  await writeFile(join(folder.path, HOST), await cached(HOST, 90));
  await prepareAcme(await configOf(folder.path, [HOST]), log);
  expect(lines).toEqual([]);
  expect((await folder.certificate())?.fingerprint256).toBe(leaf.fingerprint256);
});

test('one for clients without ECDSA will do; of several hosts one is shown until all have theirs', async () => {
  const [rsa, second] = ['a.example.com', 'b.example.com'];
  const files = { [`${rsa}+rsa`]: await cached(rsa, 90, RSA), [second]: await cached(second, 90) };
  const { folder, isAsked } = await start('several', files, [rsa, second]);
  expect((await folder.certificate())?.subjectAltName).toBe(`DNS:${rsa}`);
  expect(isAsked).toBe(true);
});

test('what is old, cut, another host’s or no file is passed over', async () => {
  const good = await cached(HOST, 90);
  const bad = {
    expired: await cached(HOST, 10),
    cut: good.slice(0, good.length / 3),
    another: await cached('other.example.com', 90),
    foreign: good.replace(/^[^]*?(?=-----BEGIN CERT)/, String(generatedKey())),
  };
  for (const [name, text] of Object.entries(bad)) {
    const { folder, isAsked } = await start(name, { [HOST]: text, 'acme_account+key': 'cut' });
    const present = await folder.certificate();
    expect([name, isAsked, present !== undefined && isPlaceholder(present)]).toEqual([name, true, true]);
    expect(await readdir(folder.path)).not.toContain('account.key');
  }
  await mkdir(workspace.join('folder'));
  await mkdir(workspace.join(`folder/${HOST}`));
  await prepareAcme(await configOf(workspace.join('folder'), [HOST]), log);
});

test('the file of registry:2.8 is told of', async () => {
  await writeFile(workspace.join('cache.json'), '{"Email": "a@example.com", "Certs": {}}');
  const failure = await failureOf(prepareAcme(await configOf(workspace.join('cache.json'), [HOST]), log));
  expect(failure).toBeInstanceOf(StartFailure);
  expect(failure.message).toContain('Where it is that of registry:2.8');
  expect(await readFile(workspace.join('cache.json'), 'utf8')).toContain('Certs');
});

function generatedKey() {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export(SEC1);
}
