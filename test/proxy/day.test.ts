/** A day in which tags move upstream, clients pull from two processes, and the upstream is away now and then. */
import { afterEach, beforeEach, expect, test } from 'bun:test';
import { randomBytes } from '../harness/random-bytes.ts';
import { imageOf, keptBytes, openCache, pullBlob, pullManifest } from './cache.ts';
import { startUpstream, type UpstreamServer } from './upstream-server.ts';

let upstream: UpstreamServer;
beforeEach(async () => {
  upstream = await startUpstream();
});
afterEach(async () => {
  await upstream.stop();
});

const MINUTE = 60_000;
const TAGS = ['latest', 'stable', 'v1'];
const TTL = 10 * MINUTE;

test('24 hours: no older tag after a newer one, none older than its time, and never above the limit', async () => {
  const maxBytes = 300_000;
  const upstreamRules = {
    tagTtlMs: TTL,
    tags: [{ match: 'v*', ttlMs: 60 * MINUTE }],
    ttlMs: 12 * 60 * MINUTE,
  };
  const cache = openCache({ url: upstream.url, maxBytes, upstream: upstreamRules });
  const processes = [cache.registry, cache.another()];
  const config = upstream.blob(Buffer.from('{}'));
  /** Of each tag: what it led to, and since when. */
  const history = new Map<string, { text: string; layer: string; since: number }[]>();
  const served = new Map<string, number>();
  let count = 0;
  let random = 42;
  const next = (below: number) => {
    random = (random * 1_103_515_245 + 12_345) % 2 ** 31;
    return random % below;
  };
  const move = (tag: string) => {
    const layer = upstream.blob(randomBytes(`layer ${(count += 1)}`, 10_000 + next(20_000)));
    const text = imageOf(config, layer);
    upstream.manifest(text, tag);
    history.set(tag, [...(history.get(tag) ?? []), { text, layer, since: cache.now() }]);
  };
  for (const tag of TAGS) move(tag);
  let lastUp = cache.now();
  for (let minute = 0; minute < 24 * 60; minute += 1) {
    const isDown = minute % 360 > 330;
    upstream.fault = isDown ? (_, response) => Boolean(response.writeHead(503).end()) : undefined;
    if (!isDown) lastUp = cache.now();
    if (next(20) === 0) move(TAGS[next(TAGS.length)] ?? '');
    const tag = TAGS[next(TAGS.length)] ?? '';
    const process = processes[next(2)] ?? cache.registry;
    const text = await pullManifest(process, tag).catch(() => undefined);
    if (text !== undefined) {
      const versions = history.get(tag) ?? [];
      const index = versions.findIndex((one) => one.text === text);
      expect(index).toBeGreaterThanOrEqual(served.get(tag) ?? 0);
      served.set(tag, index);
      // What was replaced longer ago than its time, while the upstream could be asked, is not served.
      const replaced = versions[index + 1]?.since ?? Number.POSITIVE_INFINITY;
      const ttl = tag.startsWith('v') ? 60 * MINUTE : TTL;
      const asked = Math.min(lastUp, cache.now());
      if (!isDown) expect(asked - replaced).toBeLessThan(ttl + MINUTE);
      await pullBlob(process, versions[index]?.layer ?? '').catch((error: unknown) => {
        if (!isDown) throw error;
      });
    }
    if (minute % 10 === 0) {
      await process.sweep();
      expect(await keptBytes(cache)).toBeLessThanOrEqual(maxBytes + 30_000);
    }
    cache.pass(MINUTE);
  }
  expect(served.size).toBe(TAGS.length);
  expect(Math.min(...served.values())).toBeGreaterThan(5);
}, 300_000);
