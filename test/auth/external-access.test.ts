import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { createPrivateKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportJWK, type JWTHeaderParameters, SignJWT } from 'jose';
import { libtrustId } from '../../src/auth/external-keys.ts';
import { thumbprint } from '../../src/auth/token-keys.ts';
import { run } from '../harness/tools.ts';
import { startRegistry, type TestRegistry } from './registry.ts';

let folder: string;
let root: KeyObject;
let leaf: KeyObject;
let chain: string[];
const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 });
const listed = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const shared = Buffer.alloc(32, 7);

async function openssl(...args: readonly string[]): Promise<void> {
  const { code, stderr } = await run('openssl', args, { cwd: folder });
  if (code !== 0) throw new Error(stderr);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'external-'));
  await openssl(
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-keyout',
    'root.key',
    '-out',
    'root.pem',
    '-subj',
    '/CN=root',
    '-days',
    '2',
  );
  await openssl(
    'req',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-keyout',
    'leaf.key',
    '-out',
    'leaf.csr',
    '-subj',
    '/CN=signer',
  );
  await openssl(
    'x509',
    '-req',
    '-in',
    'leaf.csr',
    '-CA',
    'root.pem',
    '-CAkey',
    'root.key',
    '-CAcreateserial',
    '-out',
    'leaf.pem',
    '-days',
    '2',
  );
  root = createPrivateKey(await readFile(join(folder, 'root.key')));
  leaf = createPrivateKey(await readFile(join(folder, 'leaf.key')));
  chain = await Promise.all(
    ['leaf.pem', 'root.pem'].map(async (name) =>
      new X509Certificate(await readFile(join(folder, name))).raw.toString('base64'),
    ),
  );
  const jwk = await exportJWK(listed.publicKey);
  const keys = [
    { ...jwk, kid: 'listed' },
    { kty: 'oct', kid: 'shared', k: shared.toString('base64url') },
  ];
  await writeFile(join(folder, 'jwks.json'), JSON.stringify({ keys }));
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

function start(more = ''): Promise<TestRegistry> {
  return startRegistry(
    `auth: {token: {realm: "https://auth.example/token", service: registry, issuer: issuer, rootcertbundle: ${folder}/root.pem, jwks: ${folder}/jwks.json${more}}}`,
  );
}

interface Token {
  readonly header: Partial<JWTHeaderParameters>;
  readonly key: KeyObject | Uint8Array;
  readonly claims?: Record<string, unknown>;
}

function sign({ header, key, claims = {} }: Token): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const payload = {
    iss: 'issuer',
    aud: 'registry',
    sub: 'alice',
    nbf: now - 10,
    exp: now + 300,
    access: [{ type: 'repository', name: 'a', actions: ['pull'] }],
    ...claims,
  };
  return new SignJWT(payload).setProtectedHeader({ alg: 'RS256', ...header }).sign(key);
}

async function statusWith(registry: TestRegistry, token: string): Promise<number> {
  const headers = { authorization: `Bearer ${token}` };
  return (await registry.send('/v2/a/tags/list', { headers })).status;
}

function publicOf(key: KeyObject): KeyObject {
  return new X509Certificate(Buffer.from(chain[key === root ? 1 : 0] ?? '', 'base64')).publicKey;
}

describe('a token is good', () => {
  test('by both forms of a key’s id, a chain of certificates, a listed or shared key', async () => {
    const registry = await start();
    const jwk = await exportJWK(listed.publicKey);
    const good: Token[] = [
      { header: { kid: libtrustId(publicOf(root)) }, key: root },
      { header: { kid: thumbprint(publicOf(root).export({ format: 'jwk' })) }, key: root },
      { header: { x5c: chain }, key: leaf },
      { header: { x5c: chain.slice(0, 1) }, key: leaf },
      { header: { alg: 'ES256', kid: 'listed' }, key: listed.privateKey },
      { header: { alg: 'ES256', jwk }, key: listed.privateKey },
      { header: { alg: 'HS256', kid: 'shared' }, key: shared },
      { header: { kid: libtrustId(publicOf(root)) }, key: root, claims: { aud: ['x', 'registry'] } },
      {
        header: { kid: libtrustId(publicOf(root)) },
        key: root,
        claims: { access: [{ type: 'repository', name: 'a', actions: ['*'] }] },
      },
    ];
    for (const token of good)
      expect([token.header, await statusWith(registry, await sign(token))]).toEqual([token.header, 404]);
  });

  test('and not otherwise', async () => {
    const registry = await start();
    const kid = libtrustId(publicOf(root));
    const now = Math.floor(Date.now() / 1000);
    const ownJwk = await exportJWK(stranger.publicKey);
    const bad: Token[] = [
      { header: { kid }, key: stranger.privateKey },
      { header: { kid, jwk: ownJwk }, key: stranger.privateKey },
      { header: { jwk: ownJwk }, key: stranger.privateKey },
      { header: { kid, x5c: chain }, key: stranger.privateKey },
      { header: { x5c: [] }, key: leaf },
      { header: { x5c: ['AAAA'] }, key: leaf },
      { header: {}, key: root },
      { header: { kid: 'unknown' }, key: root },
      // The public key, as everybody knows it, for a shared secret.
      {
        header: { alg: 'HS256', kid },
        key: Buffer.from(publicOf(root).export({ format: 'pem', type: 'spki' })),
      },
      { header: { kid }, key: root, claims: { iss: 'other' } },
      { header: { kid }, key: root, claims: { aud: 'other' } },
      { header: { kid }, key: root, claims: { exp: now - 120 } },
      { header: { kid }, key: root, claims: { exp: undefined } },
      { header: { kid }, key: root, claims: { nbf: now + 120 } },
      {
        header: { kid },
        key: root,
        claims: { access: [{ type: 'repository', name: 'b', actions: ['pull'] }] },
      },
      { header: { kid }, key: root, claims: { access: 'everything' } },
    ];
    for (const token of bad) {
      const { header, claims } = token;
      expect([header, claims, await statusWith(registry, await sign(token))]).toEqual([header, claims, 401]);
    }
    const unsigned = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from('{}').toString('base64url')}.`;
    expect(await statusWith(registry, unsigned)).toBe(401);
  });

  test('by algorithms that are named', async () => {
    const registry = await start(', signingalgorithms: [ES256]');
    expect(
      await statusWith(registry, await sign({ header: { kid: libtrustId(publicOf(root)) }, key: root })),
    ).toBe(401);
    const listedToken = await sign({ header: { alg: 'ES256', kid: 'listed' }, key: listed.privateKey });
    expect(await statusWith(registry, listedToken)).toBe(404);
  });
});

test('clients are sent to the other server, or to its place at this host', async () => {
  const challenge = async (registry: TestRegistry) =>
    (await registry.send('/v2/a/manifests/x', { method: 'PUT' })).headers.get('www-authenticate');
  expect(await challenge(await start())).toBe(
    'Bearer realm="https://auth.example/token",service="registry",scope="repository:a:pull,push"',
  );
  expect(await challenge(await start(', autoredirect: true'))).toStartWith(
    'Bearer realm="http://registry.test/auth/token/"',
  );
  expect((await (await start()).send('/v2/token')).status).toBe(404);
});

test('keys that change are read again, and what is no key leaves them as they were', async () => {
  const registry = await start();
  const path = join(folder, 'jwks.json');
  const before = await readFile(path, 'utf8');
  const token = await sign({ header: { alg: 'ES256', kid: 'listed' }, key: listed.privateKey });
  const pause = () => new Promise((resolve) => setTimeout(resolve, 1_100));
  await writeFile(path, 'no keys at all');
  await pause();
  expect(await statusWith(registry, token)).toBe(404);
  expect(registry.lines.join()).toContain('what was in it before still counts');
  await writeFile(path, '{"keys": []}');
  await pause();
  expect(await statusWith(registry, token)).toBe(401);
  await writeFile(path, before);
});
