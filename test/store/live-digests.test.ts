import { expect, test } from 'bun:test';
import type { RunningDigest } from '../../src/store/hashing.ts';
import { LiveDigests } from '../../src/store/live-digests.ts';

function running(offset: number): RunningDigest & { readonly stopped: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return {
    algorithm: 'sha256',
    offset,
    moved: () => undefined,
    add: () => undefined,
    digest: () => Promise.resolve(''),
    stop: () => resolve(),
    stopped: promise,
  };
}

const there = () => Promise.resolve(true);

test('a digest is given once, and only for the offset that it covers', async () => {
  const live = new LiveDigests();
  const one = running(7);
  live.keep('a', one, there);
  expect(live.take('a', 7)).toBe(one);
  expect(live.take('a', 7)).toBeUndefined();
  live.keep('a', one, there);
  expect(live.take('a', 8)).toBeUndefined();
  await one.stopped;
});

test('the digest of an upload that another process ended does not keep its file open', async () => {
  const live = new LiveDigests({ lookAfter: 1 });
  const [gone, stays] = [running(1), running(2)];
  live.keep('stays', stays, there);
  live.keep('gone', gone, () => Promise.resolve(false));
  await gone.stopped;
  expect(live.take('gone', 1)).toBeUndefined();
  expect(live.take('stays', 2)).toBe(stays);
});

test('the oldest make room when there are too many', async () => {
  const live = new LiveDigests();
  const all = Array.from({ length: 257 }, (_, i) => running(i));
  for (const [i, one] of all.entries()) live.keep(String(i), one, there);
  await all[0]?.stopped;
  expect(live.take('1', 1)).toBe(all[1]);
});
