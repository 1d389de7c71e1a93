import { expect, test } from 'bun:test';
import { redacted } from '../../src/config/describe.ts';
import { describeConfig, loadConfig } from '../../src/config/load.ts';
import { loaded, minimal } from './config-file.ts';

test('a description is a file that gives the same configuration', async () => {
  const files = [
    minimal(),
    minimal('http: {addr: "[::1]:5", host: https://a, tls: {certificate: c, key: k}, workers: 3, prefix: a}'),
    minimal(
      'http: {tls: {certificates: [{certificate: c, key: k, names: "*.a"}], minimumtls: tls1.3}, trustedproxies: unix}',
      'tags: {maxtags: 3}',
    ),
    minimal(
      'http: {tls: {certificate: c, key: k, ciphersuites: TLS_RSA_WITH_AES_256_CBC_SHA, clientcas: a}}',
    ),
    minimal('http: {debug: {addr: "127.0.0.1:1", prometheus: {enabled: y, path: /m}}}'),
    minimal('http: {debug: {addr: ":1"}}'),
    minimal('http: {net: unix, addr: x.sock, headers: {A: [yes, "1:30", "\'"]}, draintimeout: 1h1ms}'),
    minimal(
      'log: {fields: {a: "yes", b: 5, c: [~, {d: "0123"}], e: "2001-01-01"}, accesslog: {disabled: true}}',
    ),
    minimal(
      'quotas: [{repositories: "{namespace}/*", bytes: 1.5GB}, {repositories: a, max_repositories: 0}]',
    ),
    minimal('validation: {disabled: y, manifests: {urls: {allow: [a]}, indexes: {platforms: none}}}'),
    'version: 0.1\nstorage: {filesystem: {rootdirectory: "/a b: c #d"}, delete: {enabled: y, referenced: y}}\ntags: {maxtags: 7, immutable: [{repositories: a/*, tags: [v*, 1], except: x}], protected: [{tags: latest}]}',
    minimal(
      'scrub: {enabled: y, window: "22:00-4:00", rate: 7, repair: y}',
      'retention: {enabled: n, rules: [{repositories: a, untagged: 1s, delete: b, keep: [{newest: 1, by: push, pushed_within: 90m, pulled_within: 5w}]}]}',
    ),
    'version: 0.1\nstorage: {filesystem: , maintenance: {uploadpurging: {enabled: n, age: 0, interval: 1ms, dryrun: y}, readonly: {enabled: y}}}',
  ];
  for (const yaml of files) {
    const config = await loaded(yaml);
    expect(await loaded(describeConfig(config))).toEqual(config);
  }
  const { config } = await loadConfig({ env: {} });
  expect(await loaded(describeConfig(config))).toEqual(config);
});

test('secrets are hidden', async () => {
  const config = await loaded(
    minimal('http: {secret: hush}', 'log: {fields: {apiToken: hush, a: {password: hush}}}'),
  );
  const text = describeConfig(config);
  expect(text).not.toContain('hush');
  expect(text).toContain('secret: "***"');
});

test('what is secret is known by its name or its look', () => {
  expect(
    redacted({
      auth: { token: { realm: 'r', service: 's' }, htpasswd: { path: '/p' } },
      redis: { username: 'u', password: 5, sentinelpassword: 'x' },
      s3: { accesskey: 'x', secretkey: 'x', encrypt: true, secure: true, keyid: 'visible' },
      azure: { accountkey: 'x', credentials: { secret: 'x', type: 't' } },
      newrelic: { licensekey: 'x' },
      tls: { key: '/path.pem', inline: '-----BEGIN RSA PRIVATE KEY-----\nx' },
      url: 'https://user:pass@example.com/a:b@c',
      tokens: ['a', 'b'],
      secret: '',
    }),
  ).toEqual({
    auth: { token: { realm: 'r', service: 's' }, htpasswd: { path: '/p' } },
    redis: { username: 'u', password: '***', sentinelpassword: '***' },
    s3: { accesskey: '***', secretkey: '***', encrypt: true, secure: true, keyid: 'visible' },
    azure: { accountkey: '***', credentials: { secret: '***', type: 't' } },
    newrelic: { licensekey: '***' },
    tls: { key: '/path.pem', inline: '***' },
    url: 'https://user:***@example.com/a:b@c',
    tokens: ['***', '***'],
    secret: '',
  });
});
