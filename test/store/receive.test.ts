import { expect, test } from 'bun:test';
import type { AppendWriter } from '../../src/drivers/driver.ts';
import { receive } from '../../src/store/receive.ts';
import { failureOf } from '../harness/failure-of.ts';

/** Gives one piece, and then nothing until it is told how to end. */
function stallingBody(piece: Uint8Array) {
  let end: (error?: Error) => void = () => undefined;
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(piece);
      end = (error) => (error === undefined ? controller.close() : controller.error(error));
    },
  });
  return { body, end: (error?: Error) => end(error) };
}

test('what a client sent before it stalled is written, not held in memory', async () => {
  const { promise: written, resolve } = Promise.withResolvers<number>();
  const writer: AppendWriter = {
    write: (chunks) => Promise.resolve(resolve(chunks.reduce((sum, { byteLength }) => sum + byteLength, 0))),
    sync: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
  const { body, end } = stallingBody(new Uint8Array(480_000));
  const receiving = receive({ body }, writer, undefined);
  expect(await written).toBe(480_000);
  end();
  await receiving;
});

test('a body that fails is not let go of before the sync beside it has ended', async () => {
  const sync = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const writer: AppendWriter = {
    write: () => Promise.resolve(),
    sync() {
      begun.resolve();
      return sync.promise;
    },
    close: () => Promise.resolve(),
  };
  const { body, end } = stallingBody(new Uint8Array(65 * 1024 * 1024));
  let over = false;
  const failure = failureOf(receive({ body }, writer, undefined)).finally(() => (over = true));
  await begun.promise;
  end(new Error('the client has left'));
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(over).toBe(false);
  sync.reject(new Error('the disk is gone'));
  // The storage's failure is the graver one.
  expect(String(await failure)).toContain('the disk is gone');
});
