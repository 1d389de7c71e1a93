/** What `http.tls` and `http.trustedproxies` may say. */
import { describe, expect, test } from 'bun:test';
import { resolve } from 'node:path';
import { load, loaded, minimal } from './config-file.ts';

const withPair = (more: string) => minimal(`http: {tls: {certificate: c, key: k, ${more}}}`);

describe('certificates', () => {
  test('the first of the list is the one for all who ask for no other', async () => {
    const { http } = await loaded(
      minimal(
        'http: {tls: {certificates: [{certificate: a, key: b}, {certificate: c, key: d, names: X.test}]}}',
      ),
    );
    expect(http.tls).toMatchObject({
      certificate: resolve('a'),
      key: resolve('b'),
      named: [
        { certificate: resolve('a'), key: resolve('b') },
        { certificate: resolve('c'), key: resolve('d'), names: ['x.test'] },
      ],
    });
  });

  test.each([
    ['certificates: [{certificate: a}]', '53: http.tls.certificates[0].key: is missing'],
    ['certificates: {certificate: a, key: b}', '38: http.tls.certificates: expected a list'],
    ['certificates: [{certificate: a, key: b, names: "*.*.test"}]', 'names[0]: expected a DNS name'],
    ['certificates: [{certificate: a, key: b, names: [127.0.0.1]}]', 'names[0]: expected a DNS name'],
    ['certificates: [{certificate: a, key: b, names: ["a b"]}]', 'names[0]: expected a DNS name'],
  ])('%s', async (more, problem) => {
    const { problems } = await load(withPair(more));
    expect(problems).toEqual([expect.stringContaining(problem)]);
    expect(problems[0]).toStartWith('config.yml:3:');
  });
});

const onDisk = (http: string) =>
  `version: 0.1\nstorage: {filesystem: {rootdirectory: /data}}\nhttp: {${http}}\n`;
const auto = (more: string) => onDisk(`tls: {auto: true, ${more}}`);

describe('what would be less than it seems is refused', () => {
  const needsCas = 'http.tls.clientauth: needs http.tls.clientcas';
  const shared = 'http.addr and http.tls.plainaddr share a port';
  const unknown = 'unknown setting; did you mean';
  test.each([
    [auto('clientauth: require-and-verify-client-cert'), needsCas],
    [withPair('clientauth: require-any-client-cert'), needsCas],
    [onDisk('tls: {letsencrypt: {hosts: a.example.com}, clientauth: require-any-client-cert}'), needsCas],
    [onDisk('tls: {clientauth: require-any-client-cert}'), 'http.tls.clientauth: needs http.tls.certificate'],
    [onDisk('tls: {auot: true}'), `http.tls.auot: ${unknown} http.tls.auto?`],
    [onDisk('tsl: {auto: true}'), `http.tsl: ${unknown} http.tls?`],
    [onDisk('tls: {letsencrypt: {host: a.example.com}}'), 'http.tls.letsencrypt.host: unknown setting'],
    [withPair('certificates: [{certificate: a, key: b, nmaes: c}]'), 'nmaes: unknown setting'],
    [onDisk('addr: ":5000", tls: {auto: true, plainaddr: ":5000"}'), shared],
    [onDisk('addr: ":5000", tls: {auto: true, plainaddr: "127.0.0.1:5000"}'), shared],
    [onDisk('addr: "127.0.0.1:5000", tls: {auto: true, plainaddr: "0.0.0.0:5000"}'), shared],
    [onDisk('addr: "[::1]:5000", tls: {auto: true, plainaddr: "[0::1]:5000"}'), shared],
    [onDisk('addr: "localhost:5000", tls: {certificate: c, key: k, plainaddr: "127.0.0.1:5000"}'), shared],
    [onDisk('addr: ":80", tls: {letsencrypt: {hosts: a.example.com}}'), shared],
    ...[
      '"https://a.lan"',
      '"a.lan:5000"',
      '256.1.1.1',
      '"[fd00::1]"',
      '"fe80::1%eth0"',
      'a..lan',
      '10.0.0.0/8',
    ].map((name) => [auto(`names: [b.lan, ${name}]`), 'http.tls.names[1]: expected a DNS name'] as const),
    ...['"*.lan"', '"https://lan"', '..lan', '10.0.0.1', '""'].map(
      (name) => [auto(`constraints: [${name}]`), 'http.tls.constraints[0]: expected a domain'] as const,
    ),
  ] as const)('%s', async (file, problem) => {
    const { problems } = await load(file);
    expect(problems).toEqual([expect.stringContaining(problem)]);
    expect(problems[0]).toStartWith('config.yml:3:');
  });

  test('and what is as it seems is not', async () => {
    const { http } = await loaded(
      onDisk(
        'addr: "127.0.0.1:5000", tls: {auto: true, plainaddr: "127.0.0.2:5000", names: ["*.lan", "fd00::1", 10.0.0.1, Reg_1.lan], constraints: [.lan, local]}',
      ),
    );
    expect(http.tls?.localCa).toMatchObject({
      names: ['*.lan', 'fd00::1', '10.0.0.1', 'Reg_1.lan'],
      constraints: ['lan', 'local'],
    });
  });
});

test('plain HTTP sends on to TLS by own files too', async () => {
  const { http } = await loaded(withPair('plainaddr: ":5080"'));
  expect(http.tls?.plainAddr).toEqual({ hostname: '', port: 5080 });
});

test('what has no effect is told', async () => {
  const told = async (file: string) =>
    (await load(file)).warnings.map((line) => line.slice('config.yml:3:'.length));
  expect(await told(withPair('names: [a.lan], constraints: [lan]'))).toEqual([
    expect.stringContaining('http.tls.names: has no effect without http.tls.auto'),
    expect.stringContaining('http.tls.constraints: has no effect without http.tls.auto'),
  ]);
  expect(await told(onDisk('tls: {plainaddr: ":80"}'))).toEqual([
    expect.stringContaining('http.tls.plainaddr: has no effect without a certificate'),
  ]);
});

describe('what is spoken', () => {
  const spoken = async (more: string) => {
    const { config, problems, warnings } = await load(withPair(more));
    const { minimumVersion, ciphers } = config?.http.tls ?? {};
    return { minimumVersion, ciphers, told: [...problems, ...warnings].map((line) => line.slice(11)) };
  };

  test.each([
    ['minimumtls: tls1.2', 'tls1.2', []],
    ['minimumtls: TLS1.3', 'tls1.3', []],
    [
      'minimumtls: tls1.0',
      'tls1.2',
      [
        '3:50: http.tls.minimumtls: TLS 1.0 and 1.1 are broken (RFC 8996) and never spoken: it counts as tls1.2',
      ],
    ],
    [
      'minimumtls: "1.3"',
      undefined,
      ['3:50: http.tls.minimumtls: expected "tls1.0", "tls1.1", "tls1.2" or "tls1.3", found "1.3"'],
    ],
  ] as const)('%s', async (more, minimumVersion, told) => {
    const found = await spoken(more);
    expect(found.minimumVersion).toBe(minimumVersion);
    expect(found.told).toEqual([...told]);
  });

  test('suites have the names of Go', async () => {
    const suites = (...names: readonly string[]) => spoken(`ciphersuites: [${names.join(', ')}]`);
    expect(
      await suites(
        'TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305',
        'tls_rsa_with_aes_256_cbc_sha',
        'TLS_AES_128_GCM_SHA256',
      ),
    ).toEqual({ minimumVersion: 'tls1.2', ciphers: ['ECDHE-RSA-CHACHA20-POLY1305', 'AES256-SHA'], told: [] });
    // As in Go, those of TLS 1.3 cannot be chosen, and without others nothing of TLS 1.2 is left.
    expect(await suites('TLS_AES_128_GCM_SHA256')).toEqual({
      minimumVersion: 'tls1.3',
      ciphers: [],
      told: [],
    });
    expect(await suites('TLS_RSA_WITH_RC4_128_SHA', 'TLS_RSA_WITH_AES_128_CBC_SHA')).toEqual({
      minimumVersion: 'tls1.2',
      ciphers: ['AES128-SHA'],
      told: ['3:52: http.tls.ciphersuites: TLS_RSA_WITH_RC4_128_SHA: never spoken, and left out'],
    });
    expect((await suites('TLS_RSA_WITH_RC4_128_SHA')).told).toContainEqual(
      expect.stringContaining('http.tls.ciphersuites: leaves nothing that could be spoken'),
    );
    const [unknown] = (await suites('TLS_RSA_WITH_AES_128_CBC_SHA', 'AES128-SHA')).told;
    expect(unknown).toStartWith(
      '3:83: http.tls.ciphersuites[1]: "AES128-SHA" is no cipher suite; there are TLS_ECDHE_',
    );
    expect((await spoken('minimumtls: tls1.3, ciphersuites: [TLS_RSA_WITH_AES_128_CBC_SHA]')).told).toEqual([
      expect.stringContaining('has no effect'),
    ]);
  });
});

test.each([
  ['10.0.0.0/33', 1],
  ['fe80::/129', 1],
  ['proxy.example', 1],
  ['10.0.0.0/8/9', 1],
  ['10.0.0.1', 0],
  ['"fd00::/8"', 0],
  ['unix', 0],
])('http.trustedproxies: %s', async (proxy, problems) => {
  const found = await load(minimal(`http: {trustedproxies: [${proxy}]}`));
  expect(found.problems).toHaveLength(problems);
  if (problems > 0)
    expect(found.problems[0]).toContain('http.trustedproxies[0]: expected an address, a block');
});
