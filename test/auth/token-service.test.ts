import { describe, expect, test } from 'bun:test';
import * as fc from 'fast-check';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addKey, TokenKeys } from '../../src/auth/token-keys.ts';
import {
  basic,
  HASH,
  PASSWORD,
  pushImage,
  SECRET,
  sha256,
  BLOB,
  startRegistry,
  type TestRegistry,
  tokenFor,
} from './registry.ts';

function start(...lines: readonly string[]): Promise<TestRegistry> {
  return startRegistry(
    ...(lines.some((line) => line.startsWith('auth:')) ? [] : [`auth: {hmac_secret: "${SECRET}"}`]),
    `users: {alice: "${HASH}", bob: "${HASH}"}`,
    'acl:',
    '  - {account: alice, name: team/*, actions: "*"}',
    '  - {anonymous: true, name: public/*, actions: pull}',
    ...lines,
  );
}

interface Answer {
  readonly token?: string;
  readonly access_token?: string;
  readonly refresh_token?: string;
  readonly expires_in?: number;
  readonly issued_at?: string;
  readonly scope?: string;
  readonly error?: string;
}

async function get({ send }: TestRegistry, query: string, authorization?: string): Promise<[number, Answer]> {
  const headers = authorization === undefined ? {} : { authorization };
  const answer = await send(`/v2/token?${query}`, { headers });
  return [answer.status, (await answer.json()) as Answer];
}

async function post({ send }: TestRegistry, form: Record<string, string>): Promise<[number, Answer]> {
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const body = new URLSearchParams(form).toString();
  const answer = await send('/v2/token', { method: 'POST', headers, body });
  return [answer.status, (await answer.json()) as Answer];
}

function accessIn(token: string | undefined): unknown {
  return decodeJwt(token ?? '')['access'];
}

describe('GET', () => {
  test('what is asked for, as far as it is allowed; less is no error', async () => {
    const registry = await start();
    const scopes = [
      'repository:team/a:pull,push',
      'repository:team/a:delete',
      'repository(plugin):team/b:*',
      'repository:public/x:pull,push',
      'repository:other:pull',
      'repository:UPPER:pull',
      'nonsense',
      'registry:catalog:*',
      'repository:localhost:5000/x:pull',
    ];
    const query = `service=entrepot&account=alice&${scopes.map((scope) => `scope=${encodeURIComponent(scope)}`).join('&')}`;
    const [status, answer] = await get(registry, query, basic('alice'));
    expect(status).toBe(200);
    expect(answer.token).toBe(answer.access_token ?? '');
    expect(answer.expires_in).toBe(900);
    expect(Date.parse(answer.issued_at ?? '')).toBeGreaterThan(0);
    expect(answer.refresh_token).toBeUndefined();
    expect(accessIn(answer.token)).toEqual([
      { type: 'repository', name: 'team/a', actions: ['pull', 'push', 'delete'] },
      { type: 'repository', name: 'team/b', actions: ['pull', 'push', 'delete'] },
      { type: 'repository', name: 'public/x', actions: ['pull'] },
      { type: 'repository', name: 'other', actions: [] },
      { type: 'registry', name: 'catalog', actions: ['*'] },
    ]);
    expect(decodeJwt(answer.token ?? '')).toMatchObject({ iss: 'entrepot', aud: 'entrepot', sub: 'alice' });
  });

  test('nobody in particular gets a token too, for what everybody may', async () => {
    const registry = await start();
    const [status, { token, refresh_token: refresh }] = await get(
      registry,
      'scope=repository:public/x:pull,push&offline_token=true',
    );
    expect([status, refresh]).toEqual([200, undefined]);
    expect(accessIn(token)).toEqual([{ type: 'repository', name: 'public/x', actions: ['pull'] }]);
    const ping = await registry.send('/v2/', { headers: { authorization: `Bearer ${token}` } });
    expect(ping.status).toBe(200);
  });

  test.each([
    ['', basic('alice', 'wrong'), 401],
    ['', basic('stranger'), 401],
    ['', 'Basic !!!', 401],
    ['', 'Digest x', 401],
    ['', `Bearer ${'x'.repeat(20_000)}`, 401],
    ['account=bob', basic('alice'), 400],
    ['service=other', basic('alice'), 400],
  ])('%s %s is refused', async (query, authorization, expected) => {
    const registry = await start();
    const answer = await registry.send(`/v2/token?${query}`, { headers: { authorization } });
    expect(answer.status).toBe(expected);
    expect(answer.headers.get('www-authenticate')).toBe(expected === 401 ? 'Basic realm="entrepot"' : null);
    expect(await answer.json()).toMatchObject({ errors: [{ code: expect.any(String) }] });
  });
});

describe('POST', () => {
  test('by password, and again by what came of it', async () => {
    const registry = await start();
    const [status, first] = await post(registry, {
      grant_type: 'password',
      username: 'alice',
      password: PASSWORD,
      service: 'entrepot',
      client_id: 'test',
      access_type: 'offline',
      scope: 'repository:team/a:pull repository:team/b:push',
    });
    expect(status).toBe(200);
    expect(first.scope).toBe('repository:team/a:pull repository:team/b:push');
    expect(first.refresh_token).toStartWith('entr_');
    const again = {
      grant_type: 'refresh_token',
      refresh_token: first.refresh_token ?? '',
      service: 'entrepot',
    };
    const [second, token] = await post(registry, { ...again, scope: 'repository:team/c:pull' });
    expect(second).toBe(200);
    expect(accessIn(token.access_token)).toEqual([{ type: 'repository', name: 'team/c', actions: ['pull'] }]);
    expect(decodeJwt(token.access_token ?? '').sub).toBe('alice');
  });

  test.each([
    [{ grant_type: 'password', username: 'alice', password: 'wrong' }, 401, 'invalid_grant'],
    [{ grant_type: 'refresh_token', refresh_token: 'entr_x' }, 401, 'invalid_grant'],
    [{ grant_type: 'refresh_token', refresh_token: `entr_${'A'.repeat(43)}` }, 401, 'invalid_grant'],
    [{ grant_type: 'code' }, 400, 'unsupported_grant_type'],
    [{}, 400, 'unsupported_grant_type'],
  ])('%j is refused', async (form, status, error) => {
    expect(await post(await start(), form as Record<string, string>)).toMatchObject([status, { error }]);
  });

  test('what is no form, or no small one', async () => {
    const { send } = await start();
    expect((await send('/v2/token', { method: 'POST', body: '{}' })).status).toBe(415);
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    expect((await send('/v2/token', { method: 'POST', headers, body: 'x'.repeat(70_000) })).status).toBe(413);
  });
});

describe('a refresh token', () => {
  async function loggedIn(registry: TestRegistry): Promise<string> {
    const [, { refresh_token: token = '' }] = await get(registry, 'offline_token=true', basic('alice'));
    return token;
  }

  test('ends with its account’s password', async () => {
    const registry = await start();
    const token = await loggedIn(registry);
    const other = HASH.replace(/.$/, (last) => (last === 'a' ? 'b' : 'a'));
    const { loaded } = await import('../config/config-file.ts');
    const changed = await loaded(
      [
        'version: 0.1',
        'storage: inmemory',
        `auth: {hmac_secret: "${SECRET}"}`,
        `users: {alice: "${other}"}`,
        'access: {pull: users}',
      ].join('\n'),
    );
    const access = `Bearer ${await tokenFor(registry, basic('alice'))}`;
    expect((await registry.send('/v2/', { headers: { authorization: access } })).status).toBe(200);
    registry.app.changeAccess(changed);
    expect((await post(registry, { grant_type: 'refresh_token', refresh_token: token }))[0]).toBe(401);
    expect((await registry.send('/v2/', { headers: { authorization: access } })).status).toBe(401);
  });
});

test('rights that are taken away are gone at once, for tokens too', async () => {
  const registry = await start();
  await pushImage(registry, basic('alice'), 'team/a');
  const authorization = `Bearer ${await tokenFor(registry, basic('alice'), 'repository:team/a:pull')}`;
  const pull = () => registry.send('/v2/team/a/manifests/v1', { headers: { authorization } });
  expect((await pull()).status).toBe(200);
  const { loaded } = await import('../config/config-file.ts');
  registry.app.changeAccess(
    await loaded(
      [
        'version: 0.1',
        'storage: inmemory',
        `auth: {hmac_secret: "${SECRET}"}`,
        `users: {alice: "${HASH}"}`,
        'acl: []',
      ].join('\n'),
    ),
  );
  expect((await pull()).status).toBe(401);
});

test('lists show what may be pulled, on full pages', async () => {
  const registry = await start('  - {account: bob, name: "*", actions: "*"}');
  for (let number = 0; number < 12; number += 1) {
    await pushImage(registry, basic('bob'), `${number % 3 === 0 ? 'team' : 'other'}/app-${number}`);
  }
  const list = async (query: string, account: string) => {
    const answer = await registry.send(`/v2/_catalog${query}`, {
      headers: { authorization: basic(account) },
    });
    return [(await answer.json()) as object, answer.headers.get('link')];
  };
  expect(await list('?n=3', 'alice')).toEqual([
    { repositories: ['team/app-0', 'team/app-3', 'team/app-6'] },
    '</v2/_catalog?n=3&last=team%2Fapp-6>; rel="next"',
  ]);
  expect(await list('?n=3&last=team/app-6', 'alice')).toEqual([{ repositories: ['team/app-9'] }, null]);
  expect(((await list('', 'bob'))[0] as { repositories: string[] }).repositories).toHaveLength(12);
  const found = await registry.send('/v1/search?q=APP-1', { headers: { authorization: basic('bob') } });
  expect(await found.json()).toMatchObject({ num_results: 3, results: [{ name: 'other/app-1' }, {}, {}] });
  const hidden = await registry.send('/v1/search?q=app-1');
  expect(await hidden.json()).toMatchObject({ num_results: 0, results: [] });
});

test('a blob is mounted only from where its reader may pull', async () => {
  const registry = await start('  - {account: bob, name: bob/*, actions: "*"}');
  await pushImage(registry, basic('alice'), 'team/a');
  const mount = async (query: string) => {
    const headers = { authorization: basic('bob') };
    const path = `/v2/bob/x/blobs/uploads/?mount=${sha256(BLOB)}${query}`;
    return (await registry.send(path, { method: 'POST', headers })).status;
  };
  expect(await mount('&from=team/a')).toBe(202);
  expect(await mount('')).toBe(202);
  await pushImage(registry, basic('bob'), 'bob/y');
  expect(await mount('&from=bob/y')).toBe(201);
});

test('changes, logins and refusals are recorded, and no secret is', async () => {
  const registry = await start();
  await pushImage(registry, basic('alice'), 'team/a');
  await registry.send('/v2/team/a/manifests/v1', {
    method: 'DELETE',
    headers: { authorization: basic('alice') },
  });
  await registry.send('/v2/team/a/tags/list', { headers: { authorization: basic('bob') } });
  await registry.send('/v2/', { headers: { authorization: basic('alice', 'canary') } });
  const records = registry.lines.filter((line) => line.startsWith('audit ')).join('\n');
  for (const wanted of [
    '{"event":"login","account":"alice","remoteAddress":"192.0.2.1","result":"done","detail":"password"}',
    '"event":"push","repository":"team/a","reference":"v1","account":"alice"',
    `"event":"push","repository":"team/a","reference":"${sha256(BLOB)}"`,
    '"event":"delete","repository":"team/a","reference":"v1"',
    '"event":"denied","account":"bob"',
    '"event":"login","account":"alice","remoteAddress":"192.0.2.1","result":"refused"',
  ]) {
    expect(records).toContain(wanted);
  }
  expect(registry.lines.join('\n')).not.toContain('canary');
  expect(registry.lines.join('\n')).not.toContain(PASSWORD);
});

test('failed logins have to wait, and others not', async () => {
  const registry = await start();
  const attempt = (account: string, password: string, remoteAddress: string) =>
    registry.send('/v2/', { headers: { authorization: basic(account, password) } }, { remoteAddress });
  const statuses: number[] = [];
  for (let number = 0; number < 7; number += 1)
    statuses.push((await attempt('alice', 'x', '192.0.2.9')).status);
  expect(statuses.slice(0, 5)).toEqual([401, 401, 401, 401, 401]);
  expect(statuses).toContain(429);
  const waiting = await attempt('alice', PASSWORD, '192.0.2.9');
  expect(waiting.status).toBe(429);
  expect(Number(waiting.headers.get('retry-after'))).toBeGreaterThan(0);
  expect((await attempt('alice', PASSWORD, '192.0.2.10')).status).toBe(200);
  expect((await attempt('bob', PASSWORD, '192.0.2.9')).status).toBe(200);
});

test('no header and no query is answered by a failure of ours', async () => {
  const registry = await start();
  const text = fc.string({ unit: 'binary', maxLength: 60 });
  const header = fc.oneof(
    text,
    text.map((rest) => `Basic ${rest}`),
    text.map((rest) => `Basic ${Buffer.from(rest).toString('base64')}`),
    text.map((rest) => `Bearer ${rest}`),
    fc
      .tuple(text, text, text)
      .map((parts) => `Bearer ${parts.map((part) => Buffer.from(part).toString('base64url')).join('.')}`),
  );
  await fc.assert(
    fc.asyncProperty(header, text, async (authorization, query) => {
      let headers: Headers;
      try {
        headers = new Headers({ authorization });
      } catch {
        return; // no header can have this
      }
      const encoded = encodeURIComponent(query);
      for (const path of [
        '/v2/',
        `/v2/token?scope=${encoded}&service=${encoded}`,
        '/v2/_catalog',
        '/v2/a/tags/list',
      ]) {
        const { status } = await registry.send(path, { headers });
        expect([path, status < 500]).toEqual([path, true]);
      }
    }),
    { numRuns: 150 },
  );
  for (const name of ['scope', 'service', 'account', 'grant_type', 'refresh_token', 'username']) {
    const form = new URLSearchParams({ grant_type: 'refresh_token', [name]: '\0%\u{10FFFF}'.repeat(50) });
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const { status } = await registry.send('/v2/token', { method: 'POST', headers, body: form.toString() });
    expect(status).toBeLessThan(500);
  }
});

describe('keys', () => {
  test('are made once, for this user alone, found by every process, and change without logging anybody out', async () => {
    const folder = join(await mkdtemp(join(tmpdir(), 'keys-')), 'signing');
    try {
      for (const method of ['RS256', 'ES256'] as const) {
        const one = new TokenKeys({ method, folder });
        const two = new TokenKeys({ method, folder });
        expect(two.current.kid).toBe(one.current.kid);
        const before = one.current.kid;
        await new Promise((resolve) => setTimeout(resolve, 1_050)); // looks at the folder at most once a second
        const added = addKey(folder, method);
        expect(two.find(added)?.kid).toBe(added);
        expect(two.current.kid).toBe(added);
        expect(two.find(before)?.kid).toBe(before);
        expect(JSON.stringify(two.jwks())).not.toMatch(/"(?:d|p|q|k)":/);
      }
      expect((await stat(folder)).mode & 0o777).toBe(0o700);
    } finally {
      await rm(join(folder, '..'), { recursive: true });
    }
  });

  test('are published, and a token says which', async () => {
    const registry = await start('auth: {signing_method: ES256}');
    const token = await tokenFor(registry, basic('alice'));
    const { keys } = (await (await registry.send('/v2/token/jwks.json')).json()) as {
      keys: { kid: string; kty: string }[];
    };
    expect(keys.map(({ kid }) => kid)).toEqual([decodeProtectedHeader(token).kid ?? '']);
    const secret = await start();
    expect(await (await secret.send('/v2/token/jwks.json')).json()).toEqual({ keys: [] });
  });
});

describe('where the token service is', () => {
  const realmOf = async (registry: TestRegistry, headers: Record<string, string>, encrypted = false) => {
    const answer = await registry.send('/v2/', { headers }, { encrypted });
    return /realm="([^"]*)"/.exec(answer.headers.get('www-authenticate') ?? '')?.[1];
  };

  test('at the host that was asked', async () => {
    const registry = await start();
    expect(await realmOf(registry, { host: 'a.example:5000' })).toBe('http://a.example:5000/v2/token');
    expect(await realmOf(registry, { host: '[::1]:5000' }, true)).toBe('https://[::1]:5000/v2/token');
    // What a proxy says counts where it is trusted: forwarded.test.ts.
    expect(
      await realmOf(registry, { host: 'a', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'b.example' }),
    ).toBe('http://a/v2/token');
    expect((await registry.send('/v2/', { headers: { host: 'a"b' } })).status).toBe(400);
  });

  test('at http.host, or where it is told', async () => {
    expect(await realmOf(await start('http: {host: "https://r.example"}'), {})).toBe(
      'https://r.example/v2/token',
    );
    const registry = await start('auth: {realm: "https://auth.example/t"}');
    expect(await realmOf(registry, {})).toBe('https://auth.example/t');
  });
});
