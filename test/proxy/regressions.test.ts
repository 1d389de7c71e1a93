/** What went wrong once. */
import { afterEach, beforeEach, expect, test } from 'bun:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isTrustedRealm } from '../../src/proxy/bearer-challenge.ts';
import { TagRecords } from '../../src/proxy/tag-records.ts';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import type { Digest } from '../../src/oci/digest.ts';
import type { Tag } from '../../src/oci/name.ts';
import { Objects } from '../../src/store/objects.ts';
import { startRegistry, type TestRegistry } from '../auth/registry.ts';
import { startEntrepot } from '../harness/entrepot.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { imageOf, keptBytes, NAME, openCache, pullBlob, pullManifest } from './cache.ts';
import { sha256, startUpstream, type UpstreamServer } from './upstream-server.ts';

let upstream: UpstreamServer;
beforeEach(async () => {
  upstream = await startUpstream();
});
afterEach(async () => {
  await upstream.stop();
});

const TYPE = { 'content-type': 'application/vnd.oci.image.manifest.v1+json' };
const proxy = (settings: string) =>
  `proxy: {upstreams: [{name: lab, url: "${upstream.url}", timeout: 2s, ${settings}}]}`;

async function status(registry: TestRegistry, path: string, init: RequestInit = {}): Promise<number> {
  const answer = await registry.send(path, init);
  await answer.arrayBuffer().catch(() => undefined);
  return answer.status;
}

test('an image that is built on one of the mirror is pushed under the same name', async () => {
  const registry = await startRegistry(
    `proxy: {remoteurl: "${upstream.url}"}`,
    'http: {addr: "127.0.0.1:0"}',
  );
  const layer = Buffer.from('base layer');
  const config = Buffer.from('{}');
  const text = imageOf(upstream.blob(config), upstream.blob(layer));
  upstream.manifest(text, 'v1');
  expect(await status(registry, '/v2/team/app/manifests/v1')).toBe(200);
  for (const digest of [sha256(config), sha256(layer)])
    expect(await status(registry, `/v2/team/app/blobs/${digest}`)).toBe(200);
  const own = Buffer.from('my layer');
  const head = (digest: string) => status(registry, `/v2/team/app/blobs/${digest}`, { method: 'HEAD' });
  expect([await head(sha256(layer)), await head(sha256(own))]).toEqual([200, 404]);
  const upload = `/v2/team/app/blobs/uploads/?digest=${sha256(own)}`;
  expect(await status(registry, upload, { method: 'POST', body: own })).toBe(201);
  const built = imageOf(sha256(config), sha256(layer), sha256(own));
  const put = { method: 'PUT', headers: TYPE, body: built };
  expect(await status(registry, '/v2/team/app/manifests/mine', put)).toBe(201);
  const index = JSON.stringify({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [{ mediaType: TYPE['content-type'], digest: sha256(text), size: text.length }],
  });
  const headers = { 'content-type': 'application/vnd.oci.image.index.v1+json' };
  expect(await status(registry, '/v2/team/app/manifests/all', { method: 'PUT', headers, body: index })).toBe(
    201,
  );
  await upstream.stop();
  expect(await status(registry, `/v2/team/app/blobs/${sha256(layer)}`)).toBe(200);
  upstream = await startUpstream();
});

test('a mirror that is asked for a registry that it does not cache does not give an image of its own', async () => {
  const registry = await startRegistry(
    `proxy: {remoteurl: "${upstream.url}", own: [registry.example]}`,
    'http: {addr: "127.0.0.1:0"}',
  );
  upstream.manifest(imageOf(upstream.blob(Buffer.from('{}'))), 'v1');
  const of = (ns: string) => status(registry, `/v2/team/app/manifests/v1?ns=${ns}`);
  expect([await of('quay.io'), await of('registry.example'), await of('registry.test')]).toEqual([
    404, 200, 200,
  ]);
  expect(await of(new URL(upstream.url).host)).toBe(200);
});

test('lists of an upstream that is away are not empty ones', async () => {
  const registry = await startRegistry(proxy('tagttl: 0'));
  const text = imageOf(upstream.blob(Buffer.from('{}')));
  upstream.manifest(text, 'v1');
  upstream.fault = (_, response) => Boolean(response.writeHead(500).end());
  expect(await status(registry, '/v2/lab/team/app/tags/list')).toBe(502);
  expect(await status(registry, `/v2/lab/team/app/referrers/${sha256(text)}`)).toBe(502);
  upstream.fault = undefined;
  expect(await status(registry, `/v2/lab/team/app/manifests/${sha256(text)}`)).toBe(200);
  expect(await status(registry, '/v2/lab/team/app/manifests/v1')).toBe(200);
  upstream.fault = (_, response) => Boolean(response.writeHead(500).end());
  const kept = await registry.send('/v2/lab/team/app/tags/list');
  expect([kept.status, kept.headers.get('warning'), await kept.json()]).toEqual([
    200,
    '110 - "Response is Stale"',
    { name: 'proxy/lab/team/app', tags: ['v1'] },
  ]);
});

test('an upstream that refuses our login is told to the operator, and counted', async () => {
  const registry = await startRegistry(proxy('tagttl: 0, username: me, password: wrong'));
  upstream.fault = (_, response) =>
    Boolean(response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end());
  for (let time = 0; time < 3; time += 1)
    expect(await status(registry, '/v2/lab/team/app/manifests/v1')).toBe(404);
  expect(
    registry.lines.filter((line) => line.includes('login of the configuration is refused')),
  ).toHaveLength(1);
  const report = (await (await registry.send('/v2/_cache')).json()) as {
    upstreams: { lab: { refused: number } };
  };
  expect(report.upstreams.lab.refused).toBe(3);
});

test('a page that asks for a login is no manifest', async () => {
  const registry = await startRegistry(proxy('tagttl: 0'));
  upstream.fault = (_, response) =>
    Boolean(response.writeHead(200, { 'content-type': 'text/html' }).end('<html>login please</html>'));
  expect(await status(registry, '/v2/lab/team/app/manifests/v1')).toBe(502);
});

test('a blob of which HEAD tells no size can be pulled all the same', async () => {
  const registry = await startRegistry(proxy('tagttl: 0'));
  const content = randomBytes('no size', 10_000);
  const digest = upstream.blob(content);
  upstream.fault = (request, response) => {
    response.writeHead(200, { 'transfer-encoding': 'chunked' });
    response.end(request.method === 'GET' ? content : undefined);
    return true;
  };
  const path = `/v2/lab/team/app/blobs/${digest}`;
  const head = await registry.send(path, { method: 'HEAD' });
  expect([head.status, head.headers.get('content-length')]).toEqual([200, '10000']);
  expect(await status(registry, path)).toBe(200);
});

test('an upstream that names a digest that it does not have yet: what is kept is served', async () => {
  const registry = await startRegistry(proxy('tagttl: 0'));
  const text = imageOf(upstream.blob(Buffer.from('{}')));
  upstream.manifest(text, 'v1');
  expect(await status(registry, '/v2/lab/team/app/manifests/v1')).toBe(200);
  upstream.fault = (request, response) => {
    if (request.method !== 'HEAD') return false;
    const headers = { 'docker-content-digest': sha256('later'), 'content-length': '5', ...TYPE };
    return Boolean(response.writeHead(200, headers).end());
  };
  const answer = await registry.send('/v2/lab/team/app/manifests/v1');
  expect([answer.status, answer.headers.has('warning')]).toEqual([200, true]);
});

test('nobody is cut who still reads what the cache lets go', async () => {
  const layer = randomBytes('slow reader', 3_000_000);
  const first = upstream.blob(layer);
  const second = upstream.blob(randomBytes('another', 3_000_000));
  const proxied = { upstreams: [{ name: 'lab', url: upstream.url }], maxsize: '4MB' };
  const registry = await startEntrepot({ workers: 1, config: { proxy: proxied } });
  try {
    const slow = await fetch(`${registry.url}/v2/lab/team/app/blobs/${first}`);
    const reader = slow.body?.getReader();
    const chunks = [(await reader?.read())?.value ?? new Uint8Array()];
    expect(
      (await fetch(`${registry.url}/v2/lab/team/app/blobs/${second}`).then((answer) => answer.bytes()))
        .length,
    ).toBe(3_000_000);
    for (let next = await reader?.read(); next?.done === false; next = await reader?.read())
      chunks.push(next.value);
    expect(Buffer.concat(chunks).equals(layer)).toBe(true);
  } finally {
    await registry.dispose();
  }
}, 300_000);

test('what is being fetched counts, also when all want it at once', async () => {
  const cache = openCache({ url: upstream.url, maxBytes: 2_000_000 });
  const digests = Array.from({ length: 12 }, (_, index) =>
    upstream.blob(randomBytes(`at once ${index}`, 1_000_000), { size: 100_000, pause: 1 }),
  );
  await Promise.all(digests.map((digest) => pullBlob(cache.registry, digest)));
  expect(await keptBytes(cache)).toBeLessThanOrEqual(3_000_000);
}, 300_000);

test('a clock that was wrong does not hold a tag back', async () => {
  const cache = openCache({ url: upstream.url, upstream: { tagTtlMs: 60_000 } });
  const config = upstream.blob(Buffer.from('{}'));
  upstream.manifest(imageOf(config, sha256('old')), 'v1');
  cache.pass(10 * 3_600_000);
  await pullManifest(cache.registry, 'v1');
  cache.pass(-10 * 3_600_000);
  const text = imageOf(config, sha256('new'));
  upstream.manifest(text, 'v1');
  cache.pass(120_000);
  expect(await pullManifest(cache.registry, 'v1')).toBe(text);
});

test('of two notes at the same moment the later one stays, whichever comes first', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-notes-'));
  try {
    const driver = new FilesystemDriver(folder);
    driver.prepare();
    const [one, other] = [new TagRecords(new Objects(driver)), new TagRecords(new Objects(driver))];
    for (let round = 0; round < 50; round += 1) {
      const tag = `t${round}` as Tag;
      const note = (records: TagRecords, asked: number) =>
        records.note(NAME, tag, { digest: sha256(String(asked)) as Digest, asked });
      const [first, second] = round % 2 === 0 ? [2, 1] : [1, 2];
      await Promise.all([note(one, first ?? 0), note(other, second ?? 0)]);
      expect((await one.get(NAME, tag))?.asked).toBe(2);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a push that the upstream refuses leaves what was kept, and nothing else', async () => {
  const registry = await startRegistry(proxy('tagttl: 0, push: true'), 'http: {addr: "127.0.0.1:0"}');
  const kept = randomBytes('kept', 10_000);
  expect(await status(registry, `/v2/lab/team/app/blobs/${upstream.blob(kept)}`)).toBe(200);
  upstream.fault = (request, response) => request.method !== 'GET' && Boolean(response.writeHead(500).end());
  for (const content of [kept, randomBytes('refused', 10_000)]) {
    const path = `/v2/lab/team/app/blobs/uploads/?digest=${sha256(content)}`;
    expect(await status(registry, path, { method: 'POST', body: content })).toBe(502);
  }
  expect(await status(registry, `/v2/lab/team/app/blobs/${sha256(kept)}`)).toBe(200);
  const report = (await (await registry.send('/v2/_cache')).json()) as { bytes: number };
  expect(report.bytes).toBe(10_000);
  expect(await status(registry, `/v2/lab/team/app/blobs/${sha256(kept)}`, { method: 'DELETE' })).toBe(403);
});

test('security 33: two tenants of a cloud are not one domain', () => {
  const trusted = (realm: string, registry: string) => isTrustedRealm(new URL(realm), new URL(registry));
  expect(trusted('https://auth.docker.io/token', 'https://registry-1.docker.io')).toBe(true);
  expect(trusted('https://gitlab.com/jwt/auth', 'https://registry.gitlab.com')).toBe(true);
  for (const [realm, registry] of [
    ['https://attacker.s3.amazonaws.com/token', 'https://1234.dkr.ecr.eu-west-1.amazonaws.com'],
    ['https://evil.github.io/token', 'https://mine.github.io'],
    ['https://evil.co.uk/token', 'https://mine.co.uk'],
    ['http://auth.docker.io/token', 'https://registry-1.docker.io'],
    ['https://auth.docker.io@evil.example/', 'https://registry-1.docker.io'],
  ] as const)
    expect([realm, trusted(realm, registry)]).toEqual([realm, false]);
});

test('what has come, and what failed to, holds up nobody who comes after', async () => {
  const cache = openCache({ url: upstream.url, maxBytes: 100_000 });
  const config = upstream.blob(Buffer.from('{}'));
  let began = performance.now();
  // Manifests of more than the limit in all.
  for (let index = 0; index < 30; index += 1) {
    const layers = Array.from({ length: 40 }, (_, layer) => sha256(`${index} ${layer}`));
    upstream.manifest(imageOf(config, ...layers), `v${index}`);
    await pullManifest(cache.registry, `v${index}`);
    cache.pass(60_000);
  }
  // A wait would be ten seconds, here for each of them.
  expect(performance.now() - began).toBeLessThan(100_000);
  began = performance.now();
  const content = randomBytes('failing', 60_000);
  const digest = upstream.blob(content);
  const write = cache.driver.write.bind(cache.driver);
  cache.driver.write = (key, ...rest) =>
    key.endsWith('startedat') ? Promise.reject(new Error('the disk is full')) : write(key, ...rest);
  expect(pullBlob(cache.registry, digest)).rejects.toThrow('the disk is full');
  await new Promise((resolve) => setTimeout(resolve, 50));
  cache.driver.write = write;
  for (const name of ['one', 'two']) {
    const other = randomBytes(name, 60_000);
    expect((await pullBlob(cache.registry, upstream.blob(other))).equals(other)).toBe(true);
    cache.pass(60_000);
  }
  expect((await pullBlob(cache.registry, digest)).equals(content)).toBe(true);
  expect(performance.now() - began).toBeLessThan(9_500);
}, 300_000);

test('security 34: a login goes to the upstream alone, also where it may send us elsewhere', async () => {
  const store = await startUpstream();
  const content = randomBytes('elsewhere', 10_000);
  const digest = store.blob(content);
  const login = `Basic ${Buffer.from('me:secret').toString('base64')}`;
  const sent: (string | undefined)[] = [];
  upstream.fault = (request, response) => {
    if (request.headers.authorization !== login)
      return Boolean(response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end());
    return Boolean(response.writeHead(307, { location: `${store.url}${request.url}` }).end());
  };
  store.fault = (request) => {
    sent.push(request.headers.authorization);
    return false;
  };
  const settings = 'tagttl: 0, username: me, password: secret';
  const path = `/v2/lab/team/app/blobs/${digest}`;
  const closed = await startRegistry(proxy(settings));
  expect([await status(closed, path), sent]).toEqual([502, []]);
  const open = await startRegistry(proxy(`${settings}, hosts: ["${new URL(store.url).host}"]`));
  expect([await status(open, path), sent]).toEqual([200, [undefined]]);
  await store.stop();
});

test('in read-only mode what is kept is served, nothing is fetched, and nothing is written', async () => {
  const cache = openCache({ url: upstream.url });
  const layer = Buffer.from('layer');
  const digest = upstream.blob(layer);
  const text = imageOf(digest);
  upstream.manifest(text, 'v1');
  await pullManifest(cache.registry, 'v1');
  await pullBlob(cache.registry, digest);
  const keys = async () => {
    const all: string[] = [];
    for await (const { key, modified } of cache.driver.list('')) all.push(`${key} ${modified}`);
    return all.sort();
  };
  cache.pass(3_600_000);
  const registry = cache.another({ readOnly: () => true });
  const [before, asked] = [await keys(), upstream.asked.length];
  expect(await pullManifest(registry, 'v1')).toBe(text);
  expect((await pullBlob(registry, digest)).equals(layer)).toBe(true);
  const { manifests } = registry.repository(NAME);
  expect(manifests.stat?.('v2' as Tag)).rejects.toThrow('read-only');
  expect(pullManifest(registry, 'v2')).rejects.toThrow('read-only');
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect([await keys(), upstream.asked.length]).toEqual([before, asked]);
});
