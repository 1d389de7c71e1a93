/** What others got wrong about logins and rights, by the numbers of the list of such failures. */
import { expect, test } from 'bun:test';
import { compareSync, hashSync } from 'bcryptjs';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SignJWT, UnsecuredJWT } from 'jose';
import { Acl } from '../../src/auth/acl.ts';
import { LocalAccounts } from '../../src/auth/local-accounts.ts';
import { PasswordCheck } from '../../src/auth/passwords.ts';
import { RefreshTokens } from '../../src/auth/refresh-tokens.ts';
import { loadConfig } from '../../src/config/load.ts';
import { loaded } from '../config/config-file.ts';
import {
  BLOB,
  basic,
  HASH,
  MANIFEST,
  pushImage,
  SECRET,
  sha256,
  startRegistry,
  type TestRegistry,
  tokenFor,
} from './registry.ts';

const AUTH = `auth: {hmac_secret: "${SECRET}"}`;
const USERS = `users: {admin: "${HASH}", alice: {password: "${HASH}", groups: [dev]}, bob: "${HASH}"}`;
const RULES =
  'acl: [{account: admin, actions: "*"}, {group: dev, name: team/*, actions: "*"}, {account: bob, name: bob/*, actions: "*"}]';

function start(...more: readonly string[]): Promise<TestRegistry> {
  return startRegistry(AUTH, USERS, RULES, ...more);
}

async function status(
  registry: TestRegistry,
  authorization: string,
  path: string,
  method = 'GET',
): Promise<number> {
  return (await registry.send(path, { method, headers: { authorization } })).status;
}

/** Counts bcrypt runs. */
function counted() {
  let runs = 0;
  const passwords = new PasswordCheck({
    check: ({ password, hash }) => {
      runs += 1;
      return Promise.resolve(compareSync(password, hash));
    },
  });
  const users = [{ name: 'alice', passwordHash: hashSync('right', 4), groups: [] }];
  const accounts = new LocalAccounts({
    users,
    groups: {},
    files: [],
    passwords,
    log: { warn: () => undefined },
  });
  const logIn = (account: string, password: string) =>
    accounts.authenticate({ kind: 'password', account, password });
  return { logIn, runs: () => runs };
}

test('security 9: a rule of any pattern is asked in the time of the name', () => {
  const acl = new Acl([
    { who: { account: '*' }, name: `${'*a'.repeat(500)}*b`, actions: ['*'], ip: [], deny: false, source: '' },
  ]);
  const subject = { account: 'alice', groups: [], remoteAddress: '' };
  for (let time = 0; time < 1000; time += 1)
    expect(acl.decide(subject, 'pull', 'a'.repeat(255)).allowed).toBe(false);
});

test('security 10: a push costs one bcrypt, and a password that is too long none', async () => {
  const { logIn, runs } = counted();
  for (let request = 0; request < 50; request += 1) await logIn('alice', 'right');
  expect(runs()).toBe(1);
  await logIn('alice', 'x'.repeat(1_000_000));
  expect(runs()).toBe(1);
});

test('security 11: a long Authorization header is refused before it is taken apart', async () => {
  const registry = await start();
  for (const scheme of ['Basic', 'Bearer']) {
    expect(await status(registry, `${scheme} ${'A.'.repeat(10_000)}`, '/v2/')).toBe(401);
  }
});

test('security 16: what is switched off is switched off for every account, by tag, by digest and for blobs', async () => {
  const registry = await start();
  await pushImage(registry, basic('admin'), 'team/a');
  const paths = [`manifests/v1`, `manifests/${sha256(MANIFEST)}`, `blobs/${sha256(BLOB)}`];
  const off = await startRegistry(AUTH, USERS, RULES, 'storage: {inmemory: , delete: {enabled: false}}');
  const frozen = await startRegistry(
    AUTH,
    USERS,
    RULES,
    'storage: {inmemory: , delete: {enabled: true}, maintenance: {readonly: {enabled: true}}}',
  );
  for (const path of paths) {
    for (const other of [off, frozen])
      expect(await status(other, basic('admin'), `/v2/team/a/${path}`, 'DELETE')).toBe(405);
  }
  expect(await status(frozen, basic('admin'), '/v2/team/a/blobs/uploads/', 'POST')).toBe(405);
});

test('security 17: what one deletes another no longer reads, whatever it has in memory', async () => {
  const registry = await start();
  await pushImage(registry, basic('admin'), 'team/a');
  const bearer = `Bearer ${await tokenFor(registry, basic('alice'), 'repository:team/a:pull')}`;
  const path = `/v2/team/a/manifests/${sha256(MANIFEST)}`;
  expect(await status(registry, bearer, path)).toBe(200);
  expect(await status(registry, basic('admin'), path, 'DELETE')).toBe(202);
  expect(await status(registry, bearer, path)).toBe(404);
});

test('security 19: who leaves a group loses its rights, also with a token that was made before', async () => {
  const registry = await start();
  await pushImage(registry, basic('admin'), 'team/a');
  const bearer = `Bearer ${await tokenFor(registry, basic('alice'), 'repository:team/a:pull')}`;
  expect(await status(registry, bearer, '/v2/team/a/tags/list')).toBe(200);
  const lines = ['version: 0.1', 'storage: inmemory', AUTH, `users: {alice: "${HASH}"}`, RULES];
  registry.app.changeAccess(await loaded(lines.join('\n')));
  expect(await status(registry, bearer, '/v2/team/a/tags/list')).toBe(401);
});

test('security 20: a digest of another repository is nothing in one’s own', async () => {
  const registry = await start();
  await pushImage(registry, basic('admin'), 'secret/a');
  for (const path of [`manifests/${sha256(MANIFEST)}`, `blobs/${sha256(BLOB)}`]) {
    for (const method of ['GET', 'HEAD', 'DELETE']) {
      expect([path, method, await status(registry, basic('bob'), `/v2/bob/x/${path}`, method)]).toEqual([
        path,
        method,
        404,
      ]);
    }
  }
});

test('security 21: there is no account that nobody made, and no open registry by default', async () => {
  const registry = await startRegistry(AUTH, 'access: {pull: users, push: users}');
  for (const [account, password] of [
    ['admin', 'admin'],
    ['docker', 'docker'],
    ['', ''],
    ['root', ''],
  ] as const) {
    expect(await status(registry, basic(account, password), '/v2/')).toBe(401);
  }
  expect(await loadConfig({ env: { REGISTRY_HTTP_ADDR: '0.0.0.0:5000' } }).catch(() => 'refused')).toBe(
    'refused',
  );
});

test('security 25, 26: a token is verified by the key that we have for its id, and by that key’s algorithm', async () => {
  const registry = await start();
  const claims = {
    access: [{ type: 'repository', name: 'team/a', actions: ['*'] }],
    entrepot: { method: 'oidc', groups: ['dev'] },
  };
  const kid = (
    JSON.parse(
      Buffer.from((await tokenFor(registry, undefined)).split('.')[0] ?? '', 'base64url').toString(),
    ) as { kid: string }
  ).kid;
  const jwk = { kty: 'oct', k: Buffer.alloc(32, 1).toString('base64url') };
  const sign = (header: object, key = Buffer.alloc(32, 1)) =>
    new SignJWT(claims)
      .setProtectedHeader({ alg: 'HS256', ...header })
      .setIssuer('entrepot')
      .setAudience('entrepot')
      .setSubject('alice')
      .setExpirationTime('5m')
      .sign(key);
  const tokens = [
    await sign({ kid, jwk }),
    await sign({ jwk }),
    await sign({ kid: '../../../../etc/passwd' }),
    await sign({ kid: '__proto__' }),
    await sign({ kid, jku: 'http://127.0.0.1:1/' }),
    await sign({ kid, alg: 'HS512' }, Buffer.from(SECRET)),
    new UnsecuredJWT(claims)
      .setIssuer('entrepot')
      .setAudience('entrepot')
      .setSubject('alice')
      .setExpirationTime('5m')
      .encode(),
  ];
  for (const token of tokens)
    expect(await status(registry, `Bearer ${token}`, '/v2/team/a/tags/list')).toBe(401);
});

test('security 28: refresh tokens are kept as hashes, for this user alone', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'refresh-'));
  try {
    const accounts = { find: (name: string) => ({ name, groups: [], fingerprint: 'f' }) };
    let now = Date.now();
    const tokens = new RefreshTokens({ folder: join(folder, 'r'), accounts, expiryMs: 1000, now: () => now });
    const token = tokens.create({ account: 'alice', groups: [], method: 'password' }) ?? '';
    for (const name of await readdir(join(folder, 'r'))) {
      expect(`${name}${await readFile(join(folder, 'r', name), 'utf8')}`).not.toContain(token);
      expect((await stat(join(folder, 'r', name))).mode & 0o777).toBe(0o600);
    }
    expect(tokens.use(token)).toMatchObject({ account: 'alice' });
    // Narrowed rights must not become wide ones again.
    expect(tokens.create({ account: 'alice', groups: [], method: 'key', limits: [] })).toBeUndefined();
    now += 1001;
    expect(tokens.use(token)).toBeUndefined();
    for (const text of ['', 'entr_', `entr_../../${'x'.repeat(37)}`, `${token}x`])
      expect(tokens.use(text)).toBeUndefined();
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('security 29: an unknown account costs what a wrong password does', async () => {
  const { logIn, runs } = counted();
  expect(await logIn('alice', 'wrong')).toBe('refused');
  expect(runs()).toBe(1);
  expect(await logIn('nobody', 'wrong')).toBeUndefined();
  expect(runs()).toBe(2);
});

test('security 30: what is empty is no account, no password and no token', async () => {
  const registry = await start();
  for (const authorization of [
    basic('', ''),
    basic('alice', ''),
    basic('', 'x'),
    'Basic ',
    'Bearer ',
    'Basic Og==',
    'Bearer undefined',
    'Bearer null',
  ]) {
    expect([authorization, await status(registry, authorization, '/v2/')]).toEqual([authorization, 401]);
  }
});

test('security 32: no credential gets into the log', async () => {
  const registry = await start();
  const canary = 'canary-5f0c';
  const headers = { authorization: basic('alice', canary), cookie: canary };
  await registry.send(`/v2/token?access_token=${canary}&account=bob`, { headers });
  await registry.send(`/v2/a/blobs/uploads/?token=${canary}`, { method: 'POST', headers });
  await registry.send('/v2/', { headers: { authorization: `Bearer ${canary}` } });
  const form = new URLSearchParams({ grant_type: 'refresh_token', refresh_token: canary, password: canary });
  const type = { 'content-type': 'application/x-www-form-urlencoded' };
  await registry.send('/v2/token', { method: 'POST', headers: type, body: form.toString() });
  expect(registry.lines.join('\n')).not.toContain(canary);
});

test('a catalog that leaves something out asks for a login first; one that is whole does not', async () => {
  const anonymous = await startRegistry(
    AUTH,
    USERS,
    'acl: [{account: admin, actions: "*"}, {anonymous: true, name: public/*, actions: pull}]',
  );
  await pushImage(anonymous, basic('admin'), 'public/app');
  expect((await anonymous.send('/v2/_catalog')).status).toBe(200);
  await pushImage(anonymous, basic('admin'), 'team/app');
  const answer = await anonymous.send('/v2/_catalog');
  expect([answer.status, answer.headers.get('www-authenticate')]).toEqual([
    401,
    expect.stringContaining('scope="registry:catalog:*"'),
  ]);
  // A token for nobody in particular says that there is no login to be had.
  const ask = await anonymous.send('/v2/token?scope=registry:catalog:*');
  const { token } = (await ask.json()) as { token: string };
  const list = await anonymous.send('/v2/_catalog', { headers: { authorization: `Bearer ${token}` } });
  expect(await list.json()).toEqual({ repositories: ['public/app'] });
});
