import { describe, expect, test } from 'bun:test';
import { resolve } from 'node:path';
import type { OwnAuthConfig } from '../../src/config/auth-config.ts';
import { describeConfig, loadConfig, openingsOf } from '../../src/config/load.ts';
import { type Env, load, loaded, minimal } from './config-file.ts';

const HASH = `$2y$10$${'a'.repeat(53)}`;
const WEAK = `$2b$05$${'a'.repeat(53)}`;

async function own(...lines: readonly string[]): Promise<OwnAuthConfig> {
  const { auth } = await loaded(minimal(...lines));
  if (auth?.kind !== 'own') throw new Error(`no accounts of our own but ${auth?.kind}`);
  return auth;
}

describe('logins of registry:2', () => {
  test('htpasswd: Basic, and everybody who is known may do everything', async () => {
    const auth = await own('auth: {htpasswd: {realm: Realm, path: p}}');
    expect(auth).toMatchObject({
      challenge: 'basic',
      realm: 'Realm',
      htpasswd: { path: resolve('p'), create: true },
      acl: [{ who: { account: '*' }, name: '*', actions: ['*'] }],
    });
  });

  test('htpasswd with rights of ours: by token, as Basic cannot mix with anonymous pulls', async () => {
    const auth = await own('auth: {htpasswd: {realm: r, path: p}}', 'access: {pull: anonymous, push: users}');
    expect(auth).toMatchObject({ challenge: 'bearer', htpasswd: { path: resolve('p'), create: true } });
    expect(auth.realm).toBeUndefined();
  });

  test('token', async () => {
    const { auth } = await loaded(
      minimal('auth: {token: {realm: "https://a/t", service: s, issuer: i, rootcertbundle: b.pem}}'),
    );
    expect(auth).toEqual({
      kind: 'token',
      realm: 'https://a/t',
      service: 's',
      issuer: 'i',
      rootCertBundle: resolve('b.pem'),
      signingAlgorithms: [],
      autoRedirect: false,
      autoRedirectPath: '/auth/token/',
    });
  });

  test('silly', async () => {
    const { auth } = await loaded(minimal('auth: {silly: {realm: r, service: s}}'));
    expect(auth).toEqual({ kind: 'silly', realm: 'r', service: 's' });
  });

  test.each([
    ['auth: {token: }', 'auth.token: expected "rootcertbundle" or "jwks"'],
    ['auth: {htpasswd: }', 'auth.htpasswd.path: is missing'],
    ['auth: silly', 'auth.silly.realm: is missing'],
    ['auth: {unheard-of: {}}', 'auth.unheard-of: unknown setting'],
    ['auth: {silly: {realm: r, service: s}, token: {realm: r}}', 'auth: expected one kind of login'],
    [`auth: {none: }\nusers: {a: "${HASH}"}`, 'auth: expected one kind of login'],
  ])('%s', async (line, problem) => {
    const { problems } = await load(minimal(line));
    expect(problems.join('\n')).toContain(problem);
  });
});

describe('accounts of our own', () => {
  test('users, as a hash or with groups', async () => {
    const auth = await own(
      `users: {alice: "${HASH}", bob@example.com: {password: "${HASH}", groups: [dev]}}`,
    );
    expect(auth.users).toEqual([
      { name: 'alice', passwordHash: HASH, groups: [] },
      { name: 'bob@example.com', passwordHash: HASH, groups: ['dev'] },
    ]);
    expect(auth.challenge).toBe('bearer');
    expect(auth.stateDirectory).toBeUndefined(); // storage in memory
  });

  test('keys lie beside the content, or where they are told to', async () => {
    const file = `version: 0.1\nstorage: {filesystem: {rootdirectory: /data}}\naccess: {push: users}\n`;
    expect((await loaded(file)).auth).toMatchObject({
      stateDirectory: '/data/_entrepot',
      htpasswd: { path: '/data/_entrepot/htpasswd', create: false },
    });
    expect((await loaded(`${file}auth: {state: /keys}\n`)).auth).toMatchObject({ stateDirectory: '/keys' });
  });

  test('a weak hash is told', async () => {
    const { warnings } = await load(minimal(`users: {alice: "${WEAK}"}`));
    expect(warnings.join()).toContain('cost 5');
    expect(warnings.join()).not.toContain(WEAK);
  });

  test.each([
    ['users: {alice: secret-word}', 'users.alice.password: expected a bcrypt hash'],
    [`users: {"a:b": "${HASH}"}`, 'users.a:b: expected a name'],
    [`users: {a: {password: "${HASH}", group: dev}}`, 'users.a'],
    ['auth: {signing_method: HS256}', 'auth.hmac_secret: is missing'],
    ['auth: {hmac_secret: short}', 'auth.hmac_secret: expected at least 32 bytes'],
    [`auth: {hmac_secret: ${'x'.repeat(32)}, signing_method: RS256}`, 'auth.hmac_secret: is not used with'],
    ['auth: {realm: Registry}', 'auth.realm: expected the URL of the token service'],
    ['auth: {public_key: p.pem}', 'auth.private_key: is missing'],
    ['auth: {expiry: 10s}', 'auth.expiry: expected a duration'],
    [
      'auth: {oidc: [{issuer: "https://i", audience: a, accounts: [{claims: {sub: x}, account: ci}]}]}',
      'say what these accounts may do',
    ],
    [
      'auth: {oidc: [{issuer: "https://i", accounts: [{claims: {sub: x}, account: ci}]}]}\nacl: []',
      'auth.oidc[0].audience: is missing',
    ],
    [
      'auth: {oidc: [{issuer: "https://i", audience: a, accounts: [{account: ci}]}]}\nacl: []',
      'auth.oidc[0].accounts[0]: expected "claims"',
    ],
    ['auth: {ldap: {url: "http://l", basedn: dc=a}}', 'auth.ldap.url: expected a URL'],
    ['auth: {ldap: {url: "ldaps://l", basedn: dc=a, userfilter: "(uid=alice)"}}', '${account}'],
    [
      'auth: {ldap: {url: "ldaps://l", basedn: dc=a, bindpasword: x}}',
      'auth.ldap.bindpasword: unknown setting',
    ],
    ['auth: {certificates: [{subject: "*"}]}', 'needs http.tls.clientcas'],
    ['http: {tls: {clientcas: [ca.pem]}}', 'http.tls.clientcas: needs http.tls.certificate'],
  ])('%s', async (line, problem) => {
    const { problems } = await load(minimal(line));
    expect(problems.join('\n')).toContain(problem);
    expect(problems.join('\n')).not.toContain('secret-word');
  });
});

describe('rights', () => {
  test('acl first, then what access stands for', async () => {
    const { acl } = await own(
      'acl:',
      '  - {group: dev, name: "team/*", actions: [pull, push], ip: 10.0.0.0/8}',
      '  - {anonymous: true, name: secret/*, actions: "*", deny: true}',
      'access: {pull: anonymous, push: [ci, "group:ops"], delete: off}',
    );
    expect(acl).toEqual([
      {
        who: { group: 'dev' },
        name: 'team/*',
        actions: ['pull', 'push'],
        ip: ['10.0.0.0/8'],
        deny: false,
        source: expect.stringContaining('config.yml:4'),
      },
      {
        who: { anonymous: true },
        name: 'secret/*',
        actions: ['*'],
        ip: [],
        deny: true,
        source: expect.stringContaining('config.yml:5'),
      },
      {
        who: { anonymous: true },
        name: '*',
        actions: ['pull'],
        ip: [],
        deny: false,
        source: expect.stringContaining('config.yml:6'),
      },
      {
        who: { account: 'ci' },
        name: '*',
        actions: ['pull', 'push'],
        ip: [],
        deny: false,
        source: expect.stringContaining('config.yml:6'),
      },
      {
        who: { group: 'ops' },
        name: '*',
        actions: ['pull', 'push'],
        ip: [],
        deny: false,
        source: expect.stringContaining('config.yml:6'),
      },
    ]);
  });

  test('an empty list of rules gives nobody anything', async () => {
    expect((await own('acl: []')).acl).toEqual([]);
    expect((await own('access: {pull: off}')).acl).toEqual([]);
  });

  test.each([
    ['{name: "*", actions: [pull]}', 'exactly one of'],
    ['{account: a, group: b, actions: [pull]}', 'exactly one of'],
    ['{anonymous: false, actions: [pull]}', 'exactly one of'],
    ['{account: "", actions: [pull]}', 'an account has a name'],
    ['{account: a}', 'expected "actions"'],
    ['{account: a, actions: [pul]}', 'expected "pull", "push", "delete" or "*"'],
    ['{account: a, actions: [pull], ip: 10.0.0.0/33}', 'expected an address or a block'],
    ['{account: a, actions: [pull], ips: 10.0.0.1}', 'expected a rule'],
    ['{account: a, actions: [pull], name: "x/${acount}"}', 'expected "${account}" in the name'],
    ['{account: a, actions: [pull], name: "x/${account"}', 'expected "${account}" in the name'],
  ])('%s', async (rule, problem) => {
    const { problems } = await load(minimal('acl:', `  - ${rule}`));
    expect(problems.join('\n')).toContain(problem);
  });
});

describe('a registry that asks nobody', () => {
  test('serves other machines only by a file, or by word', async () => {
    const failure = await loadConfig({ env: { REGISTRY_HTTP_ADDR: ':5000' } }).catch(String);
    expect(failure).toContain('nobody is asked for a login: everybody who can reach :5000 may push and pull');
    expect(failure).toContain('REGISTRY_AUTH=none');
    const env: Env = { REGISTRY_HTTP_ADDR: ':5000', REGISTRY_AUTH: 'none' };
    expect(openingsOf((await loadConfig({ env })).config)).toHaveLength(1);
    expect(openingsOf(await loaded(minimal('http: {addr: :5000}')))).toHaveLength(1);
    expect(openingsOf(await loaded(minimal('http: {addr: 127.0.0.1:5000}')))).toEqual([]);
    expect(openingsOf(await loaded(minimal('access: {pull: anonymous}')))).toEqual([]);
    expect(openingsOf(await loaded(minimal('auth: {silly: {realm: r, service: s}}')))).toHaveLength(1);
  });
});

test('names with an underscore can be set by variables', async () => {
  const secret = 'x'.repeat(40);
  const { auth } = await loaded(minimal(), {
    REGISTRY_AUTH_HMAC_SECRET: secret,
    REGISTRY_ACCESS_PULL: 'anonymous',
  });
  expect(auth).toMatchObject({ signingMethod: 'HS256', hmacSecret: secret });
});

test('a description is a file that gives the same logins and rights', async () => {
  const files = [
    minimal('auth: {htpasswd: {realm: r, path: /p}}'),
    minimal(
      'auth: {token: {realm: "https://a", service: s, issuer: i, jwks: /j, signingalgorithms: [ES256]}}',
    ),
    minimal(
      'auth: {ldap: {url: "ldap://l", starttls: yes, ca: /c, binddn: cn=a, basedn: dc=b, timeout: 1s}}',
      'access: {pull: users}',
    ),
    minimal(
      'auth: {realm: "https://a/t", signing_method: es256, private_key: /k, expiry: 1h, state: /s}',
      'groups: {dev: [a, b]}',
    ),
  ];
  const strip = (auth: unknown): unknown =>
    JSON.parse(JSON.stringify(auth, (key, value: unknown) => (key === 'source' ? '' : value)));
  for (const yaml of files) {
    const config = await loaded(yaml);
    expect(strip((await loaded(describeConfig(config))).auth)).toEqual(strip(config.auth));
  }
});
