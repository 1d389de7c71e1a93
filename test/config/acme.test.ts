/** `http.tls.letsencrypt`: what `registry:2`'s section means here, and what is refused. */
import { describe, expect, test } from 'bun:test';
import { describeConfig } from '../../src/config/describe.ts';
import { load, loaded, minimal } from './config-file.ts';

const file = (settings: string, tls = '') =>
  `version: 0.1\nstorage: {filesystem: {rootdirectory: /data}}\nhttp: {tls: {letsencrypt: {${settings}}${tls}}}\n`;

test('a file of registry:2 as it is', async () => {
  const { http } = await loaded(
    file('cachefile: /cache, email: a@example.com, hosts: [registry.example.com]'),
  );
  expect(http.tls).toEqual({
    acme: {
      folder: '/cache',
      directoryUrl: 'https://acme-v02.api.letsencrypt.org/directory',
      email: 'a@example.com',
      hosts: ['registry.example.com'],
      challenge: 'http-01',
    },
    plainAddr: { hostname: '', port: 80 },
    certificate: '/cache/certificate.pem',
    key: '/cache/certificate.pem',
    named: [],
    minimumVersion: 'tls1.2',
    ciphers: [],
    clientCas: [],
    clientAuth: 'require-and-verify-client-cert',
  });
});

test('by variables alone, and what is ours', async () => {
  const prefix = 'REGISTRY_HTTP_TLS_LETSENCRYPT';
  const { http } = await loaded('version: 0.1\nstorage: {filesystem: {rootdirectory: /data}}\n', {
    [`${prefix}_HOSTS`]: '[Registry.Example.com, "*.example.com", registry.example.com]',
    [`${prefix}_CHALLENGE`]: 'dns-01',
    [`${prefix}_HOOK`]: '/opt/hook',
    [`${prefix}_DIRECTORYURL`]: 'https://ca.lan:9000/acme/acme/directory',
    [`${prefix}_EAB_KID`]: 'kid-1',
    [`${prefix}_EAB_HMACKEY`]: 'aG1hYy1rZXk',
    [`${prefix}_CA`]: '/ca.pem',
  });
  expect(http.tls).toMatchObject({
    acme: {
      folder: '/data/_entrepot/acme',
      directoryUrl: 'https://ca.lan:9000/acme/acme/directory',
      hosts: ['registry.example.com', '*.example.com'],
      challenge: 'dns-01',
      hook: '/opt/hook',
      eab: { kid: 'kid-1', hmacKey: 'aG1hYy1rZXk' },
      ca: '/ca.pem',
    },
  });
  expect(http.tls?.plainAddr).toBeUndefined();
});

test('it is shown so that it can be read again, without the secret', async () => {
  const config = await loaded(
    file(
      'hosts: [a.example.com], challenge: dns-01, hook: /hook, eab: {kid: kid-1, hmackey: aHVzaC1odXNo}',
      ', plainaddr: "127.0.0.1:80"',
    ),
  );
  const shown = describeConfig(config);
  expect(shown).not.toContain('aHVzaC1odXNo');
  expect(shown).toContain('kid: kid-1');
  expect(await loaded(shown.replace('hmackey: "***"', 'hmackey: aHVzaC1odXNo'))).toEqual(config);
});

describe('refused', () => {
  const lines: readonly (readonly [settings: string, tls: string, problem: string])[] = [
    ['email: a@b.example', '', 'http.tls.letsencrypt.hosts: is missing: '],
    ['hosts: [https://a.example.com]', '', 'http.tls.letsencrypt.hosts[0]: expected the name of a host'],
    ['hosts: [a.example.com, 10.0]', '', 'http.tls.letsencrypt.hosts[1]: expected the name of a host'],
    ['hosts: [../../etc]', '', 'http.tls.letsencrypt.hosts[0]: expected the name of a host'],
    ['hosts: ["*.example.com"]', '', 'http.tls.letsencrypt.hosts[0]: *.example.com can be asked for with'],
    ['hosts: [registry.lan]', '', "http.tls.letsencrypt.hosts[0]: Let's Encrypt signs for public names only"],
    ['hosts: [a.example.com]', ', auto: true', 'http.tls.auto: is another way to a certificate'],
    ['hosts: [a.example.com]', ', certificate: c', 'http.tls.certificate: comes from http.tls.letsencrypt'],
    ['hosts: [a.example.com]', ', key: k', 'http.tls.key: comes from http.tls.letsencrypt'],
    ['hosts: [a.example.com], challenge: dns-01', '', 'http.tls.letsencrypt.hook: is missing'],
    ['hosts: [a.example.com], hook: h', '', 'http.tls.letsencrypt.hook: is for "challenge: dns-01" only'],
    ['hosts: [a.example.com], directoryurl: "http://a.b"', '', 'http.tls.letsencrypt.directoryurl: expected'],
    ['hosts: [a.example.com], email: nobody', '', 'http.tls.letsencrypt.email: expected an address'],
    [
      'hosts: [192.0.2.1]',
      '',
      'http.tls.letsencrypt.hosts[0]: 192.0.2.1 is an address, and certificates are asked for names only',
    ],
    ['hosts: [a.example.com, "2001:db8::1"]', '', 'http.tls.letsencrypt.hosts[1]: 2001:db8::1 is an address'],
    ['hosts: [a.example.com]', ', plainaddr: nowhere', 'http.tls.plainaddr: expected host:port'],
    ['hosts: [a.example.com], eab: {kid: k}', '', 'http.tls.letsencrypt.eab.hmackey: is missing'],
  ];
  test.each(lines)('%s%s', async (settings, tls, problem) => {
    const { problems } = await load(file(settings, tls));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(/^config\.yml:3:\d+: /);
    expect(problems[0]).toContain(`: ${problem}`);
  });

  test('a secret that is wrong is not told', async () => {
    const { problems } = await load(file('hosts: [a.example.com], eab: {kid: k, hmackey: "hush hush"}'));
    expect(problems).toHaveLength(1);
    expect(problems[0]).not.toContain('hush');
  });

  test('no folder to keep it in', async () => {
    const { problems } = await load(minimal('http: {tls: {letsencrypt: {hosts: [a.example.com]}}}'));
    expect(problems).toEqual([expect.stringContaining('http.tls.letsencrypt.cachefile: is needed')]);
  });
});
