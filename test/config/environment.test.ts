import { resolve } from 'node:path';
import { describe, expect, test } from 'bun:test';
import { ConfigError, loadConfig } from '../../src/config/load.ts';
import { type Env, load, loaded, minimal } from './config-file.ts';

/** What came of variables alone, without a file. */
async function fromVariables(env: Env) {
  try {
    return { ...(await loadConfig({ env })), problems: [] };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { config: undefined, problems: error.problems, warnings: error.warnings };
  }
}

describe('without a file', () => {
  test('a folder by variable leaves the other defaults', async () => {
    const { config, warnings } = await fromVariables({ REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY: '/data' });
    expect(warnings).toEqual([]);
    expect(config?.storage.driver).toEqual({ kind: 'filesystem', rootDirectory: '/data', maxThreads: 100 });
    expect(config?.storage.deleteEnabled).toBe(true);
    expect(config?.http.addr).toEqual({ hostname: '127.0.0.1', port: 5000 });
  });

  test('a setting of the driver leaves the folder', async () => {
    const { config } = await fromVariables({ REGISTRY_STORAGE_FILESYSTEM_MAXTHREADS: '200' });
    expect(config?.storage.driver).toEqual({
      kind: 'filesystem',
      rootDirectory: resolve('registry-data'),
      maxThreads: 200,
    });
  });

  test.each([{ REGISTRY_STORAGE: 'inmemory' }, { REGISTRY_STORAGE_INMEMORY: '' }])(
    'memory: %p',
    async (env) => {
      const { config } = await fromVariables(env);
      expect(config?.storage).toMatchObject({ driver: { kind: 'inmemory' }, deleteEnabled: true });
    },
  );
});

describe('over a file', () => {
  const yaml = `version: 0.1
storage: {filesystem: {rootdirectory: /data, maxthreads: 50}, delete: {enabled: true}}
http: {addr: ":80", headers: {X-Old: [a, b]}, secret: old}
log: {fields: {Service: x, deep: {a: 1}, list: [1]}}
`;
  const cases: readonly (readonly [env: Env, expected: object])[] = [
    [{ REGISTRY_HTTP_ADDR: ':81' }, { http: { addr: { hostname: '', port: 81 } } }],
    [{ REGISTRY_HTTP_ADDR: '[::1]:81' }, { http: { addr: { hostname: '::1', port: 81 } } }],
    [{ REGISTRY_HTTP_ADDR: "'127.0.0.1:81'" }, { http: { addr: { hostname: '127.0.0.1', port: 81 } } }],
    [{ REGISTRY_http_addr: ':81' }, { http: { addr: { port: 81 } } }],
    [{ REGISTRY_HTTP: '{addr: ":81"}' }, { http: { addr: { port: 81 }, headers: {} } }],
    [{ REGISTRY_HTTP_SECRET: '@*&!%' }, { http: { secret: '@*&!%' } }],
    [{ REGISTRY_HTTP_SECRET: '00123' }, { http: { secret: '00123' } }],
    [{ REGISTRY_HTTP_RELATIVEURLS: 'yes' }, { http: { relativeUrls: true } }],
    [{ REGISTRY_HTTP_DRAINTIMEOUT: '1m' }, { http: { drainTimeoutMs: 60_000 } }],
    [{ REGISTRY_STORAGE_DELETE_ENABLED: 'false' }, { storage: { deleteEnabled: false } }],
    [
      { REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY: '/new' },
      { storage: { driver: { rootDirectory: '/new' } } },
    ],
    [{ REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY: '/new' }, { storage: { driver: { maxThreads: 50 } } }],
    // The section is replaced as a whole, and the settings by longer names come after.
    [{ REGISTRY_STORAGE: 'inmemory' }, { storage: { driver: { kind: 'inmemory' }, deleteEnabled: false } }],
    [
      { REGISTRY_STORAGE_DELETE_ENABLED: 'true', REGISTRY_STORAGE: 'inmemory' },
      { storage: { driver: { kind: 'inmemory' }, deleteEnabled: true } },
    ],
    [
      { REGISTRY_STORAGE: 'filesystem', REGISTRY_STORAGE_FILESYSTEM_MAXTHREADS: '60' },
      { storage: { driver: { kind: 'filesystem', rootDirectory: '/var/lib/registry', maxThreads: 60 } } },
    ],
    [
      {
        REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_AGE: '1h',
        REGISTRY_STORAGE_MAINTENANCE_READONLY: '{enabled: y}',
      },
      { storage: { readOnly: true, uploadPurging: { enabled: true, ageMs: 3_600_000 } } },
    ],
    [{ 'REGISTRY_HTTP_HEADERS_X-OLD': '[c]' }, { http: { headers: { 'X-Old': ['c'] } } }],
    [
      { 'REGISTRY_HTTP_HEADERS_X-NEW': '[c]' },
      { http: { headers: { 'X-Old': ['a', 'b'], 'x-new': ['c'] } } },
    ],
    [{ 'REGISTRY_HTTP_HEADERS_X-OLD_1': 'c' }, { http: { headers: { 'X-Old': ['a', 'c'] } } }],
    [{ 'REGISTRY_HTTP_HEADERS_X-OLD_2': 'c' }, { http: { headers: { 'X-Old': ['a', 'b', 'c'] } } }],
    [{ REGISTRY_LOG_LEVEL: 'debug' }, { log: { level: 'debug' } }],
    [{ REGISTRY_LOG_ACCESSLOG_DISABLED: 'true' }, { log: { accessLog: false } }],
    [{ REGISTRY_LOG_FIELDS_SERVICE: 'z' }, { log: { fields: { Service: 'z' } } }],
    [{ REGISTRY_LOG_FIELDS_NEW: '{a: [1]}' }, { log: { fields: { new: { a: [1] } } } }],
    [{ REGISTRY_LOG_FIELDS_DEEP_B: '2' }, { log: { fields: { deep: { a: 1, b: 2 } } } }],
    [{ REGISTRY_LOG_FIELDS_LIST_1: '2' }, { log: { fields: { list: [1, 2] } } }],
    [
      { REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW_0: '^a', REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW_1: '^b' },
      { validation: { manifests: { urls: { allow: ['^a', '^b'] } } } },
    ],
    [
      {
        REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMLIST_0_ARCHITECTURE: 'amd64',
        REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMLIST_0_OS: 'linux',
      },
      { validation: { manifests: { indexes: { platformList: [{ architecture: 'amd64', os: 'linux' }] } } } },
    ],
    // Lists that may not be empty are lists here too: a rule that is passed over would let everybody in, or delete.
    ...(
      [
        ['TAGS_IMMUTABLE_0_TAGS', (tags) => ({ tags: { immutable: [{ tags }] } })],
        ['TAGS_PROTECTED_0_TAGS', (tags) => ({ tags: { protected: [{ tags }] } })],
        ['RETENTION_RULES_0_REPOSITORIES', (list) => ({ retention: { rules: [{ repositories: list }] } })],
        [
          'PROXY_UPSTREAMS_0_ALLOW',
          (allow) => ({ proxy: { upstreams: [{ name: 'a', allow }] } }),
          { REGISTRY_PROXY_UPSTREAMS_0_NAME: 'a', REGISTRY_PROXY_UPSTREAMS_0_URL: 'https://a.example' },
        ],
      ] satisfies readonly (readonly [string, (list: readonly string[]) => object, Env?])[]
    ).flatMap(([name, config, more = {}]): (readonly [Env, object])[] => [
      [{ ...more, [`REGISTRY_${name}_0`]: 'b', [`REGISTRY_${name}_1`]: 'c*' }, config(['b', 'c*'])],
      [{ ...more, [`REGISTRY_${name}`]: '[b, c*]' }, config(['b', 'c*'])],
    ]),
    // Set to nothing is left out, as in compose files.
    [{ REGISTRY_HTTP_ADDR: '' }, { http: { addr: { hostname: '', port: 5000 } } }],
    [{ REGISTRY_AUTH: '', REGISTRY_PROXY_REMOTEURL: '' }, { http: { secret: 'old' } }],
  ];

  test.each(cases)('%j', async (env, expected) => {
    expect(await load(yaml, env)).toMatchObject({ config: expected, problems: [], warnings: [] });
  });

  test('a second driver is refused, and the variable named', async () => {
    expect((await load(yaml, { REGISTRY_STORAGE_INMEMORY: '' })).problems).toEqual([
      'config.yml:2:1: storage: expected exactly one storage driver, found filesystem and inmemory ' +
        '(by REGISTRY_STORAGE_INMEMORY); REGISTRY_STORAGE=inmemory would replace the section',
    ]);
  });

  test('a driver that the file lacks is taken from a variable', async () => {
    const { storage } = await loaded('version: 0.1', { REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY: '/data' });
    expect(storage.driver).toMatchObject({ rootDirectory: '/data' });
    expect(storage.deleteEnabled).toBe(false);
  });
});

describe('wrong values name the variable', () => {
  const cases: readonly (readonly [env: Env, problem: string])[] = [
    [
      { REGISTRY_HTTP_ADDR: 'x' },
      'REGISTRY_HTTP_ADDR: http.addr: expected host:port such as ":5000", found "x"',
    ],
    [
      { REGISTRY_HTTP_WORKERS: '[' },
      'REGISTRY_HTTP_WORKERS: http.workers: expected a whole number of at least 1 and at most 1024, found "["',
    ],
    [{ REGISTRY_HTTP: '5' }, 'REGISTRY_HTTP: http: expected a section of settings, found "5"'],
    [{ REGISTRY_HTTP: '[' }, 'REGISTRY_HTTP: not valid YAML: Flow sequence must end with a ]'],
    [
      { REGISTRY_HTTP_TLS_KEY: 'k' },
      'REGISTRY_HTTP_TLS_KEY: http.tls.certificate: is missing, and http.tls.key needs it',
    ],
    [
      { REGISTRY_VALIDATION_MANIFESTS_URLS_DENY_1: 'x' },
      'REGISTRY_VALIDATION_MANIFESTS_URLS_DENY_1: validation.manifests.urls.deny: ' +
        'expected the number of a list item from 0 to 0, found 1',
    ],
    [
      { REGISTRY_VALIDATION_MANIFESTS_URLS_DENY_X: 'x' },
      'REGISTRY_VALIDATION_MANIFESTS_URLS_DENY_X: validation.manifests.urls.deny: ' +
        'expected the number of a list item from 0 to 0, found X',
    ],
  ];
  test.each(cases)('%j', async (env, problem) => {
    expect((await load(minimal(), env)).problems).toEqual([problem]);
  });
});

describe('names that are no settings', () => {
  test('are told, with what may have been meant', async () => {
    const env = {
      REGISTRY_HTPP_ADDR: ':1',
      REGISTRY_HTTP_ADRR: ':1',
      REGISTRY_HTTP_ADDR_X: ':1',
      REGISTRY_VERSION: '0.2',
      REGISTRY_: 'x',
      REGISTRY_HTTP_: 'x',
      REGISTRY_HTTP_PORT: '80',
    };
    const { config, warnings } = await load(minimal(), env);
    expect(config?.http.addr).toEqual({ hostname: '', port: 5000 });
    expect(warnings).toEqual([
      'REGISTRY_: no setting has this name, it has no effect',
      'REGISTRY_HTPP_ADDR: no setting has this name, it has no effect; did you mean REGISTRY_HTTP_ADDR?',
      'REGISTRY_HTTP_: no setting has this name, it has no effect',
      'REGISTRY_HTTP_ADDR_X: no setting has this name, it has no effect; did you mean REGISTRY_HTTP_ADDR?',
      'REGISTRY_HTTP_ADRR: no setting has this name, it has no effect; did you mean REGISTRY_HTTP_ADDR?',
      'REGISTRY_HTTP_PORT: no setting has this name, it has no effect',
      'REGISTRY_VERSION: the version of the file cannot be set by a variable',
    ]);
  });

  test('what Kubernetes and Docker links inject is passed over', async () => {
    const env = {
      REGISTRY_PORT: 'tcp://10.0.0.1:5000',
      REGISTRY_PORT_5000_TCP: 'tcp://10.0.0.1:5000',
      REGISTRY_PORT_5000_TCP_PROTO: 'tcp',
      REGISTRY_PORT_5000_TCP_PORT: '5000',
      REGISTRY_PORT_5000_TCP_ADDR: '10.0.0.1',
      REGISTRY_SERVICE_HOST: '10.0.0.1',
      REGISTRY_SERVICE_PORT: '5000',
      REGISTRY_SERVICE_PORT_HTTP: '5000',
      REGISTRY_AUTH_SERVICE_HOST: '10.0.0.2',
      REGISTRY_AUTH_PORT: 'tcp://10.0.0.2:80',
      REGISTRY_ENV_PATH: '/bin',
      REGISTRYCTL_ANY: 'x',
      PATH: '/bin',
    };
    expect(await load(minimal(), env)).toMatchObject({ problems: [], warnings: [] });
  });
});
