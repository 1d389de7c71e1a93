/** How much the cache holds and for how long, what goes first, and that nothing else goes with it. */
import { afterEach, beforeEach, expect, test } from 'bun:test';
import type { Digest } from '../../src/oci/digest.ts';
import type { RepositoryName } from '../../src/oci/name.ts';
import { emptyTrash } from '../../src/store/trash.ts';
import { Objects } from '../../src/store/objects.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { hasBytes, imageOf, keptBytes, NAME, openCache, pullBlob, pullManifest } from './cache.ts';
import { sha256, startUpstream, type UpstreamServer } from './upstream-server.ts';

let upstream: UpstreamServer;
beforeEach(async () => {
  upstream = await startUpstream();
});
afterEach(async () => {
  await upstream.stop();
});

const MINUTE = 60_000;

function blobs(count: number, size: number): { readonly content: Buffer; readonly digest: string }[] {
  return Array.from({ length: count }, (_, index) => {
    const content = randomBytes(`blob ${index}`, size);
    return { content, digest: upstream.blob(content) };
  });
}

test('what was not used for the longest goes first, and comes again when it is asked for', async () => {
  const cache = openCache({ url: upstream.url, maxBytes: 100_000 });
  const all = blobs(5, 30_000);
  for (const { digest } of all.slice(0, 3)) {
    await pullBlob(cache.registry, digest);
    cache.pass(MINUTE);
  }
  await pullBlob(cache.registry, all[0]?.digest ?? '');
  cache.pass(MINUTE);
  await pullBlob(cache.registry, all[3]?.digest ?? '');
  const kept = async () => Promise.all(all.map(({ content }) => hasBytes(cache, content)));
  expect(await kept()).toEqual([true, false, false, true, false]);
  const before = upstream.asked.length;
  expect((await pullBlob(cache.registry, all[1]?.digest ?? '')).equals(all[1]?.content ?? Buffer.of())).toBe(
    true,
  );
  expect(upstream.asked.length).toBe(before + 1);
});

test('it never holds more than the limit and one blob, whoever fetches', async () => {
  const cache = openCache({ url: upstream.url, maxBytes: 200_000 });
  const processes = [cache.registry, cache.another(), cache.another()];
  const all = blobs(60, 20_000);
  let most = 0;
  for (let round = 0; round < 60; round += 3) {
    await Promise.all(processes.map((one, index) => pullBlob(one, all[round + index]?.digest ?? '')));
    cache.pass(MINUTE);
    most = Math.max(most, await keptBytes(cache));
  }
  expect(most).toBeLessThanOrEqual(220_000);
  expect(most).toBeGreaterThan(100_000);
});

test('a blob that is larger than the limit is served, and goes with the next one', async () => {
  const cache = openCache({ url: upstream.url, maxBytes: 10_000 });
  const large = randomBytes('large', 50_000);
  const digest = upstream.blob(large);
  expect((await pullBlob(cache.registry, digest)).equals(large)).toBe(true);
  cache.pass(MINUTE);
  await pullBlob(cache.registry, upstream.blob(randomBytes('small', 1_000)));
  expect([await hasBytes(cache, large), await keptBytes(cache)]).toEqual([false, 1_000]);
});

test('what is not used for its time goes, and each use begins it anew', async () => {
  const cache = openCache({ url: upstream.url, upstream: { ttlMs: 60 * MINUTE } });
  const [used, unused] = blobs(2, 1_000);
  const text = imageOf(used?.digest ?? '', unused?.digest ?? '');
  upstream.manifest(text, 'v1');
  await pullManifest(cache.registry, 'v1');
  for (const one of [used, unused]) await pullBlob(cache.registry, one?.digest ?? '');
  for (let round = 0; round < 4; round += 1) {
    cache.pass(30 * MINUTE);
    await pullManifest(cache.registry, 'v1');
    await pullBlob(cache.registry, used?.digest ?? '');
    await cache.registry.sweep();
  }
  expect(await hasBytes(cache, used?.content ?? Buffer.of())).toBe(true);
  expect(await hasBytes(cache, unused?.content ?? Buffer.of())).toBe(false);
  cache.pass(61 * MINUTE);
  await cache.registry.sweep();
  expect(await keptBytes(cache)).toBe(0);
  expect(await pullManifest(cache.registry, 'v1')).toBe(text);
});

test('bytes that a pushed image has too stay, and so does the image', async () => {
  const cache = openCache({ url: upstream.url, upstream: { ttlMs: MINUTE } });
  const [shared] = blobs(1, 5_000);
  const content = shared?.content ?? Buffer.of();
  const digest = sha256(content) as Digest;
  await pullBlob(cache.registry, digest);
  const own = cache.registry.repository('mine/app' as RepositoryName);
  const mounted = await own.blobs.mount(digest, { from: NAME, mayPull: () => Promise.resolve(true) });
  expect(mounted?.size).toBe(5_000);
  cache.pass(2 * MINUTE);
  await cache.registry.sweep();
  expect(await keptBytes(cache)).toBe(0);
  const { body } = await own.blobs.open(digest);
  expect(Buffer.from(await new Response(body).arrayBuffer()).equals(content)).toBe(true);
});

test('bytes that are on their way out come back when somebody pushes them', async () => {
  const cache = openCache({ url: upstream.url, upstream: { ttlMs: MINUTE } });
  const [one] = blobs(1, 5_000);
  const content = one?.content ?? Buffer.of();
  const digest = sha256(content) as Digest;
  await pullBlob(cache.registry, digest);
  cache.pass(2 * MINUTE);
  await cache.registry.sweep();
  expect(await hasBytes(cache, content)).toBe(false);
  const objects = new Objects(cache.driver);
  // Half of what a push does: it has found the bytes there before they went, and now writes its link.
  const hex = digest.slice(7);
  const link = `docker/registry/v2/repositories/mine/app/_layers/sha256/${hex}/link`;
  await cache.driver.write(link, Buffer.from(digest));
  cache.pass(20 * MINUTE);
  await emptyTrash(objects, cache.now());
  const { body } = await cache.own.repository('mine/app' as RepositoryName).blobs.open(digest);
  expect(Buffer.from(await new Response(body).arrayBuffer()).equals(content)).toBe(true);
});

test('after their time in the trash they are gone', async () => {
  const cache = openCache({ url: upstream.url, upstream: { ttlMs: MINUTE } });
  const [one] = blobs(1, 5_000);
  await pullBlob(cache.registry, one?.digest ?? '');
  cache.pass(2 * MINUTE);
  await cache.registry.sweep();
  const trash = async () => {
    const keys: string[] = [];
    for await (const { key } of cache.driver.list('docker/registry/v2/_entrepot/trash/')) keys.push(key);
    return keys.length;
  };
  expect(await trash()).toBe(2);
  cache.pass(20 * MINUTE);
  await emptyTrash(new Objects(cache.driver), cache.now());
  expect(await trash()).toBe(0);
});
