import { afterAll, beforeAll, beforeEach, describe, expect, setSystemTime, test } from 'bun:test';
import { generateKeyPairSync } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, SignJWT } from 'jose';
import { RemoteKeys } from '../../src/auth/remote-keys.ts';
import { WorkloadIdentities, type WorkloadIssuer } from '../../src/auth/workload-identity.ts';
import { failureOf } from '../harness/failure-of.ts';
import { basic, startRegistry } from './registry.ts';

const pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
const other = generateKeyPairSync('rsa', { modulusLength: 2048 });
const log = { warn: () => undefined };

let server: Server;
let issuer: string;
/** What the issuer answers by path; a missing one is 404. */
let answers: Record<string, { status?: number; body: string; headers?: Record<string, string> }>;
let asked: string[];

beforeAll(async () => {
  server = createServer((request, response) => {
    asked.push(request.url ?? '');
    const answer = answers[request.url ?? ''];
    response.writeHead(answer === undefined ? 404 : (answer.status ?? 200), answer?.headers);
    response.end(answer?.body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(async () => {
  await new Promise((resolve) => server.close(resolve));
});

const DISCOVERY = '/.well-known/openid-configuration';

async function keySet(...keys: readonly (readonly [string, typeof pair])[]): Promise<string> {
  const jwks = keys.map(async ([kid, { publicKey }]) => ({
    ...(await exportJWK(publicKey)),
    kid,
    use: 'sig',
  }));
  return JSON.stringify({ keys: [...(await Promise.all(jwks)), { kty: 'new kind', kid: 'n' }] });
}

beforeEach(async () => {
  asked = [];
  answers = {
    [DISCOVERY]: { body: JSON.stringify({ issuer, jwks_uri: `${issuer}/keys` }) },
    '/keys': { body: await keySet(['one', pair]) },
  };
});

interface Token {
  readonly claims?: Record<string, unknown>;
  readonly kid?: string;
  readonly key?: typeof pair;
  readonly header?: object;
}

function sign({ claims = {}, kid = 'one', key = pair, header = {} }: Token = {}): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const payload = {
    iss: issuer,
    aud: 'registry',
    sub: 'repo:org/app:ref:main',
    repository: 'org/app',
    exp: now + 300,
    ...claims,
  };
  return new SignJWT(payload).setProtectedHeader({ alg: 'RS256', kid, ...header }).sign(key.privateKey);
}

function identities(more: Partial<WorkloadIssuer> = {}): WorkloadIdentities {
  const accounts = [
    { claims: { repository: 'org/secret' }, account: 'secret', groups: [] },
    { claims: { repository: 'org/*', sub: '*:ref:main' }, account: 'ci/${repository}', groups: ['ci'] },
    { claims: { 'kubernetes.io.namespace': 'prod' }, account: 'prod', groups: [] },
    { claims: { branch: '*' }, account: 'ci/${branch}', groups: [] },
  ];
  return new WorkloadIdentities([{ issuer, audiences: ['registry'], accounts, ...more }], log);
}

async function logIn(token: string, by = identities()) {
  return by.authenticate({ kind: 'bearer', token });
}

describe('a token', () => {
  test('is the account that its claims say, as a bearer token or a password', async () => {
    const wanted = { account: 'ci/org/app', groups: ['ci'], method: 'oidc' };
    const token = await sign();
    expect(await logIn(token)).toEqual(wanted as never);
    expect(await identities().authenticate({ kind: 'password', account: 'any', password: token })).toEqual(
      wanted as never,
    );
    const pod = await sign({
      claims: { repository: 'x', 'kubernetes.io': { namespace: 'prod' }, aud: ['a', 'registry'] },
    });
    expect(await logIn(pod)).toMatchObject({ account: 'prod' });
  });

  test('is asked about once', async () => {
    const by = identities();
    const token = await sign();
    for (let number = 0; number < 5; number += 1) await logIn(token, by);
    expect(asked).toEqual([DISCOVERY, '/keys']);
  });

  test('ends with its key, long as it may be good', async () => {
    const by = identities();
    const token = await sign({ claims: { exp: Math.floor(Date.now() / 1000) + 86_400 } });
    expect(await logIn(token, by)).toMatchObject({ account: 'ci/org/app' });
    answers['/keys'] = { body: await keySet(['two', other]) };
    try {
      setSystemTime(Date.now() + 3_600_000);
      expect(await logIn(token, by)).toBe('refused');
    } finally {
      setSystemTime();
    }
  });

  test.each(['EdDSA', 'Ed25519', 'ES256'])('is signed by %s', async (alg) => {
    const own =
      alg === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('ed25519');
    answers['/keys'] = { body: await keySet(['one', own]) };
    expect(await logIn(await sign({ key: own, header: { alg } }))).toMatchObject({ account: 'ci/org/app' });
  });

  test('is refused for anything that is wrong with it', async () => {
    const now = Math.floor(Date.now() / 1000);
    const ownJwk = await exportJWK(other.publicKey);
    const bad: Token[] = [
      { key: other },
      { key: other, header: { jwk: ownJwk } },
      { key: other, header: { jku: `${issuer}/evil` } },
      { kid: 'unknown' },
      { claims: { aud: 'somebody else' } },
      { claims: { aud: undefined } },
      { claims: { exp: now - 120 } },
      { claims: { exp: undefined } },
      { claims: { nbf: now + 120 } },
      { claims: { repository: 'elsewhere/app' } },
      { claims: { repository: 'org/a b' } },
      { claims: { repository: 'x', branch: '' } },
      { claims: { sub: 'repo:org/app:ref:branch' } },
      { claims: { repository: ['org/app'] } },
    ];
    for (const token of bad)
      expect([token, await logIn(await sign(token))]).toEqual([token, 'refused'] as never);
    const hs = await new SignJWT({ iss: issuer, aud: 'registry', exp: now + 300 })
      .setProtectedHeader({ alg: 'HS256', kid: 'one' })
      .sign(Buffer.from(pair.publicKey.export({ format: 'pem', type: 'spki' })));
    expect(await logIn(hs)).toBe('refused');
    expect(asked).not.toContain('/evil');
  });

  test('of nobody that is known is somebody else’s business', async () => {
    expect(await logIn(await sign({ claims: { iss: 'https://elsewhere.example' } }))).toBeUndefined();
    for (const text of ['', 'a.b.c', 'secret', 'x'.repeat(20_000)]) expect(await logIn(text)).toBeUndefined();
    expect(asked).toEqual([]);
  });
});

describe('keys', () => {
  test('change with the issuer’s, and stay while it is away', async () => {
    let now = 0;
    const keys = new RemoteKeys({ issuer, log, now: () => now });
    expect(await keys.find('one')).toBeDefined();
    answers['/keys'] = { body: await keySet(['two', other]) };
    expect(await keys.find('two')).toBeUndefined(); // asked a moment ago
    now += 31_000;
    expect(await keys.find('two')).toBeDefined();
    expect(await keys.find('one')).toBeUndefined();
    answers = {};
    now += 11 * 60_000;
    expect(await keys.find('two')).toBeDefined();
    const count = asked.length;
    for (let number = 0; number < 20; number += 1) await keys.find(`made up ${number}`);
    expect(asked.length).toBe(count);
  });

  test.each<[string, () => void]>([
    ['an issuer that is away', () => (answers = {})],
    [
      'a document of another issuer',
      () =>
        (answers[DISCOVERY] = { body: JSON.stringify({ issuer: 'https://x', jwks_uri: `${issuer}/keys` }) }),
    ],
    [
      'keys by plain HTTP elsewhere',
      () => (answers[DISCOVERY] = { body: JSON.stringify({ issuer, jwks_uri: 'http://192.0.2.1/keys' }) }),
    ],
    [
      'a file',
      () => (answers[DISCOVERY] = { body: JSON.stringify({ issuer, jwks_uri: 'file:///etc/passwd' }) }),
    ],
    [
      'a redirect',
      () => (answers['/keys'] = { status: 302, body: '', headers: { location: `${issuer}/other` } }),
    ],
    ['an endless answer', () => (answers['/keys'] = { body: 'x'.repeat(300_000) })],
    ['no JSON', () => (answers['/keys'] = { body: '<html>' })],
    ['an empty set', () => (answers['/keys'] = { body: '{"keys":[]}' })],
  ])('%s', async (_, change) => {
    change();
    expect(await failureOf(logIn(await sign()))).toMatchObject({ name: 'AuthenticationUnavailable' });
    expect(asked).not.toContain('/other');
  });
});

test('as a build meets it', async () => {
  const registry = await startRegistry(
    `auth: {hmac_secret: "${'x'.repeat(40)}", oidc: [{issuer: "${issuer}", audience: registry, accounts: [{claims: {repository: "org/*"}, account: "ci/\${repository}", groups: [ci]}]}]}`,
    'acl: [{group: ci, name: "${account}", actions: [pull, push]}, {group: ci, name: shared, actions: pull}]',
  );
  const token = await sign();
  const status = async (authorization: string, name: string) =>
    (await registry.send(`/v2/${name}/tags/list`, { headers: { authorization } })).status;
  expect(await status(`Bearer ${token}`, 'shared')).toBe(404);
  expect(await status(basic('github', token), 'ci/org/app')).toBe(404);
  expect(await status(basic('github', token), 'ci/org/other')).toBe(403);
  const query = 'scope=repository:ci/org/app:pull,push&offline_token=true';
  const answer = await registry.send(`/v2/token?${query}`, {
    headers: { authorization: basic('github', token) },
  });
  const { token: ours, refresh_token: refresh } = (await answer.json()) as {
    token: string;
    refresh_token?: string;
  };
  expect(refresh).toBeUndefined();
  expect(await status(`Bearer ${ours}`, 'ci/org/app')).toBe(404);
});
