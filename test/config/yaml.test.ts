import { describe, expect, test } from 'bun:test';
import { load, loaded, minimal } from './config-file.ts';

describe("YAML as registry:2's parser takes it", () => {
  test.each(['yes', 'Yes', 'y', 'on', 'ON', 'true', 'True', '"true"'])('%s is true', async (word) => {
    expect((await loaded(minimal(`http: {relativeurls: ${word}}`))).http.relativeUrls).toBe(true);
  });

  test.each(['no', 'n', 'off', 'False', '"false"', '~', ''])('%s is false', async (word) => {
    expect((await loaded(minimal(`http: {relativeurls: ${word}}`))).http.relativeUrls).toBe(false);
  });

  test.each(['12345', '0123', '1_000', '0x1F', 'yes', '2001-01-01', '1e3', '.5', '12:30'])(
    'where text is wanted %s stays as typed',
    async (typed) => {
      expect((await loaded(minimal(`http: {secret: ${typed}}`))).http.secret).toBe(typed);
    },
  );

  test('binary text is decoded', async () => {
    expect((await loaded(minimal('http: {secret: !!binary aHVzaA==}'))).http.secret).toBe('hush');
  });

  test('anchors and merge keys', async () => {
    const { http, log } = await loaded(
      minimal(
        'log: {fields: &f {a: 1, b: 2}}',
        'http:',
        '  headers:',
        '    X-Own: [own]',
        '    <<: [{X-Own: [lost], X-One: [1]}, {X-One: [lost], X-Two: [2]}]',
        '  draintimeout: 5s',
        'x-merge: &m {workers: 3}',
      ),
    );
    expect(http.headers).toEqual({ 'X-Own': ['own'], 'X-One': ['1'], 'X-Two': ['2'] });
    expect(log.fields).toEqual({ a: 1, b: 2 });
    const merged = await loaded(
      'version: 0.1\nx: &m {workers: 3}\nhttp: {<<: *m, relativeurls: y}\nstorage: inmemory',
    );
    expect(merged.http).toMatchObject({ workers: 3, relativeUrls: true });
    expect((await load(minimal('http: {<<: 5}'))).problems).toEqual([
      'config.yml:3:8: << needs a map, or a list of maps',
    ]);
  });

  test('keys that JavaScript is wary of are keys like any other', async () => {
    const { config, warnings } = await load(
      minimal('log: {fields: {a: {__proto__: x, constructor: z}}}', '__proto__: {polluted: true}'),
    );
    expect(JSON.stringify(config?.log.fields)).toBe('{"a":{"__proto__":"x","constructor":"z"}}');
    expect(Reflect.get({}, 'polluted')).toBeUndefined();
    expect(warnings).toEqual(['config.yml:4:1: __proto__: unknown setting, it has no effect']);
  });

  test('byte order mark, carriage returns, comments, a document start', async () => {
    const { http } = await loaded(
      '\uFEFF---\r\nversion: 0.1 # yes\r\nstorage: inmemory\r\nhttp:\r\n  secret: a\r\n',
    );
    expect(http.secret).toBe('a');
  });

  test('only the first document is read', async () => {
    const { config, warnings } = await load(minimal('---', 'http: {addr: ":1"}'));
    expect(config?.http.addr).toMatchObject({ port: 5000 });
    expect(warnings).toEqual([
      'config.yml:3:1: a second YAML document has no effect; only the first is read',
    ]);
  });
});

describe('duplicate keys', () => {
  test('what is written last counts, and both lines are told', async () => {
    const { config, warnings } = await load(
      minimal(
        'http:',
        '  addr: ":1"',
        '  secret: a',
        '  addr: ":2"',
        'log: {level: warn}',
        'log: {level: debug}',
      ),
    );
    expect(config?.http).toMatchObject({ addr: { port: 2 }, secret: 'a' });
    expect(config?.log.level).toBe('debug');
    expect(warnings).toEqual([
      'config.yml:6:3: "addr" is written twice (first on line 4); what is written last counts',
      'config.yml:8:1: "log" is written twice (first on line 7); what is written last counts',
    ]);
  });

  test('a second section is laid over the first, so that no TLS is lost', async () => {
    const { config } = await load(
      minimal(
        'http: {tls: {certificate: /c}, headers: {A: [a]}}',
        'http: {tls: {key: /k}, headers: {B: [b]}}',
        'http:',
      ),
    );
    expect(config?.http).toMatchObject({
      tls: { certificate: '/c', key: '/k' },
      headers: { A: ['a'], B: ['b'] },
    });
  });

  test('a second storage section replaces the first', async () => {
    const { config } = await load(
      'version: 0.1\nstorage: {filesystem: {rootdirectory: /a}, delete: {enabled: true}}\nstorage: inmemory\n',
    );
    expect(config?.storage).toMatchObject({ driver: { kind: 'inmemory' }, deleteEnabled: false });
  });

  test('a sample that shows alternatives side by side still loads', async () => {
    const { config, problems, warnings } = await load(`version: 0.1
storage:
  filesystem:
    rootdirectory: /data
  maintenance:
    uploadpurging:
      enabled: true
      age: 168h
      interval: 24h
      dryrun: false
    readonly:
      enabled: false
middleware:
  storage:
    - name: cloudfront
      options: {baseurl: https://example.com}
  storage:
    - name: redirect
      options: {baseurl: https://example.com}
redis:
  tls:
    certificate: /a
  addrs: [localhost:6379]
  tls:
    certificate: /b
`);
    expect(problems).toEqual([]);
    expect(config?.storage.driver).toMatchObject({ rootDirectory: '/data' });
    expect(warnings).toEqual([
      'config.yml:13:1: middleware: is not supported yet and has no effect',
      'config.yml:17:3: "storage" is written twice (first on line 14); what is written last counts',
      'config.yml:20:1: redis: is not supported yet and has no effect',
      'config.yml:24:3: "tls" is written twice (first on line 21); what is written last counts',
    ]);
  });
});

describe('unknown settings', () => {
  const cases = [
    ['http: {header: {}}', '3:8: http.header: unknown setting, it has no effect; did you mean http.headers?'],
    [
      'http: {rootdirectory: x}',
      '3:8: http.rootdirectory: unknown setting, it has no effect; did you mean storage.filesystem.rootdirectory?',
    ],
    ['addr: x', '3:1: addr: unknown setting, it has no effect; did you mean http.addr?'],
    ['colour: blue', '3:1: colour: unknown setting, it has no effect'],
    ['"a\\nb": c', '3:1: a\uFFFDb: unknown setting, it has no effect'],
    [`${'x'.repeat(100)}: c`, `3:1: ${'x'.repeat(57)}...: unknown setting, it has no effect`],
  ] as const;
  test.each(cases)('%s', async (line, warning) => {
    expect(await load(minimal(line))).toMatchObject({ problems: [], warnings: [`config.yml:${warning}`] });
  });

  // It would listen, or keep its content, somewhere else than the file says.
  test.each([
    ['htpp: {addr: x}', '3:1: htpp: unknown setting; did you mean http?'],
    ['HTTP: {addr: x}', '3:1: HTTP: unknown setting; did you mean http?'],
    ['storag: {}', '3:1: storag: unknown setting; did you mean storage?'],
  ])('%s is refused, as a whole section would be passed over', async (line, problem) => {
    expect((await load(minimal(line))).problems).toEqual([`config.yml:${problem}`]);
  });

  // It would serve everybody, or in the clear, though the file says otherwise.
  test.each([
    ['http:\n  auth: {htpasswd: {path: x}}', '4:3: http.auth', 'at the top level (auth:, not indented)'],
    ['http: {storage: {inmemory: {}}}', '3:8: http.storage', 'at the top level (storage:, not indented)'],
    [
      'proxy: {remoteurl: "https://a", users: {}}',
      '3:33: proxy.users',
      'at the top level (users:, not indented)',
    ],
    ['log: {acl: []}', '3:7: log.acl', 'at the top level (acl:, not indented)'],
    ['http: {Access: {pull: users}}', '3:8: http.Access', 'at the top level (access:, not indented)'],
    ['http: {quotas: []}', '3:8: http.quotas', 'at the top level (quotas:, not indented)'],
    ['tls: {certificate: a, key: b}', '3:1: tls', 'below http (http.tls)'],
    ['http: {clientcas: [a]}', '3:8: http.clientcas', 'below http.tls (http.tls.clientcas)'],
    ['htpasswd: {path: x}', '3:1: htpasswd', 'below auth (auth.htpasswd)'],
    ['pull: users', '3:1: pull', 'below access (access.pull)'],
    ['log: {immutable: []}', '3:7: log.immutable', 'below tags (tags.immutable)'],
    [
      'http: {readonly: true}',
      '3:8: http.readonly',
      'below storage.maintenance (storage.maintenance.readonly)',
    ],
    [
      'http: {certificates: []}',
      '3:8: http.certificates',
      'below http.tls (http.tls.certificates) or below auth (auth.certificates)',
    ],
  ] as const)('%s guards nothing where it is, and is refused', async (line, where, home) => {
    const { problems } = await load(minimal(line));
    expect(problems[0]).toStartWith(`config.yml:${where}: has no effect here; it belongs ${home}`);
  });

  test('what begins with x- is somebody’s own', async () => {
    const { config, warnings } = await load(minimal('x-http: &mine {addr: ":7000"}', 'http: *mine'));
    expect(config?.http.addr).toEqual({ hostname: '', port: 7000 });
    expect(warnings).toHaveLength(1);
  });

  test('another program’s file is refused, also where variables would do without', async () => {
    const env = { REGISTRY_STORAGE: 'inmemory' };
    const { problems } = await load('version: 0.1\nservices: {web: {image: x}}\nvolumes: {}\n', env);
    expect(problems).toEqual([
      'config.yml:2:1: no setting of the file is one of a registry, such as storage and http: services is not known. Is it another program’s?',
    ]);
    expect((await load('version: 0.1\n', env)).problems).toEqual([]);
  });
});
