/** Names, rights and manners: whose repository a name is, who may have it, and how upstreams are asked. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { basic, HASH, startRegistry, type TestRegistry } from '../auth/registry.ts';
import { proxyFor } from '../../src/proxy/http-proxy.ts';
import { isPublicAddress } from '../../src/proxy/public-address.ts';
import { imageOf } from './cache.ts';
import { sha256, startUpstream, type UpstreamServer } from './upstream-server.ts';
import { eventually } from '../harness/waiting.ts';

let upstream: UpstreamServer;
beforeEach(async () => {
  upstream = await startUpstream();
});
afterEach(async () => {
  await upstream.stop();
});

function proxy(settings: string, more = ''): string {
  return `proxy: {upstreams: [{name: lab, url: "${upstream.url}", timeout: 2s, ${settings}}]${more}}`;
}

function publish(tag: string, seed = tag): string {
  const text = imageOf(upstream.blob(Buffer.from(`{"seed":"${seed}"}`)));
  upstream.manifest(text, tag);
  return text;
}

async function status(registry: TestRegistry, path: string, init: RequestInit = {}): Promise<number> {
  const answer = await registry.send(path, init);
  await answer.arrayBuffer().catch(() => undefined);
  return answer.status;
}

function answer(response: ServerResponse, code: number, headers: Record<string, string> = {}): true {
  response.writeHead(code, headers).end();
  return true;
}

describe('names', () => {
  test('an upstream is found by its path, by its short name, and by its host, as one repository', async () => {
    const registry = await startRegistry(
      proxy('tagttl: 1h'),
      `users: {alice: "${HASH}"}`,
      'acl: [{account: alice, name: proxy/lab/team/*, actions: pull}]',
    );
    publish('v1');
    const { host } = new URL(upstream.url);
    const headers = { authorization: basic('alice') };
    const asked = [
      '/v2/proxy/lab/team/app/manifests/v1',
      '/v2/lab/team/app/manifests/v1',
      '/v2/team/app/manifests/v1?ns=lab',
      `/v2/team/app/manifests/v1?ns=${host}`,
    ];
    for (const path of asked) {
      expect([path, await status(registry, path, { headers })]).toEqual([path, 200]);
      expect([path, await status(registry, path)]).toEqual([path, 401]);
    }
    expect(upstream.asked.length).toBe(2);
    // A token for one of its names is one for all of them.
    for (const name of ['lab/team/app', 'proxy/lab/team/app']) {
      const ask = await registry.send(`/v2/token?scope=repository:${name}:pull`, { headers });
      const { token } = (await ask.json()) as { token: string };
      const init = { headers: { authorization: `Bearer ${token}` } };
      expect(await status(registry, asked[1] ?? '', init)).toBe(200);
      expect(await status(registry, asked[0] ?? '', init)).toBe(200);
      expect(await status(registry, '/v2/lab/other/app/manifests/v1', init)).toBe(401);
    }
  });

  test('what one may not pull is not served, though another has warmed it (isolation)', async () => {
    const registry = await startRegistry(
      proxy('tagttl: 1h'),
      `users: {alice: "${HASH}", bob: "${HASH}"}`,
      'acl: [{account: alice, name: proxy/lab/*, actions: pull}, {account: bob, name: bob/*, actions: "*"}]',
    );
    const text = publish('v1');
    const config = sha256('{"seed":"v1"}');
    const ask = (account: string, path: string, init: RequestInit = {}) =>
      status(registry, path, { ...init, headers: { authorization: basic(account) } });
    expect(await ask('alice', '/v2/lab/team/app/manifests/v1')).toBe(200);
    expect(await ask('alice', `/v2/lab/team/app/blobs/${config}`)).toBe(200);
    for (const path of [
      '/v2/lab/team/app/manifests/v1',
      `/v2/lab/team/app/manifests/${sha256(text)}`,
      `/v2/proxy/lab/team/app/blobs/${config}`,
      `/v2/team/app/blobs/${config}?ns=lab`,
      '/v2/lab/team/app/tags/list',
      `/v2/lab/team/app/referrers/${sha256(text)}`,
      '/v2/lab/team/app/_cache/v1',
    ]) {
      expect([path, await ask('bob', path)]).toEqual([path, 403]);
    }
    // Nor by the way of his own repository: not by knowing a digest, and not by a mount.
    expect(await ask('bob', `/v2/bob/app/blobs/${config}`)).toBe(404);
    const mount = `/v2/bob/app/blobs/uploads/?mount=${config}&from=proxy/lab/team/app`;
    expect(await ask('bob', mount, { method: 'POST' })).toBe(202);
    expect(await ask('bob', `/v2/bob/app/blobs/uploads/?mount=${config}`, { method: 'POST' })).toBe(202);
  });

  test('an upstream’s repositories can be allowed and denied by patterns', async () => {
    const registry = await startRegistry(proxy('allow: ["team/*", "lib/*"], deny: "team/secret*"'));
    publish('v1');
    const asked = await Promise.all(
      ['team/app', 'lib/x', 'team/secrets', 'other/x'].map((name) =>
        status(registry, `/v2/proxy/lab/${name}/manifests/v1`),
      ),
    );
    expect(asked).toEqual([200, 200, 403, 403]);
    expect(upstream.asked.join()).not.toContain('secret');
  });

  test('security 36: what foreign layers name by URL is never fetched', async () => {
    const registry = await startRegistry(proxy('tagttl: 0'));
    const elsewhere = await startUpstream();
    const text = imageOf(upstream.blob(Buffer.from('{}'))).replace(
      '"layers":[]',
      `"layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"${sha256('x')}","size":1,"urls":["${elsewhere.url}/x"]}]`,
    );
    upstream.manifest(text, 'v1');
    expect(await status(registry, '/v2/lab/team/app/manifests/v1')).toBe(200);
    expect(await status(registry, `/v2/lab/team/app/blobs/${sha256('x')}`)).toBe(404);
    expect(await status(registry, '/v2/lab/team/app/_cache/v1', { method: 'POST' })).toBe(202);
    expect(elsewhere.asked).toEqual([]);
    await elsewhere.stop();
  });
});

describe('unprefixed names', () => {
  const start = (...lines: readonly string[]) =>
    startRegistry(`proxy: {remoteurl: "${upstream.url}"}`, 'http: {addr: "127.0.0.1:0"}', ...lines);

  test('are the default upstream’s, where nothing was pushed', async () => {
    const registry = await start();
    const text = publish('v1');
    const path = '/v2/team/app/manifests';
    expect(await (await registry.send(`${path}/v1`)).text()).toBe(text);
    expect(await status(registry, `/v2/team/app/blobs/${sha256('{"seed":"v1"}')}`)).toBe(200);
    const own = imageOf(sha256('{}'));
    const upload = await registry.send(`/v2/team/app/blobs/uploads/?digest=${sha256('{}')}`, {
      method: 'POST',
      body: '{}',
    });
    expect(upload.status).toBe(201);
    const headers = { 'content-type': 'application/vnd.oci.image.manifest.v1+json' };
    expect(await status(registry, `${path}/v1`, { method: 'PUT', headers, body: own })).toBe(201);
    expect(await (await registry.send(`${path}/v1`)).text()).toBe(own);
    // Other tags are the upstream's still.
    const other = publish('v2');
    expect(await (await registry.send(`${path}/v2`)).text()).toBe(other);
  });

  test('of a mirror that anybody reaches cannot be pushed to, unless that is meant', async () => {
    const open = (more: string) =>
      startRegistry(`proxy: {remoteurl: "${upstream.url}"${more}}`, 'http: {addr: ":5000"}', 'auth: none');
    const push = (registry: TestRegistry) =>
      status(registry, '/v2/library/busybox/blobs/uploads/', { method: 'POST' });
    expect(await push(await open(''))).toBe(405);
    expect(await push(await open(', push: true'))).toBe(202);
    expect(await push(await start())).toBe(202);
  });

  test('are asked with the login of the registry that is mirrored, which counts as none', async () => {
    const registry = await start(
      `users: {alice: "${HASH}"}`,
      'acl: [{anonymous: true, name: team/*, actions: pull}, {account: alice, name: "*", actions: "*"}]',
    );
    publish('v1');
    const hub = { headers: { authorization: basic('hub-user', 'hub-password') } };
    const scope = 'service=entrepot&scope=repository:team/app:pull';
    for (let time = 0; time < 30; time += 1) {
      const ask = await registry.send(`/v2/token?account=hub-user&${scope}`, hub);
      const { token } = (await ask.json()) as { token: string };
      const init = { headers: { authorization: `Bearer ${token}` } };
      expect([time, await status(registry, '/v2/team/app/manifests/v1', init)]).toEqual([time, 200]);
    }
    // It is no login: neither for more than to read, nor when somebody logs in.
    expect(await status(registry, `/v2/token?${scope},push`, hub)).toBe(401);
    expect(await status(registry, '/v2/token?account=hub-user&offline_token=true', hub)).toBe(401);
    expect(await status(registry, '/v2/', hub)).toBe(401);
    // Who guesses is not told by it.
    for (let time = 0; time < 8; time += 1) {
      const guess = { headers: { authorization: basic('alice', `wrong${time}`) } };
      expect(await status(registry, '/v2/private/app/manifests/v1', guess)).toBe(401);
    }
    const right = { headers: { authorization: basic('alice') } };
    expect(await status(registry, '/v2/private/app/manifests/v1', right)).toBe(401);
  });

  test('that are about to be pushed are none of the upstream’s business', async () => {
    const registry = await start();
    upstream.fault = (_, response) => answer(response, 500);
    expect(await status(registry, `/v2/new/app/blobs/${sha256('x')}`, { method: 'HEAD' })).toBe(404);
    expect(upstream.asked).toEqual([]);
  });
});

describe('manners', () => {
  test('an upstream that says when to come again is left alone until then', async () => {
    const registry = await startRegistry(proxy('tagttl: 0'));
    publish('v1');
    upstream.fault = (_, response) => answer(response, 429, { 'retry-after': '30' });
    const first = await registry.send('/v2/lab/team/app/manifests/v1');
    expect([first.status, first.headers.get('retry-after')]).toEqual([429, '30']);
    for (let time = 0; time < 5; time += 1)
      expect(await status(registry, '/v2/lab/team/app/manifests/v1')).toBe(429);
    expect(upstream.asked.length).toBe(1);
  });

  test('one that is away is not asked for each pull of what is kept', async () => {
    const registry = await startRegistry(proxy('tagttl: 0'));
    publish('v1');
    expect(await status(registry, '/v2/lab/team/app/manifests/v1')).toBe(200);
    upstream.fault = (_, response) => answer(response, 503);
    const before = upstream.asked.length;
    const all = await Promise.all(
      Array.from({ length: 20 }, () => status(registry, '/v2/lab/team/app/manifests/v1')),
    );
    for (let time = 0; time < 10; time += 1)
      all.push(await status(registry, '/v2/lab/team/app/manifests/v1'));
    expect(new Set(all)).toEqual(new Set([200]));
    expect(upstream.asked.length - before).toBe(1);
  });

  test('what it does not have is not asked for again at once', async () => {
    const registry = await startRegistry(proxy('tagttl: 0'));
    for (let time = 0; time < 5; time += 1) {
      expect(await status(registry, '/v2/lab/team/app/manifests/none')).toBe(404);
      expect(await status(registry, `/v2/lab/team/app/blobs/${sha256('none')}`)).toBe(404);
    }
    expect(upstream.asked.length).toBe(2);
  });

  test('a limit of our own keeps manifests within the upstream’s; what is kept is served', async () => {
    const registry = await startRegistry(proxy('tagttl: 0, ratelimit: 3/1h'));
    const texts = ['v1', 'v2', 'v3', 'v4'].map((tag) => publish(tag));
    const got = [];
    for (const tag of ['v1', 'v2', 'v3', 'v4'])
      got.push(await status(registry, `/v2/lab/team/app/manifests/${tag}`));
    expect(got).toEqual([200, 200, 200, 429]);
    upstream.manifest(texts[3] ?? '', 'v1');
    const stale = await registry.send('/v2/lab/team/app/manifests/v1');
    expect([await stale.text(), stale.headers.get('warning')]).toEqual([
      texts[0] ?? '',
      '110 - "Response is Stale"',
    ]);
  });

  test('what it says of its limit, and what was done, is told', async () => {
    const registry = await startRegistry(proxy('tagttl: 1h'));
    publish('v1');
    upstream.fault = (_, response) => {
      response.setHeader('ratelimit-limit', '100;w=21600');
      response.setHeader('ratelimit-remaining', '76;w=21600');
      return false;
    };
    for (let time = 0; time < 3; time += 1) await status(registry, '/v2/lab/team/app/manifests/v1');
    const report = (await (await registry.send('/v2/_cache')).json()) as {
      upstreams: { lab: Record<string, unknown> };
    };
    expect(report.upstreams.lab).toMatchObject({
      kept: { manifests: 1, blobs: 0 },
      misses: 1,
      hits: 2,
      quota: { limit: 100, remaining: 76, window: 21600 },
    });
  });

  test('a credential helper is asked for the login, once in its time', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'entrepot-helper-'));
    const command = join(folder, 'docker-credential-test');
    const script = `#!/bin/sh\necho x >> ${folder}/calls\nread url\nprintf '{"ServerURL":"%s","Username":"u","Secret":"p"}' "$url"\n`;
    await writeFile(command, script);
    await chmod(command, 0o755);
    try {
      const registry = await startRegistry(proxy(`tagttl: 0, exec: {command: "${command}"}`));
      publish('v1');
      upstream.fault = (request, response) =>
        request.headers.authorization === `Basic ${Buffer.from('u:p').toString('base64')}`
          ? false
          : answer(response, 401, { 'www-authenticate': 'Basic realm="x"' });
      for (let time = 0; time < 3; time += 1)
        expect(await status(registry, '/v2/lab/team/app/manifests/v1')).toBe(200);
      expect((await Bun.file(`${folder}/calls`).text()).trim().split('\n')).toHaveLength(1);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

test('a whole image is fetched ahead, looked at and let go', async () => {
  const registry = await startRegistry(proxy('tagttl: 1h'));
  const layer = upstream.blob(Buffer.from('layer'));
  const text = imageOf(upstream.blob(Buffer.from('{}')), layer);
  upstream.manifest(text, 'v1');
  const path = '/v2/lab/team/app/_cache/v1';
  expect(await status(registry, path)).toBe(404);
  expect(await status(registry, `${path}?platform=x%20y`, { method: 'POST' })).toBe(400);
  expect(await status(registry, path, { method: 'POST' })).toBe(202);
  const look = async () => (await (await registry.send(path)).json()) as { missing: { blobs: number } };
  expect(await eventually('all blobs', look, ({ missing }) => missing.blobs === 0)).toMatchObject({
    kept: { manifests: 1, blobs: 2 },
    missing: { manifests: 0, blobs: 0 },
  });
  await upstream.stop();
  expect(await status(registry, `/v2/lab/team/app/blobs/${layer}`)).toBe(200);
  const gone = await registry.send(path, { method: 'DELETE' });
  expect([gone.status, await gone.json()]).toEqual([
    202,
    { manifests: 1, blobs: 2, bytes: text.length + 'layer{}'.length },
  ]);
  expect(await status(registry, path)).toBe(404);
  upstream = await startUpstream();
});

test('an HTTP proxy of the environment is used, but for what is excepted', () => {
  const env = {
    HTTPS_PROXY: 'http://proxy.example:3128',
    http_proxy: 'proxy.example:8080',
    NO_PROXY: 'inside.example,.corp.example, 10.0.0.5:5000',
  };
  const via = (url: string) => proxyFor(new URL(url), env)?.href;
  expect(via('https://registry-1.docker.io/v2/')).toBe('http://proxy.example:3128/');
  expect(via('http://plain.example/v2/')).toBe('http://proxy.example:8080/');
  for (const url of ['https://inside.example', 'https://a.inside.example', 'https://a.corp.example'])
    expect([url, via(url)]).toEqual([url, undefined]);
  expect(via('http://10.0.0.5:5000/')).toBeUndefined();
  expect(via('http://10.0.0.5:5001/')).toBe('http://proxy.example:8080/');
  expect(via('https://notinside.example')).toBe('http://proxy.example:3128/');
  expect(proxyFor(new URL('https://x.example'), { ...env, NO_PROXY: '*' })).toBeUndefined();
});

test('security 35: addresses that only mean something inside a network', () => {
  const inside = ['127.0.0.1', '10.1.2.3', '172.20.0.1', '192.168.1.1', '169.254.169.254', '100.64.0.1'];
  for (const address of [
    ...inside,
    '0.0.0.0',
    '::1',
    '::',
    'fe80::1',
    'fd00::1',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
  ])
    expect([address, isPublicAddress(address)]).toEqual([address, false]);
  for (const address of ['8.8.8.8', '1.1.1.1', '2606:4700::1111'])
    expect([address, isPublicAddress(address)]).toEqual([address, true]);
});
