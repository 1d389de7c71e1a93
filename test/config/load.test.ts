import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'bun:test';
import { ConfigError, loadConfig } from '../../src/config/load.ts';
import { load, loaded, minimal } from './config-file.ts';

describe('without a file', () => {
  test('the registry serves this machine from ./registry-data, and deleting works', async () => {
    const { config, warnings, file } = await loadConfig({ env: {} });
    expect({ warnings, file }).toEqual({ warnings: [], file: undefined });
    const { proxy, garbageCollector, scrub, admin, ...rest } = config;
    expect(scrub).toEqual({ enabled: false, intervalMs: 604_800_000, rate: 50_000_000, repair: false });
    expect(rest.retention).toBeUndefined();
    expect(garbageCollector).toEqual({
      enabled: true,
      intervalMs: 86_400_000,
      removeUntagged: false,
      graceMs: 86_400_000,
      rate: 5000,
    });
    expect(admin).toEqual({ socket: resolve('registry-data/_entrepot/admin.sock') });
    expect(proxy).toMatchObject({ upstreams: [], defaults: { tagTtlMs: 60_000, ttlMs: 604_800_000 } });
    expect(proxy?.allow).toContain('docker.io');
    expect(rest).toEqual({
      log: { level: 'info', formatter: 'text', fields: {}, accessLog: true },
      storage: {
        driver: { kind: 'filesystem', rootDirectory: resolve('registry-data'), maxThreads: 100 },
        deleteEnabled: true,
        deleteReferenced: false,
        readOnly: false,
        uploadPurging: { enabled: true, ageMs: 604_800_000, intervalMs: 86_400_000, dryRun: false },
      },
      http: {
        addr: { hostname: '127.0.0.1', port: 5000 },
        prefix: '/',
        relativeUrls: false,
        headers: {},
        drainTimeoutMs: 10_000,
        trustedProxies: [],
      },
      validation: {
        disabled: false,
        manifests: { urls: { allow: [], deny: [] }, indexes: { platforms: 'all', platformList: [] } },
      },
      catalog: { maxEntries: 1000 },
      tags: { maxTags: 1000, immutable: [], protected: [] },
    });
  });

  test('the config survives the way to a worker process', async () => {
    const config = await loaded(
      minimal('http: {tls: {certificate: c, key: k}, workers: 2}', 'log: {fields: {a: [1, {b: yes}]}}'),
    );
    expect(JSON.parse(JSON.stringify(config))).toStrictEqual(config);
    expect(structuredClone(config)).toStrictEqual(config);
  });
});

test('quotas are read with their sizes in bytes, in their order', async () => {
  const { quotas } = await loaded(
    minimal(
      'quotas: [{repositories: "{namespace}/*", bytes: 20GB, max_repositories: 10}, {repositories: a, bytes: 1MiB}]',
    ),
  );
  expect(quotas).toEqual([
    { repositories: '{namespace}/*', bytes: 20e9, maxRepositories: 10 },
    { repositories: 'a', bytes: 2 ** 20 },
  ]);
});

describe('a file', () => {
  test("the smallest has registry:2's defaults", async () => {
    const { storage, http, garbageCollector, admin } = await loaded(
      'version: 0.1\nstorage:\n  filesystem:\n',
    );
    expect(storage.driver).toEqual({
      kind: 'filesystem',
      rootDirectory: '/var/lib/registry',
      maxThreads: 100,
    });
    expect(storage.deleteEnabled).toBe(false);
    expect(http.addr).toEqual({ hostname: '', port: 5000 });
    expect(garbageCollector.enabled).toBe(false);
    expect(admin.socket).toBe('/var/lib/registry/_entrepot/admin.sock');
    expect((await loaded(minimal())).admin).toEqual({});
    expect((await loaded('version: 0.1\nstorage: {filesystem: }\nadmin: {socket: off}\n')).admin).toEqual({});
  });

  test('every supported setting arrives', async () => {
    const { config, warnings, problems } = await load(`
version: 0.1
log:
  level: debug
  formatter: json
  fields: {service: registry, number: 5, nested: {since: 2001-01-01, list: [yes, 1.5, ~]}}
  accesslog: {disabled: true}
loglevel: error
storage:
  filesystem: {rootdirectory: data, maxthreads: 10}
  delete: {enabled: yes, referenced: yes}
  redirect: {disable: true}
  cache: {blobdescriptor: inmemory, blobdescriptorsize: 10000}
  tag: {concurrencylimit: 5}
  maintenance:
    uploadpurging: {enabled: off, age: 1h30m, interval: 500ms, dryrun: on}
    readonly: {enabled: true}
http:
  addr: "[::1]:0"
  net: tcp
  prefix: registry
  host: https://Example.com:443/base/
  relativeurls: true
  secret: 012345
  headers: {X-Content-Type-Options: [nosniff], X-One: single, X-Number: [1, 2]}
  draintimeout: 60s
  tls:
    certificate: c.pem
    key: /k.pem
    certificates: [{certificate: a.pem, key: a.key}, {certificate: b.pem, key: b.key, names: ["*.B.test", b.test]}]
    minimumtls: tls1.2
    ciphersuites: [TLS_AES_128_GCM_SHA256, tls_ecdhe_rsa_with_aes_128_gcm_sha256]
  trustedproxies: [10.0.0.0/8, "::1", unix]
  http2: {disabled: true}
  h2c: {enabled: false}
  workers: 4
validation:
  disabled: true
  manifests:
    urls: {allow: ['^https?://a/'], deny: ['^https?://b/']}
    indexes: {platforms: list, platformlist: [{architecture: amd64, os: linux}]}
garbage_collector: {enabled: yes, interval: 1h, window: '22:00-4:30', remove_untagged: yes, grace: 2d, rate: 7}
scrub: {enabled: yes, interval: 720h, window: '1:00-5:00', rate: 1MiB, repair: yes}
retention:
  interval: 12h
  rules:
    - repositories: ci/*
      except: [ci/golden]
      delete: pr-*
      keep: [{tags: ['v*', latest], except: v0*, newest: 3, by: version, pushed_within: 14d, pulled_within: 36h}]
      untagged: 2w
    - repositories: ['*']
admin: {socket: run/admin.sock}
catalog: {maxentries: 5}
tags: {maxtags: 6, immutable: [{repositories: prod/*, tags: [v*, '1.*'], except: '*-dev'}], protected: [{tags: latest}]}
`);
    expect({ problems, warnings }).toEqual({ problems: [], warnings: [] });
    expect(config).toEqual({
      log: {
        level: 'debug',
        formatter: 'json',
        fields: { service: 'registry', number: 5, nested: { since: '2001-01-01', list: [true, 1.5, null] } },
        accessLog: false,
      },
      storage: {
        driver: { kind: 'filesystem', rootDirectory: resolve('data'), maxThreads: 25 },
        deleteEnabled: true,
        deleteReferenced: true,
        readOnly: true,
        uploadPurging: { enabled: false, ageMs: 5_400_000, intervalMs: 500, dryRun: true },
      },
      http: {
        addr: { hostname: '::1', port: 0 },
        prefix: '/registry/',
        host: 'https://example.com/base',
        relativeUrls: true,
        secret: '012345',
        headers: { 'X-Content-Type-Options': ['nosniff'], 'X-One': ['single'], 'X-Number': ['1', '2'] },
        drainTimeoutMs: 60_000,
        tls: {
          certificate: resolve('c.pem'),
          key: '/k.pem',
          named: [
            { certificate: resolve('a.pem'), key: resolve('a.key') },
            { certificate: resolve('b.pem'), key: resolve('b.key'), names: ['*.b.test', 'b.test'] },
          ],
          minimumVersion: 'tls1.2',
          ciphers: ['ECDHE-RSA-AES128-GCM-SHA256'],
          clientCas: [],
          clientAuth: 'require-and-verify-client-cert',
        },
        workers: 4,
        trustedProxies: ['10.0.0.0/8', '::1', 'unix'],
      },
      validation: {
        disabled: true,
        manifests: {
          urls: { allow: ['^https?://a/'], deny: ['^https?://b/'] },
          indexes: { platforms: 'list', platformList: [{ architecture: 'amd64', os: 'linux' }] },
        },
      },
      garbageCollector: {
        enabled: true,
        intervalMs: 3_600_000,
        window: { from: 1320, to: 270 },
        removeUntagged: true,
        graceMs: 172_800_000,
        rate: 7,
      },
      scrub: {
        enabled: true,
        intervalMs: 2_592_000_000,
        window: { from: 60, to: 300 },
        rate: 1_048_576,
        repair: true,
      },
      retention: {
        enabled: true,
        intervalMs: 43_200_000,
        rules: [
          {
            repositories: ['ci/*'],
            except: ['ci/golden'],
            delete: ['pr-*'],
            keep: [
              {
                tags: ['v*', 'latest'],
                except: ['v0*'],
                newest: 3,
                by: 'version',
                pushedWithinMs: 1_209_600_000,
                pulledWithinMs: 129_600_000,
              },
            ],
            untaggedAfterMs: 1_209_600_000,
          },
          { repositories: ['*'], keep: [] },
        ],
      },
      admin: { socket: resolve('run/admin.sock') },
      catalog: { maxEntries: 5 },
      tags: {
        maxTags: 6,
        immutable: [{ repositories: ['prod/*'], tags: ['v*', '1.*'], except: ['*-dev'] }],
        protected: [{ repositories: ['*'], tags: ['latest'], except: [] }],
      },
    });
  });

  test("the file of registry:2's image starts with one warning", async () => {
    const { config, warnings } = await load(`version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
`);
    expect(config?.http.headers).toEqual({ 'X-Content-Type-Options': ['nosniff'] });
    expect(warnings).toEqual(['config.yml:14:1: health: is not supported yet and has no effect']);
  });

  test('REGISTRY_CONFIGURATION_PATH names it when nothing else does', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'config-'));
    try {
      const file = join(folder, 'mine.yml');
      await writeFile(file, minimal('http: {addr: :1234}'));
      const env = { REGISTRY_CONFIGURATION_PATH: file };
      const found = await loadConfig({ env });
      expect(found.file).toBe(file);
      expect(found.warnings).toEqual([]);
      expect(found.config.http.addr).toEqual({ hostname: '', port: 1234 });
      expect((await loadConfig({ env: { REGISTRY_CONFIGURATION_PATH: '' } })).file).toBeUndefined();
      const other = loadConfig({ file: join(folder, 'other.yml'), env });
      expect(await other.catch(String)).toContain('other.yml: cannot be read: there is no such file');
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test('what cannot be read is one line', async () => {
    const of = async (file: string) => {
      const error: unknown = await loadConfig({ file, env: {} }).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(ConfigError);
      return error instanceof ConfigError ? error.message : '';
    };
    expect(await of('/no/such/file.yml')).toBe('/no/such/file.yml: cannot be read: there is no such file');
    expect(await of('/tmp')).toBe('/tmp: cannot be read: it is a folder');
    expect(await of('bad\0name')).toBe('bad\uFFFDname: cannot be read: no file can have this name');
  });

  test('bytes that are no text are told', async () => {
    expect((await load(new Uint8Array([0xff, 0xfe, 0x00]))).problems).toEqual([
      'config.yml: cannot be read: it is not UTF-8 text',
    ]);
    expect((await load(new Uint8Array(1024 * 1024 + 1))).problems).toEqual([
      'config.yml: cannot be read: it is larger than 1 MiB',
    ]);
  });
});

describe('single meanings', () => {
  const levels = [
    ['log: {level: WARN}', 'warn'],
    ['loglevel: debug', 'debug'],
    ['{log: {level: error}, loglevel: debug}', 'error'],
  ] as const;
  test.each(levels)('%s is the level %s', async (line, level) => {
    const yaml = line.startsWith('{') ? `{version: 0.1, storage: inmemory, ${line.slice(1)}` : minimal(line);
    expect((await loaded(yaml)).log.level).toBe(level);
  });

  const validations = [
    ['{}', false],
    ['{disabled: true}', true],
    ['{enabled: false}', false],
    ['{enabled: true, disabled: true}', false],
  ] as const;
  test.each(validations)('validation: %s is disabled: %p', async (section, disabled) => {
    expect((await loaded(minimal(`validation: ${section}`))).validation.disabled).toBe(disabled);
  });

  const addresses = [
    [':5000', { hostname: '', port: 5000 }],
    ['127.0.0.1:5000', { hostname: '127.0.0.1', port: 5000 }],
    ['"[::1]:5000"', { hostname: '::1', port: 5000 }],
    ['localhost:5000', { hostname: 'localhost', port: 5000 }],
    ['0.0.0.0:0', { hostname: '0.0.0.0', port: 0 }],
    ['', { hostname: '', port: 5000 }],
  ] as const;
  test.each(addresses)('http.addr: %s', async (addr, expected) => {
    expect((await loaded(minimal(`http: {addr: ${addr}}`))).http.addr).toEqual(expected);
  });

  test('with net: unix the address is a path', async () => {
    const { http } = await loaded(minimal('http: {net: unix, addr: run/registry.sock}'));
    expect(http.addr).toEqual({ unix: resolve('run/registry.sock') });
  });

  test('pages that are not above 0 are left out, as in registry:2', async () => {
    const { catalog, tags } = await loaded(minimal('catalog: {maxentries: 0}', 'tags: {maxtags: -1}'));
    expect([catalog.maxEntries, tags.maxTags]).toEqual([1000, 1000]);
  });

  test('a host without a scheme has no effect, as in registry:2, and is told', async () => {
    const { config, warnings } = await load(minimal('http: {host: example.com}'));
    expect(config?.http.host).toBeUndefined();
    expect(warnings).toEqual([
      'config.yml:3:14: http.host: expected a URL such as "https://registry.example.com"; it has no effect',
    ]);
  });

  test('a duration without a unit counts nanoseconds, and is told', async () => {
    const { config, warnings } = await load(minimal('http: {draintimeout: 60000000}'));
    expect(config?.http.drainTimeoutMs).toBe(60);
    expect(warnings).toEqual([
      'config.yml:3:22: http.draintimeout: a number without a unit counts nanoseconds, as in registry:2; ' +
        'write "60s" for a minute',
    ]);
    expect(await load(minimal('http: {draintimeout: 0}'))).toMatchObject({
      config: { http: { drainTimeoutMs: 0 } },
      warnings: [],
    });
  });

  test('storage written as one word', async () => {
    expect((await loaded('version: "0.1"\nstorage: inmemory')).storage.driver).toEqual({ kind: 'inmemory' });
    expect((await loaded('version: 0.1\nstorage: filesystem')).storage.driver).toMatchObject({
      rootDirectory: '/var/lib/registry',
    });
  });
});

describe('one mistake', () => {
  test.each([
    ['acess: {pull: users}', 'acess: unknown setting; did you mean access?'],
    ['user: {a: x}', 'user: unknown setting; did you mean users?'],
    ['acls: []', 'acls: unknown setting; did you mean acl?'],
  ])('%s would let everybody in, and is refused', async (line, problem) => {
    expect((await load(minimal(line))).problems).toEqual([`config.yml:3:1: ${problem}`]);
  });

  test('of an account is told alone, not as if there were no storage', async () => {
    const { problems } = await load(minimal('users: {alice: plaintext}'));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain('users.alice.password: expected a bcrypt hash');
  });

  test('that YAML has another sense for is told as it is', async () => {
    const { problems } = await load(minimal('acl: [{account: *, name: a, actions: pull}]'));
    expect(problems[0]).toContain('put it in quotes: "*"');
  });
});
