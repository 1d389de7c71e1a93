import { expect, test } from 'bun:test';
import {
  type Appends,
  canAppend,
  ObjectNotFound,
  OffsetMismatch,
  type StorageDriver,
} from '../../src/drivers/driver.ts';
import { failureOf } from '../harness/failure-of.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { bytes, collect, type Driver, textOf } from './subject.ts';

async function append(
  driver: StorageDriver & Appends,
  key: string,
  offset: number,
  text: string,
): Promise<void> {
  const writer = await driver.openAppend(key, offset);
  try {
    await writer.write([bytes(text)]);
    await writer.sync();
  } finally {
    await writer.close();
  }
}

/** `openAppend`, where the driver has it. */
export function appendingSuite(driver: Driver): void {
  test('capability: an object grows, over several writers', async () => {
    const one = driver();
    if (!canAppend(one)) return;
    await append(one, 'u/1/data', 0, 'one ');
    await append(one, 'u/1/data', 4, 'two ');
    await append(one, 'u/1/data', 8, 'three');
    expect(await textOf(one, 'u/1/data')).toBe('one two three');
    expect((await one.stat('u/1/data')).size).toBe(13);
  });

  test('capability: opening at 0 makes the object, and an empty one may be opened so again', async () => {
    const one = driver();
    if (!canAppend(one)) return;
    await (await one.openAppend('u/new', 0)).close();
    expect((await one.stat('u/new')).size).toBe(0);
    await append(one, 'u/new', 0, 'text');
    expect(await textOf(one, 'u/new')).toBe('text');
  });

  test('capability: another offset than the size is refused and changes nothing', async () => {
    const one = driver();
    if (!canAppend(one)) return;
    await append(one, 'u/x', 0, '12345');
    for (const offset of [0, 1, 4, 6, 5_000_000_000]) {
      const failure = await failureOf(one.openAppend('u/x', offset));
      expect(failure).toBeInstanceOf(OffsetMismatch);
      expect((failure as OffsetMismatch).size).toBe(5);
    }
    expect(await failureOf(one.openAppend('u/none', 1))).toBeInstanceOf(ObjectNotFound);
    expect(await failureOf(one.openAppend('none/at/all', 1))).toBeInstanceOf(ObjectNotFound);
    expect(await textOf(one, 'u/x')).toBe('12345');
    expect(await textOf(one, 'u/none')).toBeUndefined();
  });

  test('capability: chunks arrive in order, however many and however large, beside syncs', async () => {
    const one = driver();
    if (!canAppend(one)) return;
    const content = randomBytes('append', 3_000_000);
    const writer = await one.openAppend('u/big', 0);
    const syncs: Promise<void>[] = [];
    // 3000 chunks at once are more than one call to the system takes (IOV_MAX is 1024).
    const small = Array.from({ length: 3000 }, (_, i) => content.subarray(i * 100, i * 100 + 100));
    await writer.write(small);
    for (let at = 300_000; at < content.length; at += 900_000) {
      syncs.push(writer.sync());
      await writer.write([
        content.subarray(at, at + 450_000),
        new Uint8Array(),
        content.subarray(at + 450_000, at + 900_000),
      ]);
    }
    await writer.write([]);
    await writer.write([new Uint8Array()]);
    await Promise.all(syncs);
    await writer.sync();
    await writer.close();
    expect((await collect(await one.read('u/big'))).equals(content)).toBe(true);
  });

  test('capability: what was written is there before the writer is closed', async () => {
    const one = driver();
    if (!canAppend(one)) return;
    const writer = await one.openAppend('u/open', 0);
    await writer.write([bytes('so far')]);
    expect(await textOf(one, 'u/open')).toBe('so far');
    expect((await one.stat('u/open')).size).toBe(6);
    await writer.close();
  });

  test('capability: an object that is deleted under its writer stays deleted', async () => {
    const one = driver();
    if (!canAppend(one)) return;
    const writer = await one.openAppend('u/dead', 0);
    await writer.write([bytes('x')]);
    await one.delete(['u/'], { volatile: true });
    await writer.write([bytes('y')]);
    await writer.close();
    expect(await textOf(one, 'u/dead')).toBeUndefined();
  });
}
