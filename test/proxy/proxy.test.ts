import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { ServerResponse } from 'node:http';
import { basic, HASH, startRegistry, type TestRegistry } from '../auth/registry.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { imageOf } from './cache.ts';
import { sha256, startUpstream, type UpstreamServer } from './upstream-server.ts';

let upstream: UpstreamServer;
beforeEach(async () => {
  upstream = await startUpstream();
});
afterEach(async () => {
  await upstream.stop();
});

function start(...lines: readonly string[]): Promise<TestRegistry> {
  const settings = `{name: lab, url: "${upstream.url}", tagttl: 0, timeout: 2s}`;
  return startRegistry(`proxy: {upstreams: [${settings}]}`, ...lines);
}

const BASE = '/v2/proxy/lab/team/app';

async function get(registry: TestRegistry, path: string, headers: Record<string, string> = {}) {
  const answer = await registry.send(`${BASE}/${path}`, { headers });
  // The body of a transfer that fails ends with an error, as the connection would.
  const body = await answer.arrayBuffer().then(
    (bytes) => Buffer.from(bytes),
    () => undefined,
  );
  return { status: answer.status, headers: answer.headers, body };
}

describe('what is not here', () => {
  test('is fetched once, byte for byte, and only what is asked for', async () => {
    const registry = await start();
    const layer = randomBytes('layer', 300_000);
    const digest = upstream.blob(layer);
    const config = upstream.blob(Buffer.from('{}'));
    const text = ` ${imageOf(config, digest)}\n`;
    upstream.manifest(text, 'v1');
    for (let time = 0; time < 3; time += 1) {
      const found = await get(registry, 'manifests/v1');
      expect([found.status, found.body?.toString(), found.headers.get('docker-content-digest')]).toEqual([
        200,
        text,
        sha256(text),
      ]);
      const blob = await get(registry, `blobs/${digest}`);
      expect([blob.status, blob.body?.equals(layer)]).toEqual([200, true]);
    }
    const gets = upstream.asked.filter((line) => line.startsWith('GET'));
    expect(gets).toEqual([`GET /v2/team/app/manifests/${sha256(text)}`, `GET /v2/team/app/blobs/${digest}`]);
  });

  test('is unknown where the upstream says so, also by hiding it', async () => {
    const registry = await start();
    for (const status of [404, 401, 403]) {
      upstream.fault = (_, response) => end(response, status);
      expect((await get(registry, 'manifests/v9')).status).toBe(404);
      expect((await get(registry, `blobs/${sha256('nothing')}`)).status).toBe(404);
    }
  });

  test('is asked for once by fifty clients, early and late, whole and in part', async () => {
    const registry = await start();
    const layer = randomBytes('shared', 6_000_000);
    const digest = upstream.blob(layer, { size: 300_000, pause: 10 });
    const clients = Array.from({ length: 50 }, async (_, number) => {
      await new Promise((resolve) => setTimeout(resolve, number * 5));
      const from = number % 5 === 0 ? 1_000_000 : 0;
      const headers: Record<string, string> = from === 0 ? {} : { range: `bytes=${from}-4999999` };
      const { status, body } = await get(registry, `blobs/${digest}`, headers);
      const wanted = from === 0 ? layer : layer.subarray(from, 5_000_000);
      return `${status} ${body?.equals(wanted)}`;
    });
    const answers = await Promise.all(clients);
    expect([...new Set(answers)].sort()).toEqual(['200 true', '206 true']);
    expect(upstream.asked).toEqual([`GET /v2/team/app/blobs/${digest}`]);
  });

  test('goes on coming when the client that asked first leaves', async () => {
    const registry = await start();
    const layer = randomBytes('left', 2_000_000);
    const digest = upstream.blob(layer, { size: 200_000, pause: 20 });
    const first = await registry.send(`${BASE}/blobs/${digest}`);
    const reader = first.body?.getReader();
    await reader?.read();
    await reader?.cancel();
    expect((await get(registry, `blobs/${digest}`)).body?.equals(layer)).toBe(true);
    expect(upstream.asked).toHaveLength(1);
  });
});

describe('an upstream that is wrong', () => {
  const layer = randomBytes('wrong', 500_000);
  const faults: Record<string, (response: ServerResponse) => void> = {
    'other bytes': (response) =>
      response.writeHead(200, { 'content-length': '500000' }).end(Buffer.alloc(500_000)),
    'too few bytes': (response) => {
      response.writeHead(200, { 'content-length': '500000' });
      response.write(layer.subarray(0, 400_000));
      setTimeout(() => response.destroy(), 50);
    },
    'a longer body': (response) => response.writeHead(200).end(Buffer.concat([layer, layer])),
  };
  test.each(Object.entries(faults))(
    'security 37: %s: never a complete answer, and nothing is kept',
    async (_, fault) => {
      const registry = await start();
      const digest = upstream.blob(layer);
      upstream.fault = (_request, response) => {
        fault(response);
        return true;
      };
      const { status, body } = await get(registry, `blobs/${digest}`);
      expect(status === 200 && body !== undefined).toBe(false);
      upstream.fault = undefined;
      expect((await get(registry, `blobs/${digest}`)).body?.equals(layer)).toBe(true);
    },
  );

  test('a manifest of another digest is not taken', async () => {
    const registry = await start();
    upstream.manifest('{}', sha256('something else'));
    expect((await get(registry, `manifests/${sha256('something else')}`)).status).toBe(502);
  });

  test.each([
    [500, 502],
    [502, 502],
    [429, 429],
  ])('%d: what is kept is served with a warning, what is not is a %d', async (status, told) => {
    const registry = await start();
    const text = imageOf(upstream.blob(Buffer.from('{}')));
    upstream.manifest(text, 'v1');
    expect((await get(registry, 'manifests/v1')).status).toBe(200);
    upstream.fault = (_, response) => end(response, status);
    const kept = await get(registry, 'manifests/v1');
    expect([kept.body?.toString(), kept.headers.get('warning')]).toEqual([text, '110 - "Response is Stale"']);
    expect((await get(registry, 'manifests/v2')).status).toBe(told);
    expect(registry.lines.join()).toContain('what is kept is served');
  });

  test('one that hangs is given up', async () => {
    const registry = await start();
    upstream.fault = () => true;
    expect((await get(registry, 'manifests/v1')).status).toBe(504);
  });
});

test('a tag follows its upstream, and never goes back', async () => {
  const registry = await start();
  const config = upstream.blob(Buffer.from('{}'));
  const texts = ['a', 'b', 'c'].map((layer) => imageOf(config, sha256(layer)));
  for (const text of texts) {
    upstream.manifest(text, 'moving');
    expect((await get(registry, 'manifests/moving')).body?.toString()).toBe(text);
  }
  upstream.fault = (_, response) => end(response, 500);
  expect((await get(registry, 'manifests/moving')).body?.toString()).toBe(texts[2] ?? '');
});

test('a mirror is asked with the upstream’s own names', async () => {
  const registry = await start(
    `users: {alice: "${HASH}"}`,
    'acl: [{anonymous: true, name: proxy/lab/*, actions: pull}]',
  );
  const text = imageOf(upstream.blob(Buffer.from('{}')));
  upstream.manifest(text, 'v1');
  const answer = await registry.send('/v2/team/app/manifests/v1?ns=lab');
  expect([answer.status, answer.headers.get('oci-namespace'), await answer.text()]).toEqual([
    200,
    'lab',
    text,
  ]);
  // What is no upstream comes from its own registry or not at all, and a push goes where it says.
  expect((await registry.send('/v2/team/app/manifests/v1?ns=elsewhere')).status).toBe(404);
  expect((await registry.send('/v2/team/app/manifests/v1?ns=registry.test')).status).toBe(401);
  const headers = { authorization: basic('alice') };
  expect(
    (await registry.send('/v2/team/app/blobs/uploads/?ns=lab', { method: 'POST', headers })).status,
  ).toBe(403);
});

describe('credentials and places', () => {
  test('a token is got at a service of the same host, once, and sent to the upstream only', async () => {
    const text = imageOf(upstream.blob(Buffer.from('{}')));
    upstream.manifest(text, 'v1');
    let tokens = 0;
    upstream.fault = (request, response) => {
      if (request.url?.startsWith('/token') === true) {
        tokens += 1;
        response.end(JSON.stringify({ token: 'secret-token', expires_in: 300 }));
        return true;
      }
      if (request.headers.authorization === 'Bearer secret-token') return false;
      const realm = `Bearer realm="${upstream.url}/token",service="up"`;
      response.writeHead(401, { 'www-authenticate': realm }).end();
      return true;
    };
    const registry = await start(`users: {alice: "${HASH}"}`, 'access: {pull: users}');
    const headers = { authorization: basic('alice') };
    for (let time = 0; time < 3; time += 1)
      expect((await get(registry, 'manifests/v1', headers)).status).toBe(200);
    expect(tokens).toBe(1);
    expect(upstream.asked).toContain('GET /token?service=up&scope=repository%3Ateam%2Fapp%3Apull');
    // Rights are asked for the name here.
    expect((await get(registry, 'manifests/v1')).status).toBe(401);
  });

  test('security 33: a token service of another domain is not asked', async () => {
    const elsewhere = await startUpstream();
    const realm = `Bearer realm="${elsewhere.url.replace('127.0.0.1', 'localhost')}/token",service="up"`;
    upstream.fault = (_, response) => {
      response.writeHead(401, { 'www-authenticate': realm }).end();
      return true;
    };
    expect((await get(await start(), 'manifests/v1')).status).toBe(502);
    expect(elsewhere.asked).toEqual([]);
    await elsewhere.stop();
  });

  test('security 35: a redirect to a private address is not followed', async () => {
    const inside = await startUpstream();
    const layer = randomBytes('inside', 1000);
    inside.blob(layer);
    upstream.fault = (request, response) => {
      response.writeHead(307, { location: `${inside.url}${request.url}` }).end();
      return true;
    };
    expect((await get(await start(), `blobs/${sha256(layer)}`)).status).toBe(502);
    expect(inside.asked).toEqual([]);
    await inside.stop();
  });

  test('hosts that nobody allowed are unknown, and none is a machine of this network', async () => {
    const registry = await start();
    for (const name of ['evil.example/x', '127.0.0.1/x', 'localhost/x', 'lab', '169.254.169.254/latest']) {
      expect([name, (await registry.send(`/v2/proxy/${name}/manifests/v1`)).status]).toEqual([name, 404]);
    }
  });

  test('pushes are refused', async () => {
    const registry = await start();
    for (const [method, path] of [
      ['POST', 'blobs/uploads/'],
      ['PUT', 'manifests/v1'],
    ] as const) {
      const headers = { 'content-type': 'application/vnd.oci.image.manifest.v1+json' };
      const body = method === 'PUT' ? imageOf(sha256('x')) : null;
      expect((await registry.send(`${BASE}/${path}`, { method, headers, body })).status).toBe(403);
    }
  });
});

function end(response: ServerResponse, status: number): true {
  response.writeHead(status, { 'retry-after': '1' }).end();
  return true;
}
