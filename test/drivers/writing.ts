import { expect, test } from 'bun:test';
import { ObjectExists } from '../../src/drivers/driver.ts';
import { failureOf } from '../harness/failure-of.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import {
  brokenStream,
  bytes,
  collect,
  type Driver,
  keysOf,
  outcomes,
  stalledStream,
  streamOf,
  textOf,
} from './subject.ts';

/** Keys that would lead out of the storage, or to two objects by one name, if they were taken for paths. */
export const HOSTILE_KEYS = [
  '',
  '/',
  '/etc/passwd',
  '..',
  '../outside',
  'a/..',
  'a/../b',
  'a/./b',
  './a',
  'a//b',
  'a\0b',
];

/** `write`: whole or not at all, whatever happens. */
export function writingSuite(driver: Driver): void {
  test('bytes and streams are stored as they are, and what is returned is what stat says', async () => {
    const content = randomBytes('content', 1_500_000);
    const chunks = [content.subarray(0, 1), content.subarray(1, 70_000), content.subarray(70_000)];
    for (const [key, body] of [
      ['w/bytes', content],
      ['w/stream', streamOf(chunks)],
    ] as const) {
      const info = await driver().write(key, body, { size: content.length });
      expect({ key: info.key, size: info.size }).toEqual({ key, size: content.length });
      expect((await driver().stat(key)).size).toBe(content.length);
      expect((await collect(await driver().read(key))).equals(content)).toBe(true);
    }
  });

  test('what the caller does with its bytes afterwards changes nothing', async () => {
    const mine = bytes('before');
    await driver().write('copy', mine);
    mine.fill(0x58);
    expect(await textOf(driver(), 'copy')).toBe('before');
  });

  test('a write replaces, a write with ifAbsent does not', async () => {
    await driver().write('k', bytes('one'));
    await driver().write('k', bytes('two'));
    const failure = await failureOf(driver().write('k', bytes('three'), { ifAbsent: true }));
    expect(failure).toBeInstanceOf(ObjectExists);
    expect(await failureOf(driver().write('k', streamOf([bytes('x')]), { ifAbsent: true }))).toBeInstanceOf(
      ObjectExists,
    );
    expect(await textOf(driver(), 'k')).toBe('two');
    await driver().delete(['k']);
    await driver().write('k', bytes('four'), { ifAbsent: true });
    expect(await textOf(driver(), 'k')).toBe('four');
  });

  test('of ten writers with ifAbsent exactly one stores its bytes', async () => {
    for (let round = 0; round < 10; round += 1) {
      const key = `race/${round}`;
      const ended = await outcomes(
        Array.from({ length: 10 }, (_, i) =>
          driver().write(key, i % 2 === 0 ? bytes(`writer ${i}`) : streamOf([bytes(`writer ${i}`)]), {
            ifAbsent: true,
            volatile: round % 2 === 0,
          }),
        ),
      );
      const winners = ended.flatMap((one, i) => (one instanceof Error ? [] : [i]));
      expect(winners).toHaveLength(1);
      expect(ended.filter((one) => one instanceof ObjectExists)).toHaveLength(9);
      expect(await textOf(driver(), key)).toBe(`writer ${winners[0]}`);
    }
  });

  test('of ten writers one is last, and readers see whole objects only', async () => {
    const letters = 'abcdefghij'.split('');
    await driver().write('mixed', bytes('z'.repeat(50_000)));
    const state = { writing: true };
    const seen = new Set<string>();
    const reading = (async () => {
      while (state.writing) {
        const text = (await textOf(driver(), 'mixed')) ?? '';
        expect(text).toHaveLength(50_000);
        expect(new Set(text).size).toBe(1);
        seen.add(text.slice(0, 1));
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
    })();
    const writers = Promise.all(
      letters.map((letter) => driver().write('mixed', bytes(letter.repeat(50_000)), { volatile: true })),
    ).finally(() => (state.writing = false));
    await Promise.all([writers, reading]);
    expect(letters).toContain(((await textOf(driver(), 'mixed')) ?? '').slice(0, 1));
    expect(seen.size).toBeGreaterThan(0);
  });

  test('a body of another size than announced leaves things as they were', async () => {
    await driver().write('kept', bytes('old'));
    for (const key of ['kept', 'new/one']) {
      for (const size of [0, 4, 6, 1_000_000]) {
        for (const body of [bytes('12345'), streamOf([bytes('123'), bytes('45')])]) {
          await failureOf(driver().write(key, body, { size }));
        }
      }
    }
    expect(await textOf(driver(), 'kept')).toBe('old');
    expect(await keysOf(driver(), '')).toEqual(['kept']);
  });

  test('a body that fails leaves things as they were, and its own error is thrown', async () => {
    await driver().write('kept', bytes('old'));
    for (const key of ['kept', 'new/one']) {
      const failure = await failureOf(
        driver().write(key, brokenStream([randomBytes('broken', 100_000)], new Error('the client left'))),
      );
      expect(failure.message).toBe('the client left');
    }
    expect(await textOf(driver(), 'kept')).toBe('old');
    expect(await keysOf(driver(), '')).toEqual(['kept']);
  });

  test('an aborted write leaves things as they were', async () => {
    await driver().write('kept', bytes('old'));
    for (const key of ['kept', 'new/one']) {
      const early = AbortSignal.abort(new Error('too late'));
      await failureOf(driver().write(key, bytes('new'), { signal: early }));
      await failureOf(driver().write(key, streamOf([bytes('new')]), { signal: early }));
      const controller = new AbortController();
      const body = stalledStream(bytes('first'), () => controller.abort(new Error('given up')));
      const writing = failureOf(driver().write(key, body, { signal: controller.signal }));
      expect((await writing).message).toBe('given up');
    }
    expect(await textOf(driver(), 'kept')).toBe('old');
    expect(await keysOf(driver(), '')).toEqual(['kept']);
  });

  test('writers and deleters of one folder do not get in each other’s way', async () => {
    await Promise.all(
      Array.from({ length: 8 }, async (_, i) => {
        for (let round = 0; round < 25; round += 1) {
          const key = `busy/${round % 3}/deep/${i}`;
          await driver().write(key, bytes(key), { volatile: true });
          expect(await textOf(driver(), key)).toBe(key);
          await driver().delete([key]);
        }
      }),
    );
    expect(await keysOf(driver(), '')).toEqual([]);
  });

  test('a hostile key is refused, or is a name like any other; it never means another object', async () => {
    const bystanders = ['a', 'b', 'outside', 'etc/passwd'];
    for (const key of bystanders) await driver().write(key, bytes(key));
    for (const key of HOSTILE_KEYS) await outcomes([driver().write(key, bytes('hostile'))]);
    for (const key of HOSTILE_KEYS.filter((key) => !key.endsWith('/')))
      await outcomes([driver().delete([key])]);
    for (const key of bystanders) expect(await textOf(driver(), key)).toBe(key);
  });
}
