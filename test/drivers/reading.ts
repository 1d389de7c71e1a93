import { expect, test } from 'bun:test';
import { canReadSmall, hasLocalFiles, ObjectNotFound } from '../../src/drivers/driver.ts';
import { readFile } from 'node:fs/promises';
import { failureOf } from '../harness/failure-of.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { bytes, collect, type Driver, streamOf, textOf } from './subject.ts';

/** `stat` and `read`, and their small twins where the driver has them. */
export function readingSuite(driver: Driver): void {
  test('stat tells key, size and time', async () => {
    const before = Date.now();
    await driver().write('a/b', bytes('12345'));
    const { key, size, modified } = await driver().stat('a/b');
    expect({ key, size }).toEqual({ key: 'a/b', size: 5 });
    // A file system's clock may lag by a tick.
    expect(modified).toBeGreaterThan(before - 1000);
    expect(modified).toBeLessThan(Date.now() + 1000);
  });

  test('what was never written, was deleted, or only leads to objects is not found', async () => {
    await driver().write('a/b/c', bytes('x'));
    await driver().write('gone', bytes('x'));
    await driver().delete(['gone']);
    for (const key of ['never', 'never/at/all', 'gone', 'a', 'a/b', 'a/b/c/d', 'a/b/c2']) {
      expect(await failureOf(driver().stat(key))).toBeInstanceOf(ObjectNotFound);
      const failure = await failureOf(driver().read(key));
      expect(failure).toBeInstanceOf(ObjectNotFound);
      expect(failure.message).toContain(key);
    }
  });

  test('a range is read from start up to end, and ends with the object', async () => {
    const content = randomBytes('range', 300_000);
    await driver().write('ranged', content);
    const ranges: readonly (readonly [number | undefined, number | undefined])[] = [
      [undefined, undefined],
      [0, 1],
      [0, 300_000],
      [1, undefined],
      [undefined, 299_999],
      [65_535, 65_537],
      [131_072, 262_144],
      [299_999, 300_000],
      [299_999, 999_999],
      [300_000, undefined],
      [7, 7],
    ];
    for (const [start, end] of ranges) {
      const part = await driver().read('ranged', {
        ...(start === undefined ? {} : { start }),
        ...(end === undefined ? {} : { end }),
      });
      expect((await collect(part)).equals(content.subarray(start ?? 0, end))).toBe(true);
      if (part instanceof Blob) expect(part.size).toBe(content.subarray(start ?? 0, end).length);
    }
  });

  test('an object without bytes is an object', async () => {
    await driver().write('empty', new Uint8Array());
    await driver().write('empty-stream', streamOf([]));
    for (const key of ['empty', 'empty-stream']) {
      expect((await driver().stat(key)).size).toBe(0);
      expect(await textOf(driver(), key)).toBe('');
    }
  });

  test('an object that is deleted or replaced while it is read is read to its end', async () => {
    const content = randomBytes('mid-read', 4 * 1024 * 1024);
    for (const change of ['delete', 'replace']) {
      await driver().write('victim', content);
      const body = await driver().read('victim');
      const reader = (body instanceof Blob ? body.stream() : body).getReader();
      const first = await reader.read();
      if (change === 'delete') await driver().delete(['victim']);
      else await driver().write('victim', bytes('another'));
      const pieces = [first.value ?? new Uint8Array()];
      for (let next = await reader.read(); !next.done; next = await reader.read()) pieces.push(next.value);
      expect(Buffer.concat(pieces).equals(content)).toBe(true);
    }
  });

  test('many readers of one object do not disturb each other', async () => {
    const content = randomBytes('readers', 1_000_000);
    await driver().write('popular', content);
    const all = await Promise.all(
      Array.from({ length: 20 }, async (_, i) =>
        collect(await driver().read('popular', { start: i * 1000, end: 1_000_000 - i })),
      ),
    );
    for (const [i, read] of all.entries()) {
      expect(read.equals(content.subarray(i * 1000, 1_000_000 - i))).toBe(true);
    }
  });

  test('capability: small objects are read and measured at once', async () => {
    const one = driver();
    if (!canReadSmall(one)) return;
    await one.write('small/one', bytes('text'));
    await one.write('small/none', new Uint8Array());
    expect(Buffer.from(one.readSmall('small/one') ?? []).toString()).toBe('text');
    expect(one.statSmall('small/one')).toBe(4);
    expect(one.readSmall('small/none')?.byteLength).toBe(0);
    expect(one.statSmall('small/none')).toBe(0);
    for (const absent of ['small', 'small/two', 'small/one/below', 'else/where']) {
      expect(one.readSmall(absent)).toBeUndefined();
      expect(one.statSmall(absent)).toBeUndefined();
    }
  });

  test('capability: an object is a file of this machine', async () => {
    const one = driver();
    if (!hasLocalFiles(one)) return;
    await one.write('local/file', bytes('on disk'));
    expect(await readFile(one.localPath('local/file'), 'utf8')).toBe('on disk');
  });
}
