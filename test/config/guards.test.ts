/** What keeps somebody out refuses to start where it guards nothing, and nothing else is refused for its name. */
import { describe, expect, test } from 'bun:test';
import { dottedNames } from '../../src/config/known-keys.ts';
import { ConfigError, loadConfig } from '../../src/config/load.ts';
import { load, minimal } from './config-file.ts';

const AUTH = 'auth: {htpasswd: {realm: r, path: /p}}';

describe('indented below what is not looked at', () => {
  test.each([
    [`health: {storagedriver: {enabled: true}, ${AUTH}}`, 'health.auth'],
    [`health: {storagedriver: {enabled: false}, ${AUTH}}`, 'health.auth'],
    [`health: {storagedriver: {enabled: true, ${AUTH}}}`, 'health.storagedriver.auth'],
    [`notifications: {endpoints: [{name: n, ${AUTH}}]}`, 'notifications.endpoints[0].auth'],
    ['notifications: {auth: {token: {realm: r, service: s, issuer: i}}}', 'notifications.auth'],
    [`redis: {addr: a, ${AUTH}}`, 'redis.auth'],
    [`http: {debug: {addr: ":1", ${AUTH}}}`, 'http.debug.auth'],
    [`http: {http2: {disabled: false, ${AUTH}}}`, 'http.http2.auth'],
    [`middleware: {storage: [{name: redirect}], ${AUTH}}`, 'middleware.auth'],
    [`log: {fields: {service: s, ${AUTH}}}`, 'log.fields.auth'],
    [
      'log: {fields: {auth: {token: {realm: r, service: s, issuer: i, rootcertbundle: c}}}}',
      'log.fields.auth',
    ],
    ['log: {fields: {auth: {oidc: [{issuer: i}], service: s}}}', 'log.fields.auth'],
    [`log: {hooks: [{type: mail, ${AUTH}}]}`, 'log.hooks[0].auth'],
    ['reporting: {auth: {ldap: {url: u, basedn: b}}}', 'reporting.auth'],
    ['health: {atuh: {htpaswd: {path: /p}}}', 'health.atuh'],
    ['redis: {htpasswd: {realm: r, path: /p}}', 'redis.htpasswd'],
    ['health: {access: {pull: users}}', 'health.access'],
    ['health: {users: {alice: "$2y$05$x"}}', 'health.users'],
    ['health: {users: {alice: {password: "$2y$05$x", groups: g}}}', 'health.users'],
    ['notifications: {acl: [{account: a, name: n, actions: pull}]}', 'notifications.acl'],
    ['policy: {tags: {immutable: [{tags: "v*"}]}}', 'policy.tags'],
    ['health: {http: {tls: {certificate: c, key: k}}}', 'health.http.tls'],
    ['http: {debug: {tls: {certificate: c, key: k}}}', 'http.debug.tls'],
    ['http: {h2c: {enabled: false, clientcas: [c]}}', 'http.h2c.clientcas'],
    ['http: {debug: {tls: {auto: true}}}', 'http.debug.tls'],
    ['http: {http2: {minimumtls: tls1.3}}', 'http.http2.minimumtls'],
    ['health: {readonly: {enabled: true}}', 'health.readonly'],
  ])('%s', async (line, where) => {
    const { problems } = await load(minimal(line));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(/^config\.yml:3:\d+: /);
    expect(problems[0]).toContain(`: ${where}: has no effect here; `);
  });

  test.each(['inmemory', 'cache', 'redirect', 'tag'])('storage: %s', async (section) => {
    const rest = section === 'inmemory' ? '' : 'inmemory: , ';
    const { problems } = await load(`version: 0.1\nstorage: {${rest}${section}: {x: y, ${AUTH}}}\n`);
    expect(problems).toEqual([
      expect.stringContaining(
        `storage.${section}.auth: has no effect here; auth belongs at the top level (auth:, not indented)`,
      ),
    ]);
  });

  test('by a variable', async () => {
    const { problems } = await load(minimal(), { REGISTRY_HEALTH_AUTH_HTPASSWD_PATH: '/p' });
    expect(problems).toEqual([
      expect.stringMatching(/^REGISTRY_HEALTH_AUTH_HTPASSWD_PATH: health\.auth: has no effect here; auth /),
    ]);
  });
});

describe('misspelt where it stands', () => {
  test.each([
    ['REGISTRY_AUTH_HTPASSWD_FILE', '/p', 'no setting has this name'],
    ['REGISTRY_AUTH_TOKEN_URL', 'https://a', 'no setting has this name'],
    ['REGISTRY_AUTH_OIDC_0_ISSUERS', 'https://a', 'no setting has this name'],
    ['REGISTRY_READONLY', 'true', 'did you mean REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED?'],
  ])('%s', async (name, value, problem) => {
    const { problems } = await load(minimal(), { [name]: value });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toStartWith(name);
    expect(problems[0]).toContain(problem);
  });

  test('read-only mode', async () => {
    const { problems } = await load(
      'version: 0.1\nstorage: {inmemory: , maintenance: {readonly: {enable: true}}}\n',
    );
    expect(problems).toEqual([
      expect.stringContaining('storage.maintenance.readonly.enable: unknown setting; did you mean'),
    ]);
  });
});

describe('misspelt and misplaced', () => {
  test.each([
    [
      'http: {atuh: {htpasswd: {path: /p}}}',
      '3:8: http.atuh: unknown setting; auth belongs at the top level',
    ],
    ['http: {acces: {pull: users}}', '3:8: http.acces: unknown setting; access belongs at the top level'],
    ['http: {clientca: [c]}', '3:8: http.clientca: unknown setting; clientcas belongs below http.tls'],
    ['http: {tls: , auto: true}', '3:15: http.auto: has no effect here; it belongs below http.tls'],
    ['http: {constraints: local}', '3:8: http.constraints: has no effect here; it belongs below http.tls'],
    ['http: {ssl: {certificate: c, key: k}}', '3:8: http.ssl: unknown setting; tls belongs below http'],
    [`more: {${AUTH}}`, '3:8: more.auth: has no effect here; auth belongs at the top level'],
    ['htpaswd: {path: /p}', '3:1: htpaswd: unknown setting; htpasswd belongs below auth'],
    [`http: {more: {${AUTH}}}`, '3:15: http.more.auth: has no effect here; auth belongs at the top level'],
  ])('%s', async (line, problem) => {
    const { problems } = await load(minimal(line));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toStartWith(`config.yml:${problem}`);
  });
});

describe('variables', () => {
  test.each([
    ['REGISTRY_HTTP_TLS_CLIENTCA', '/c', 'REGISTRY_HTTP_TLS_CLIENTCAS'],
    ['REGISTRY_HTTP_TLS_CLIENTCA_0', '/c', 'REGISTRY_HTTP_TLS_CLIENTCAS_0'],
    ['REGISTRY_HTTP_TLSS_CERTIFICATE', '/c', 'REGISTRY_HTTP_TLS_CERTIFICATE'],
    ['REGISTRY_HTPP_TLS_CERTIFICATE', '/c', 'REGISTRY_HTTP_TLS_CERTIFICATE'],
    ['REGISTRY_TLS_CERTIFICATE', '/c', 'REGISTRY_HTTP_TLS_CERTIFICATE'],
    ['REGISTRY_HTTP_CLIENTCAS_0', '/c', 'REGISTRY_HTTP_TLS_CLIENTCAS_0'],
    ['REGISTRY_ATUH_HTPASSWD_PATH', '/p', 'REGISTRY_AUTH_HTPASSWD_PATH'],
    ['REGISTRY_ATUH', '{htpasswd: {path: /p}}', 'REGISTRY_AUTH'],
    ['REGISTRY_AUTH_HTPASWD_PATH', '/p', 'REGISTRY_AUTH_HTPASSWD_PATH'],
    ['REGISTRY_ATUH_HMAC_SECRET', 's', 'REGISTRY_AUTH_HMAC_SECRET'],
    ['REGISTRY_HTTP_AUTH_HTPASSWD_PATH', '/p', 'REGISTRY_AUTH_HTPASSWD_PATH'],
    ['REGISTRY_HTPASSWD_PATH', '/p', 'REGISTRY_AUTH_HTPASSWD_PATH'],
    ['REGISTRY_ACCES_PULL', 'users', 'REGISTRY_ACCESS_PULL'],
    ['REGISTRY_ACCESS_PUL', 'users', 'REGISTRY_ACCESS_PULL'],
    ['REGISTRY_TAGS_IMUTABLE', '[{tags: v*}]', 'REGISTRY_TAGS_IMMUTABLE'],
    ['REGISTRY_TLS_AUTO', 'true', 'REGISTRY_HTTP_TLS_AUTO'],
    ['REGISTRY_TLS', '{auto: true}', 'REGISTRY_HTTP_TLS'],
    ['REGISTRY_HTTP_AUTO', 'true', 'REGISTRY_HTTP_TLS_AUTO'],
    ['REGISTRY_HTTP_TLSAUTO', 'true', 'REGISTRY_HTTP_TLS_AUTO'],
    ['REGISTRY_HTTP_CERTIFICATE', '/x', 'REGISTRY_HTTP_TLS_CERTIFICATE'],
    ['REGISTRY_HTTPTLS_CERTIFICATE', '/x', 'REGISTRY_HTTP_TLS_CERTIFICATE'],
    ['REGISTRY_HTTPS_CERTIFICATE', '/x', 'REGISTRY_HTTP_TLS_CERTIFICATE'],
    ['REGISTRY_HTTP_SSL_CERTIFICATE', '/x', 'REGISTRY_HTTP_TLS_CERTIFICATE'],
    ['REGISTRY_AUTHENTICATION_HTPASSWD_PATH', '/p', 'REGISTRY_AUTH_HTPASSWD_PATH'],
    ['REGISTRY_IMMUTABLE_TAGS', '[v*]', 'REGISTRY_TAGS_IMMUTABLE'],
    ['REGISTRY_PROTECTED_TAGS', 'v*', 'REGISTRY_TAGS_PROTECTED'],
    ['REGISTRY_TLS_CRT', '/x', 'REGISTRY_HTTP_TLS_CERTIFICATE'],
    ['REGISTRY_TLS_CERT', '/x', 'REGISTRY_HTTP_TLS_CERTIFICATE'],
    ['REGISTRY_TLS_CLIENT_CAS', '/c', 'REGISTRY_HTTP_TLS_CLIENTCAS'],
    ['REGISTRY_HTTP_TLSCLIENTCAS_0', '/c', 'REGISTRY_HTTP_TLS_CLIENTCAS_0'],
    ['REGISTRY_HTTPTLS_CERTIFICATES_1_CERT', '/c', 'REGISTRY_HTTP_TLS_CERTIFICATES_1_CERTIFICATE'],
    ['REGISTRY_TOKEN_REALM', 'https://a/b', 'REGISTRY_AUTH_TOKEN_REALM'],
    ['REGISTRY_HT_PASSWD_PATH', '/p', 'REGISTRY_AUTH_HTPASSWD_PATH'],
    ...[
      'STORAGE_MAINTENANCE_READ_ONLY_ENABLED',
      'STORAGE_MAINTENANCE_READ_ONLY',
      'MAINTENANCE_READONLY_ENABLED',
      'MAINTENANCE_REDONLY_ENABLED',
      'STORAGE_READ_ONLY_ENABLED',
      'READ_ONLY_ENABLED',
      'READ_ONLY',
    ].map((name) => [`REGISTRY_${name}`, 'true', 'REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED'] as const),
  ])('%s=%s', async (name, value, meant) => {
    const { problems } = await load(minimal(), { [name]: value });
    expect(problems).toEqual([`${name}: no setting has this name; did you mean ${meant}?`]);
  });

  test('of other programs begin alike, and refuse nothing', async () => {
    const env = {
      REGISTRY_ACCESS_TOKEN: 't',
      REGISTRY_AUTHTOKEN: 't',
      REGISTRY_AUTO: 'true',
      REGISTRY_HTTP_AUTH: 'u:p',
      REGISTRY_OAUTH_REALM: 'r',
      REGISTRY_PRIVATE_KEY: '/k',
      REGISTRY_TLS_AUTH: 'true',
      // Of a linked container, and of what is not asked for.
      REGISTRY_TLS_NAME: '/web/registry',
      REGISTRY_TLS_CERTIFICATE: '',
      REGISTRY_READ_ONLY_ENABLED: 'false',
      REGISTRY_STORAGE_MAINTENANCE_UPLOAD_PURGING_ENABLED: 'true',
      REGISTRY_MAINTENANCE_UPLOADPURGING_ENABLED: 'true',
      REGISTRY_ACCESS_KEY: 'k',
      REGISTRY_CERTIFICATES: '/c',
      REGISTRY_DOMAIN: 'registry.example',
      REGISTRY_HTPASSWD: '/auth/htpasswd',
      REGISTRY_HTTP_PORT: '80',
      REGISTRY_HTTP_PROXY: 'http://proxy:3128',
      REGISTRY_HTTP_URL: 'http://registry',
      REGISTRY_IMAGE: 'registry:2',
      REGISTRY_PASSWORD: 'p',
      REGISTRY_TAG: 'latest',
      REGISTRY_TLS: 'true',
      REGISTRY_TOKEN: 't',
      REGISTRY_USER: 'alice',
      REGISTRY_USERNAME: 'alice',
      REGISTRY_USER_NAME: 'alice',
      REGISTRY_USER_PASSWORD: 'p',
    };
    const { problems, warnings } = await load(minimal(), env);
    expect(problems).toEqual([]);
    expect(warnings).toHaveLength(Object.keys(env).length);
    const injected = {
      REGISTRY_AUTH_FILE: '/run/user/1000/containers/auth.json',
      REGISTRY_PORT: 'tcp://10.0.0.1:5000',
      REGISTRY_PORT_5000_TCP: 'tcp://10.0.0.1:5000',
      REGISTRY_PORT_5000_TCP_ADDR: '10.0.0.1',
      REGISTRY_SERVICE_HOST: '10.0.0.1',
      REGISTRY_SERVICE_PORT_HTTP: '5000',
      REGISTRY_TLS_PORT: 'tcp://10.0.0.1:443',
      REGISTRY_AUTH_HTPASSWD_PORT_80_TCP_ADDR: '10.0.0.2',
      REGISTRY_HTTP_TLS_SERVICE_PORT: '443',
    };
    expect(await load(minimal(), injected)).toMatchObject({ problems: [], warnings: [] });
  });
});

test('no setting is taken for a guard that it is not, and none that is typed as it stands', async () => {
  const isGuard = /^(?:auth|users|groups|acl|access|http\.tls|tags\.|storage\.maintenance\.readonly)/;
  for (const setting of dottedNames()) {
    const words = setting.toUpperCase().split('.');
    const whole = words.join('_');
    // Joined otherwise, without a section, and with a letter less.
    const others = [
      words.join(''),
      ...words.map((_, left) => words.toSpliced(left, 1).join('_')),
      `${whole.slice(0, -2)}${whole.at(-1) ?? ''}`,
    ].filter((name) => name !== '');
    const typed = isGuard.test(setting) ? [whole] : [whole, ...others];
    for (const value of ['true', '/x', '{a: b}']) {
      const env = Object.fromEntries(typed.map((name) => [`REGISTRY_${name}`, value]));
      const meant = (await problemsOf(env)).map(
        (problem) => /no setting has this name.*REGISTRY_(\w+)\?$/.exec(problem)?.[1] ?? '',
      );
      const guards = meant.filter((name) => isGuard.test(name.toLowerCase().replaceAll('_', '.')));
      expect([setting, value, guards]).toEqual([setting, value, []]);
    }
  }
});

/** Without a file, which would take most of the time. */
async function problemsOf(env: Readonly<Record<string, string>>): Promise<readonly string[]> {
  try {
    await loadConfig({ env });
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems;
  }
}

test('what registry:2 has by these names, and what is the operator’s own, is no guard', async () => {
  const yaml = minimal(
    'x-auth: &auth {htpasswd: {realm: r, path: /p}}',
    'shared: {login: &login {auth: &own {htpasswd: {realm: r, path: /p}}}}',
    'auth: *own',
    'log:',
    '  fields:',
    '    {auth: token, access: public, users: 12, tls: "1.3", deep: {auth: x, clientcas: [a]}, readonly: true,',
    '    of: {auth: {token: x, realm: y, service: z, ldap: u, oidc: i, private_key: k}}}',
    '  hooks: [{type: mail, levels: [error], options: {smtp: {addr: a, username: u, password: p}, auth: {token: t}}}]',
    'http:',
    '  headers: {Access: [a], Auth: [b], X-Token: [c], ClientCAs: [d]}',
    '  debug: {addr: ":5001", prometheus: {enabled: true, path: /metrics}}',
    '  http2: {disabled: false}',
    'notifications:',
    '  events: {includereferences: true}',
    '  endpoints:',
    '    - name: n',
    '      url: u',
    '      headers: {Authorization: [Bearer t], auth: [x], Access: [y], clientcas: [z]}',
    '      timeout: 1s',
    '      ignoredmediatypes: [application/octet-stream]',
    '      ignore: {mediatypes: [a/b], actions: [pull, push]}',
    'redis:',
    '  addrs: [a]',
    '  username: u',
    '  password: p',
    '  clientname: c',
    '  readonly: true',
    '  tls: {enabled: true, certificate: c, key: k, clientcas: [a], insecure: false}',
    '  pool: {maxidle: 16, maxactive: 64, idletimeout: 300s}',
    'health:',
    '  storagedriver: {enabled: true, interval: 10s, threshold: 3}',
    '  http: [{uri: u, headers: {Authorization: [t], auth: [x]}, statuscode: 200}]',
    '  tcp: [{addr: "a:1", timeout: 3s}]',
    'middleware:',
    '  registry: [{name: own, options: {auth: {token: {realm: r, service: s}}, access: {pull: x}}}]',
    '  storage: [{name: cloudfront, options: {baseurl: b, privatekey: p, keypairid: k}}]',
    'policy: {repository: {classes: [image]}}',
    'reporting: {newrelic: {licensekey: k, name: n, verbose: true}}',
  );
  expect((await load(yaml)).problems).toEqual([]);
});
