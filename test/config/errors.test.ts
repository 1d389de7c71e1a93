import { describe, expect, test } from 'bun:test';
import { load, minimal } from './config-file.ts';

/** Each of these lines stands on line 3 of a file that is right otherwise. */
const WRONG: readonly (readonly [line: string, problem: string])[] = [
  ...['1-5', '01:00', '25:00-26:00', '01:60-02:00', '24:00-01:00', '05:00-05:00'].map(
    (window) =>
      [
        `garbage_collector: {window: "${window}"}`,
        `3:29: garbage_collector.window: expected a time of day such as "01:00-05:00", found "${window}"`,
      ] as const,
  ),
  [
    'garbage_collector: {rate: -1}',
    '3:27: garbage_collector.rate: expected a whole number of at least 0 and at most 10000000, found -1',
  ],
  [
    'scrub: {rate: fast}',
    '3:15: scrub.rate: expected bytes in a second such as "50MB"; 0 for no limit, found "fast"',
  ],
  [
    'retention: {rules: [{repositories: "ci/(a|b)"}]}',
    '3:22: retention.rules[0].repositories[0]: expected a pattern of repositories such as "ci/*", in which only * is special, found "ci/(a|b)"',
  ],
  [
    'retention: {rules: [{repositories: a, keep: [{tags: "v[0-9]"}]}]}',
    '3:47: retention.rules[0].keep[0].tags[0]: expected a pattern of tags such as "v*", in which only * is special, found "v[0-9]"',
  ],
  [
    'retention: {rules: [{repositories: a, keep: [{pushed_within: 14 days}]}]}',
    '3:62: retention.rules[0].keep[0].pushed_within: expected a time such as "14d" or "36h", found "14 days"',
  ],
  [
    'retention: {rules: [{repositories: a, keep: [{except: }]}]}',
    '3:46: retention.rules[0].keep[0]: says nothing: name "tags", "newest", "pushed_within" or "pulled_within"',
  ],
  [
    'retention: {rules: [{repositories: a, keep: [{tags: a, by: push}]}]}',
    '3:60: retention.rules[0].keep[0].by: needs "newest"',
  ],
  [
    'retention: {rules: [{repositories: [], keep: [{tags: a}]}]}',
    '3:36: retention.rules[0].repositories: the list is empty: name one at least, or leave it out with what it belongs to',
  ],
  [
    'retention: {rules: [{repositories: a, keep: [{tags: [], newest: 1}]}]}',
    '3:53: retention.rules[0].keep[0].tags: the list is empty: name one at least, or leave it out with what it belongs to',
  ],
  [
    'tags: {immutable: [{tags: []}]}',
    '3:27: tags.immutable[0].tags: the list is empty: name one at least, or leave it out with what it belongs to',
  ],
  [
    'tags: {protected: [{repositories: [], tags: a}]}',
    '3:35: tags.protected[0].repositories: the list is empty: name one at least, or leave it out with what it belongs to',
  ],
  [
    'acl: [{account: a, name: b, actions: []}]',
    '3:38: acl[0].actions: the list is empty: name one at least, or leave it out with what it belongs to',
  ],
  [
    'acl: [{account: a, name: b, ip: []}]',
    '3:33: acl[0].ip: the list is empty: name one at least, or leave it out with what it belongs to',
  ],
  [
    'proxy: {upstreams: [{name: a, url: "https://a.example", allow: []}]}',
    '3:64: proxy.upstreams[0].allow: the list is empty: name one at least, or leave it out with what it belongs to',
  ],
  [
    'acl: [{account: a, name: b, ip: }]',
    '3:29: acl[0].ip: the list is empty: name one at least, or leave it out with what it belongs to',
  ],
  [
    'retention: {rules: [{repositories: a, delete: , keep: [{newest: 1}]}]}',
    '3:39: retention.rules[0].delete: the list is empty: name one at least, or leave it out with what it belongs to',
  ],
  [
    'retention: {rules: [{repositories: a, keep: [{tags: , newest: 1}]}]}',
    '3:47: retention.rules[0].keep[0].tags: the list is empty: name one at least, or leave it out with what it belongs to',
  ],
  [
    'proxy: {upstreams: [{name: a, url: "https://a.example", allow: }]}',
    '3:57: proxy.upstreams[0].allow: the list is empty: name one at least, or leave it out with what it belongs to',
  ],
  [
    'tags: {protected: [{repositories: , tags: a}]}',
    '3:21: tags.protected[0].repositories: the list is empty: name one at least, or leave it out with what it belongs to',
  ],
  ['acl:', '3:1: acl: expected a list of rules; an empty one, [], refuses what "access" does not allow'],
  [
    'proxy: {upstreams: [{name: a, url: "https://a.example", alow: [b]}]}',
    '3:57: proxy.upstreams[0].alow: unknown setting; did you mean proxy.upstreams[0].allow?',
  ],
  ['retention: {rules: [{keep: []}]}', '3:21: retention.rules[0].repositories: is missing'],
  ['http: {addr: [x]}', '3:14: http.addr: expected a string such as ":5000", found a list'],
  ['http: {addr: {a: b}}', '3:8: http.addr: expected a string such as ":5000", found a map'],
  ['http: {addr: 5000}', '3:14: http.addr: expected host:port such as ":5000", found "5000"'],
  ['http: {addr: ":65536"}', '3:14: http.addr: expected host:port such as ":5000", found ":65536"'],
  [
    'http: {addr: /run/x}',
    '3:14: http.addr: expected host:port such as ":5000", found "/run/x"; write "net: unix" to listen on a socket',
  ],
  ['http: {net: unix}', '3:1: http.addr: expected the path of the socket, because http.net is unix'],
  ['http: {net: tcp4}', '3:13: http.net: expected "tcp" or "unix", found "tcp4"'],
  ['http: [a]', '3:7: http: expected a section of settings, found a list'],
  ['http: some', '3:7: http: expected a section of settings, found "some"'],
  ['http: {tls: pass}', '3:13: http.tls: expected a section of settings, found a single value'],
  ['http: {tls: {key: k}}', '3:8: http.tls.certificate: is missing, and http.tls.key needs it'],
  ['http: {tls: {certificate: c}}', '3:8: http.tls.key: is missing, and http.tls.certificate needs it'],
  ['http: {secret: [hush]}', '3:16: http.secret: expected a string, found a list'],
  ['http: {relativeurls: maybe}', '3:22: http.relativeurls: expected true or false, found "maybe"'],
  ['http: {relativeurls: 1}', '3:22: http.relativeurls: expected true or false, found 1'],
  ['http: {prefix: "a b"}', '3:16: http.prefix: expected a path such as "/registry/", found "a b"'],
  [
    'http: {workers: 0}',
    '3:17: http.workers: expected a whole number of at least 1 and at most 1024, found 0',
  ],
  [
    'http: {workers: 1.5}',
    '3:17: http.workers: expected a whole number of at least 1 and at most 1024, found 1.5',
  ],
  [
    'http: {draintimeout: 5 s}',
    '3:22: http.draintimeout: expected a duration such as "30s" or "1h30m", found "5 s"',
  ],
  [
    'http: {draintimeout: -1s}',
    '3:22: http.draintimeout: expected a duration such as "30s" or "1h30m", found "-1s"',
  ],
  [
    'http: {draintimeout: 1:30}',
    '3:22: http.draintimeout: expected a duration such as "30s" or "1h30m", found 1:30',
  ],
  ['http: {headers: [a]}', '3:17: http.headers: expected a section of settings, found a list'],
  ['http: {headers: {"a b": [c]}}', '3:25: http.headers.a b: expected the name of an HTTP header'],
  [
    'http: {headers: {a: [b, "c\\nd"]}}',
    '3:25: http.headers.a[1]: expected a value that an HTTP header can have, found "c\uFFFDd"',
  ],
  [
    'http: {headers: {a: [b, {c: d}]}}',
    '3:25: http.headers.a[1]: expected a value that an HTTP header can have, found a map',
  ],
  ['log: {level: loud}', '3:14: log.level: expected "error", "warn", "info" or "debug", found "loud"'],
  ['log: {formatter: xml}', '3:18: log.formatter: expected "text", "json" or "logstash", found "xml"'],
  ['log: {fields: [a]}', '3:15: log.fields: expected a section of settings, found a list'],
  ['quotas: {repositories: a}', '3:1: quotas: expected a list, found a section of settings'],
  ['quotas: [{repositories: "a/*"}]', '3:10: quotas[0]: limits nothing: add "bytes" or "max_repositories"'],
  ['quotas: [{bytes: 1}]', '3:10: quotas[0].repositories: is missing'],
  [
    'quotas: [{repositories: "a{namespace}", bytes: 1}]',
    '3:25: quotas[0].repositories: expected a pattern of repositories such as "team/*" or "{namespace}/*", found "a{namespace}"',
  ],
  [
    'quotas: [{repositories: "{namespace}a", bytes: 1}]',
    '3:25: quotas[0].repositories: expected a pattern of repositories such as "team/*" or "{namespace}/*", found "{namespace}a"',
  ],
  [
    'quotas: [{repositories: a, bytes: 20 apples}]',
    '3:35: quotas[0].bytes: expected a size such as "20GB" or "500MiB", found "20 apples"',
  ],
  [
    'quotas: [{repositories: a, max_repositories: -1}]',
    '3:46: quotas[0].max_repositories: expected a whole number of at least 0, found -1',
  ],
  ['catalog: {maxentries: many}', '3:23: catalog.maxentries: expected a whole number, found "many"'],
  [
    'validation: {manifests: {urls: {allow: ["("]}}}',
    '3:41: validation.manifests.urls.allow[0]: expected a regular expression, found "("',
  ],
  [
    'validation: {manifests: {indexes: {platformlist: [{os: linux}]}}}',
    '3:51: validation.manifests.indexes.platformlist[0].architecture: is missing',
  ],
  [
    'validation: {manifests: {indexes: {platformlist: [amd64]}}}',
    '3:51: validation.manifests.indexes.platformlist[0]: expected a section of settings, found a single value',
  ],
  [
    'garbage_collector: {enbled: true}',
    '3:21: garbage_collector.enbled: unknown setting; did you mean garbage_collector.enabled?',
  ],
  ['retention: {rule: []}', '3:13: retention.rule: unknown setting; did you mean retention.rules?'],
  [
    'retention: {rules: [{repositories: a, keep: [{tags: a, newst: 1}]}]}',
    '3:56: retention.rules[0].keep[0].newst: unknown setting; did you mean retention.rules[0].keep[0].newest?',
  ],
  [
    'retention: {rules: [{repositories: a, untaged: 1d}]}',
    '3:39: retention.rules[0].untaged: unknown setting; did you mean retention.rules[0].untagged?',
  ],
  [
    'quotas: [{repositories: a, byte: 1GB, bytes: 1GB}]',
    '3:28: quotas[0].byte: unknown setting; did you mean quotas[0].bytes?',
  ],
  ['scrub: {repare: true}', '3:9: scrub.repare: unknown setting; did you mean scrub.repair?'],
  ['tags: {imutable: [{tags: v*}]}', '3:8: tags.imutable: unknown setting; did you mean tags.immutable?'],
  [
    'tags: {immutable: [{tags: v*, repository: a}]}',
    '3:31: tags.immutable[0].repository: unknown setting; did you mean tags.immutable[0].repositories?',
  ],
  ['tags: {protected: [{repositories: a}]}', '3:20: tags.protected[0].tags: is missing'],
  [
    'tags: {protected: [{tags: "v[0-9]"}]}',
    '3:21: tags.protected[0].tags[0]: expected a pattern of tags such as "v*", in which only * is special, found "v[0-9]"',
  ],
  [
    'tags: {immutable: [{repositories: ^prod, tags: "*"}]}',
    '3:21: tags.immutable[0].repositories[0]: expected a pattern of repositories such as "prod/*", in which only * is special, found "^prod"',
  ],
  [
    'validation: {manifests: {indexes: {platformlist: {os: linux}}}}',
    '3:36: validation.manifests.indexes.platformlist: expected a list, found a section of settings',
  ],
];

describe('a wrong setting is told with its place', () => {
  test.each(WRONG)('%s', async (line, problem) => {
    expect((await load(minimal(line))).problems).toEqual([`config.yml:${problem}`]);
  });
});

const WHOLE: readonly (readonly [yaml: string, problems: readonly string[]])[] = [
  ['', ['1:1: version: is missing; begin the file with "version: 0.1"', '1:1: storage: NO DRIVER']],
  ['storage: inmemory', ['1:1: version: is missing; begin the file with "version: 0.1"']],
  ['version: 0.2\nstorage: inmemory', ['1:10: version: expected the version 0.1, found 0.2']],
  ['version: 0.1', ['1:1: storage: NO DRIVER']],
  ['version: 0.1\nstorage:\n  delete: {enabled: true}', ['2:1: storage: NO DRIVER']],
  [
    'version: 0.1\nstorage:\n  filesystem:\n  inmemory:',
    ['2:1: storage: expected exactly one storage driver, found filesystem and inmemory'],
  ],
  ['version: 0.1\nstorage: [inmemory]', ['2:10: storage: expected a section of settings, found a list']],
  [
    'version: 0.1\nstorage:\n  filesystem: /data',
    ['3:15: storage.filesystem: expected a section of settings, found a single value'],
  ],
  [
    'version: 0.1\nstorage:\n  filesystem: {rootdirectory: [a]}',
    ['3:31: storage.filesystem.rootdirectory: expected a path, found a list'],
  ],
  [
    'version: 0.1\nstorage:\n  inmemory:\n  maintenance: {uploadpurging: {interval: 0}}',
    [
      '4:43: storage.maintenance.uploadpurging.interval: ' +
        'expected a duration above 0 such as "1h30m" or "7d", found 0',
    ],
  ],
  ['- a', ['1:1: expected settings such as "version: 0.1"']],
  ['just words', ['1:1: expected settings such as "version: 0.1"']],
  ['version: 0.1\nhttp:\n\taddr: x', ['3:1: not valid YAML: Tabs are not allowed as indentation']],
  ['version: 0.1\nhttp: *unknown', ['2:7: unknown alias *unknown']],
  ['version: 0.1\nhttp: &a {tls: *a}', ['2:10: nested too deeply; does an alias contain itself?']],
  ['? [a]\n: b', ['1:3: a key must be text']],
  ['[', ['1:2: not valid YAML: Flow sequence must end with a ]']],
];

const NO_DRIVER = 'no storage driver is named; add "filesystem:" with a "rootdirectory:", or "inmemory:"';

describe('a file that cannot be used', () => {
  test.each(WHOLE)('%j', async (yaml, problems) => {
    const expected = problems.map((problem) => `config.yml:${problem.replace('NO DRIVER', NO_DRIVER)}`);
    expect((await load(yaml)).problems).toEqual(expected);
  });

  test('what would do something else than is meant is warned of', async () => {
    const yaml = minimal(
      'quotas: [{repositories: a, bytes: 50}, {repositories: b, bytes: 5GB}]\n' +
        'scrub: {rate: 50}\nretention: {rules: [{repositories: a, untagged: 1d}]}',
    );
    const { problems, warnings } = await load(yaml);
    expect(problems).toEqual([]);
    expect(warnings).toEqual([
      expect.stringMatching(/^config.yml:3:\d+: quotas\[0\].bytes: has no unit, so it counts bytes/),
      expect.stringMatching(/^config.yml:4:\d+: scrub.rate: has no unit/),
      expect.stringMatching(/^config.yml:5:\d+: retention.rules\[0\].untagged: the garbage collector does/),
    ]);
    const enabled = await load(`${yaml}\ngarbage_collector: {enabled: true}`);
    expect(enabled.warnings).toHaveLength(2);
  });

  test('everything that is wrong is told at once, in the order of the file', async () => {
    const { problems, warnings } = await load(`version: 0.1
http:
  addr: [1]
  workers: none
  colour: red
  tls:
    key: k
storage:
  filesystem:
  s3: {bucket: b}
log: {level: x}
`);
    expect(problems).toEqual([
      'config.yml:3:9: http.addr: expected a string such as ":5000", found a list',
      'config.yml:4:12: http.workers: expected a whole number of at least 1 and at most 1024, found "none"',
      'config.yml:6:3: http.tls.certificate: is missing, and http.tls.key needs it',
      'config.yml:10:3: storage.s3: is not supported yet: use the filesystem driver, or stay with your present ' +
        'registry until this one can open that storage',
      'config.yml:11:14: log.level: expected "error", "warn", "info" or "debug", found "x"',
    ]);
    expect(warnings).toEqual(['config.yml:5:3: http.colour: unknown setting, it has no effect']);
  });

  test('YAML errors do not quote the text, which may be a secret', async () => {
    const { problems } = await load('version: 0.1\nhttp:\n  secret: "hush" hush2\n  x: }hush3\n');
    expect(problems.length).toBeGreaterThan(0);
    expect(problems.join('\n')).not.toContain('hush');
  });

  test('aliases of aliases are stopped', async () => {
    const levels = Array.from({ length: 20 }, (_, i) => `l${i + 1}: &l${i + 1} [${`*l${i}, `.repeat(9)}]`);
    const { problems } = await load(['version: 0.1', 'l0: &l0 [x]', ...levels].join('\n'));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toEndWith('too many values; are aliases nested in aliases?');
  });

  test('brackets without end are stopped', async () => {
    const { problems } = await load(`version: 0.1\na: ${'['.repeat(100_000)}`);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(/^config\.yml:\d+:\d+: not valid YAML: nested too deeply$/);
  });
});
