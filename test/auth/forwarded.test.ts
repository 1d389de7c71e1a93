/** Who the client is behind proxies. Security 41: what a stranger says of itself counts for nothing. */
import { afterAll, describe, expect, test } from 'bun:test';
import { TrustedProxies } from '../../src/auth/forwarded.ts';
import { RegistryError } from '../../src/oci/errors.ts';
import { run } from '../harness/tools.ts';
import { createWorkspace } from '../harness/workspace.ts';
import { basic, HASH, startRegistry, type TestRegistry } from './registry.ts';

const PROXIES = ['10.0.0.0/8', '2001:db8::/32', 'unix'];

function origin(headers: Record<string, string>, remoteAddress = '10.0.0.1', proxies = PROXIES) {
  const request = new Request('http://h/', { headers });
  return new TrustedProxies(proxies).originOf(request, { remoteAddress, encrypted: false });
}

const client = (headers: Record<string, string>, remoteAddress?: string) =>
  origin(headers, remoteAddress)?.remoteAddress;

describe('the client', () => {
  test.each<[what: string, headers: Record<string, string>, address: string]>([
    ['of one proxy', { 'x-forwarded-for': '192.0.2.7' }, '192.0.2.7'],
    ['by RFC 7239', { forwarded: 'for=192.0.2.7' }, '192.0.2.7'],
    ['with a port', { 'x-forwarded-for': '192.0.2.7:4711' }, '192.0.2.7'],
    ['of IPv6', { 'x-forwarded-for': '2001:dba::7' }, '2001:dba::7'],
    ['of IPv6 in brackets', { 'x-forwarded-for': '[2001:dba::7]:80' }, '2001:dba::7'],
    ['of IPv6 by RFC 7239', { forwarded: 'For="[2001:dba::7]:80";proto=http;by=10.0.0.1' }, '2001:dba::7'],
    ['of IPv4 in IPv6', { 'x-forwarded-for': '::ffff:192.0.2.7' }, '192.0.2.7'],
    [
      'behind several proxies of ours',
      { 'x-forwarded-for': '192.0.2.7, 10.9.9.9, 2001:db8::1' },
      '192.0.2.7',
    ],
    [
      'and nothing that it has made up',
      { 'x-forwarded-for': '6.6.6.6, 10.6.6.6, 192.0.2.7, 10.2.2.2' },
      '192.0.2.7',
    ],
    [
      'and nothing that it has made up, by RFC 7239',
      { forwarded: 'for=6.6.6.6;proto=https;host="evil, for=7.7.7.7", for=192.0.2.7 , for="10.2.2.2:80"' },
      '192.0.2.7',
    ],
    ['that is one of ours itself', { 'x-forwarded-for': '10.1.1.1, 10.2.2.2' }, '10.1.1.1'],
    // Never that of the proxy, which may be allowed more.
    ['that is hidden', { 'x-forwarded-for': '6.6.6.6, unknown' }, ''],
    ['that is hidden, by RFC 7239', { forwarded: 'for=6.6.6.6, for=_secret, for=10.2.2.2' }, ''],
    ['of a unix socket', { 'x-forwarded-for': 'unix:' }, ''],
    ['that is no address', { 'x-forwarded-for': '192.0.2.7, 300.1.1.1' }, ''],
    ['of which only the scheme is told', { 'x-forwarded-proto': 'https' }, '10.0.0.1'],
    ['that both headers name', { 'x-forwarded-for': '192.0.2.7', forwarded: 'for=192.0.2.7' }, '192.0.2.7'],
  ])('%s', (_what, headers, address) => {
    expect(client(headers)).toBe(address);
    // Nobody else is believed.
    for (const stranger of ['192.0.2.1', '11.0.0.1', '2001:dba::1', '::1']) {
      expect(origin(headers, stranger)).toBeUndefined();
    }
  });

  test('nobody is believed unless named, nor who says nothing', () => {
    const said = { 'x-forwarded-for': '6.6.6.6', forwarded: 'for=6.6.6.6' };
    for (const peer of ['127.0.0.1', '10.0.0.1', '::1', '']) expect(origin(said, peer, [])).toBeUndefined();
    expect(origin({}, '10.0.0.1')).toBeUndefined();
    expect(client({ 'x-forwarded-for': '192.0.2.7' }, '')).toBe('192.0.2.7');
    expect(origin({ 'x-forwarded-for': '192.0.2.7' }, '', ['10.0.0.0/8'])).toBeUndefined();
  });

  test.each<[what: string, headers: Record<string, string>]>([
    [
      'a client writes the header that the proxy does not set',
      { 'x-forwarded-for': '192.0.2.7', forwarded: 'for=6.6.6.6' },
    ],
    ['the same, with no address', { 'x-forwarded-for': '192.0.2.7', forwarded: 'proto=https;host=evil' }],
    ['the same, the other way round', { forwarded: 'for=192.0.2.7', 'x-forwarded-host': 'evil' }],
    ['a client leaves a quote open', { forwarded: 'for="6.6.6.6, for=192.0.2.7' }],
    ['a client writes nonsense', { forwarded: 'for, for=192.0.2.7' }],
  ])('is not guessed at: %s', (_what, headers) => {
    let thrown: unknown;
    try {
      origin(headers);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(RegistryError);
    expect(thrown).toMatchObject({ status: 400 });
  });
});

test('scheme and host are those that the outermost proxy of ours was asked by', () => {
  const two = { 'x-forwarded-for': '6.6.6.6, 192.0.2.7, 10.2.2.2' };
  const of = (headers: Record<string, string>) => {
    const { encrypted, host } = origin({ ...two, ...headers }) ?? {};
    return [encrypted, host];
  };
  expect(of({})).toEqual([false, undefined]);
  expect(of({ 'x-forwarded-proto': 'HTTPS', 'x-forwarded-host': 'A.example:5000' })).toEqual([
    true,
    'a.example:5000',
  ]);
  expect(of({ 'x-forwarded-proto': 'gopher, https, http', 'x-forwarded-host': 'evil, a, b' })).toEqual([
    true,
    'a',
  ]);
  const { encrypted, host } =
    origin({
      forwarded:
        'for=6.6.6.6;host=evil;proto=http, for=192.0.2.7;host="a:1";proto=https, for=10.2.2.2;host=b',
    }) ?? {};
  expect([encrypted, host]).toEqual([true, 'a:1']);
});

describe('a registry behind a proxy', () => {
  const registries: TestRegistry[] = [];
  const begin = async (...lines: readonly string[]): Promise<TestRegistry> => {
    const registry = await startRegistry(`users: {alice: "${HASH}"}`, ...lines);
    registries.push(registry);
    return registry;
  };
  afterAll(() => {
    for (const { app } of registries) app.stop();
  });
  const proxy = { remoteAddress: '10.0.0.1' };
  const said = {
    'x-forwarded-for': '192.0.2.7',
    'x-forwarded-proto': 'https',
    'x-forwarded-host': 'front.example',
  };
  const realm = (answer: Response) =>
    /realm="([^"]*)"/.exec(answer.headers.get('www-authenticate') ?? '')?.[1];

  test('the token service is where the client can reach it', async () => {
    const registry = await begin('http: {trustedproxies: 10.0.0.1}');
    expect(realm(await registry.send('/v2/', { headers: said }, proxy))).toBe(
      'https://front.example/v2/token',
    );
    expect(realm(await registry.send('/v2/', { headers: said }))).toBe('http://registry.test/v2/token');
    expect(registry.lines.filter((line) => line.startsWith('192.0.2.1 says for whom'))).toHaveLength(1);
    await registry.send('/v2/', { headers: said });
    expect(registry.lines.filter((line) => line.includes('says for whom'))).toHaveLength(1);
    const evil = { ...said, 'x-forwarded-host': 'a"b' };
    expect((await registry.send('/v2/', { headers: evil }, proxy)).status).toBe(400);
    const forged = { ...said, forwarded: 'for=6.6.6.6' };
    const refused = await registry.send('/v2/', { headers: forged }, proxy);
    expect([refused.status, await refused.text()]).toEqual([
      400,
      expect.stringContaining('name different clients'),
    ]);
  });

  test('rights and the audit log go by the client', async () => {
    const rule =
      'acl: [{anonymous: true, ip: 192.0.2.0/24, name: "**", actions: [pull, push]}, {account: alice, name: "**", actions: [pull, push]}]';
    const registry = await begin(rule, 'http: {trustedproxies: 10.0.0.1}');
    const start = (headers: Record<string, string>, from = proxy.remoteAddress) =>
      registry.send('/v2/a/blobs/uploads/', { method: 'POST', headers }, { remoteAddress: from });
    expect((await start(said)).status).toBe(202);
    expect((await start({})).status).toBe(401);
    expect((await start({ 'x-forwarded-for': '6.6.6.6' })).status).toBe(401);
    // Neither its own word, nor what stands before the proxy's.
    expect((await start(said, '6.6.6.6')).status).toBe(401);
    expect((await start({ 'x-forwarded-for': '192.0.2.7, 6.6.6.6' })).status).toBe(401);
    expect((await start({ 'x-forwarded-for': '192.0.2.7', forwarded: 'for=6.6.6.6' })).status).toBe(400);
    const authorization = basic('alice', 'wrong');
    await start({ ...said, authorization });
    expect(registry.lines.find((line) => line.includes('"login"'))).toContain('"remoteAddress":"192.0.2.7"');
  });

  test('who guesses passwords is held back, and nobody else behind the proxy', async () => {
    const registry = await begin('http: {trustedproxies: 10.0.0.1}');
    const log = (address: string, password: string) =>
      registry.send(
        '/v2/',
        { headers: { 'x-forwarded-for': address, authorization: basic('alice', password) } },
        proxy,
      );
    let status = 401;
    for (let count = 0; count < 100 && status === 401; count += 1)
      ({ status } = await log('192.0.2.66', `wrong ${count}`));
    expect(status).toBe(429);
    expect((await log('192.0.2.7', 'pass word:with colon')).status).toBe(200);
  });

  test('a certificate that the proxy shows is not the client’s', async () => {
    const workspace = await createWorkspace('forwarded');
    const [pem, key] = [workspace.join('a.pem'), workspace.join('a.key')];
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=a'];
    await run('openssl', ['req', '-x509', ...kind, '-keyout', key, '-out', pem]);
    const registry = await begin(
      `http: {trustedproxies: 10.0.0.1, tls: {certificate: ${pem}, key: ${key}, clientcas: ${pem}}}`,
      'auth: {certificates: [{subject: proxy, account: alice}]}',
    );
    await workspace.remove();
    const certificate = {
      commonName: 'proxy',
      organizationalUnits: [],
      alternativeNames: [],
      fingerprint: 'ab',
    };
    const by = { ...proxy, encrypted: true, certificate };
    expect((await registry.send('/v2/', {}, by)).status).toBe(200);
    expect((await registry.send('/v2/', { headers: said }, by)).status).toBe(401);
  });
});
