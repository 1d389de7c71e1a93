import { expect, test } from 'bun:test';
import { canListNames } from '../../src/drivers/driver.ts';
import { bytes, type Driver, fill, keysOf } from './subject.ts';

/** Names that are prefixes of others, around the bytes that sort before and after `/` (0x2f). */
const TREE = [
  't/a',
  't/a-b/x',
  't/a.c/x',
  't/a0',
  't/b/1',
  't/b/c/2',
  't/b/c/d/3',
  't/b-',
  't/v1/x',
  't/v1-a/x',
  't/v1.0/x',
  't/v10/x',
  't/z',
];
const IN_BYTE_ORDER = TREE.toSorted();
/** One level: a common prefix is ordered by its name without the delimiter. */
const LEVEL = [
  't/a',
  't/a-b/',
  't/a.c/',
  't/a0',
  't/b/',
  't/b-',
  't/v1/',
  't/v1-a/',
  't/v1.0/',
  't/v10/',
  't/z',
];

/** `list`, flat and by levels. */
export function listingSuite(driver: Driver): void {
  test('a flat listing has all keys below the prefix in byte order', async () => {
    await fill(driver(), [...TREE, 'tt/other', 's', 'u/other'].toReversed());
    expect(await keysOf(driver(), 't/')).toEqual(IN_BYTE_ORDER);
    expect(await keysOf(driver(), 't/b/')).toEqual(['t/b/1', 't/b/c/2', 't/b/c/d/3']);
    expect(await keysOf(driver(), '')).toEqual([...TREE, 'tt/other', 's', 'u/other'].toSorted());
  });

  test('a level has each name once, ordered without the delimiter', async () => {
    await fill(driver(), TREE.toReversed());
    expect(await keysOf(driver(), 't/', { delimiter: '/' })).toEqual(LEVEL);
    expect(await keysOf(driver(), '', { delimiter: '/' })).toEqual(['t/']);
    expect(await keysOf(driver(), 't/b/', { delimiter: '/' })).toEqual(['t/b/1', 't/b/c/']);
  });

  test('entries tell their size; a common prefix has none', async () => {
    await fill(driver(), ['s/one', 's/two/three']);
    const entries: unknown[] = [];
    for await (const { key, size } of driver().list('s/', { delimiter: '/' })) entries.push([key, size]);
    expect(entries).toEqual([
      ['s/one', 5],
      ['s/two/', 0],
    ]);
    for await (const { key, size } of driver().list('s/')) expect(size).toBe(key.length);
  });

  test('nothing is below a prefix that nothing has, that is an object, or that is half a name', async () => {
    await fill(driver(), ['n/object', 'n/folder/x']);
    for (const prefix of ['none/', 'n/obj/', 'n/object/', 'n/object/below/', 'n/folder/x/']) {
      expect(await keysOf(driver(), prefix)).toEqual([]);
      expect(await keysOf(driver(), prefix, { delimiter: '/' })).toEqual([]);
      expect(await keysOf(driver(), prefix, { delimiter: '/', after: `${prefix}a` })).toEqual([]);
    }
  });

  test('`after` begins behind a key, whether or not it exists', async () => {
    await fill(driver(), TREE);
    const between = [
      '',
      't/',
      't/A',
      't/a',
      't/a-',
      't/a-b',
      't/a-b/',
      't/a-b/y',
      't/b',
      't/b/c',
      't/zz',
      'u',
      'a',
    ];
    for (const after of [...TREE, ...between]) {
      expect([after, await keysOf(driver(), 't/', { after })]).toEqual([
        after,
        IN_BYTE_ORDER.filter((key) => key > after),
      ]);
    }
    const name = (key: string) => key.replace(/\/$/, '');
    for (const after of [...LEVEL, ...LEVEL.map(name), 't/b.', 't/v1.', 't/zz', 'u', 'a', '']) {
      expect([after, await keysOf(driver(), 't/', { after, delimiter: '/' })]).toEqual([
        after,
        LEVEL.filter((key) => name(key) > name(after)),
      ]);
    }
  });

  test('pages of any size join to the whole', async () => {
    const keys = Array.from({ length: 500 }, (_, i) => `p/${(i * 7919) % 500}${i % 3 === 0 ? '/x' : ''}`);
    await fill(driver(), keys);
    for (const delimiter of [undefined, '/'] as const) {
      const options = delimiter === undefined ? {} : { delimiter };
      const whole = await keysOf(driver(), 'p/', options);
      expect(whole).toHaveLength(500);
      for (const limit of [1, 7, 499, 500, 501]) {
        const joined: string[] = [];
        for (let after = ''; ;) {
          const page = await keysOf(driver(), 'p/', { ...options, after, limit });
          joined.push(...page);
          if (page.length < limit) break;
          after = page.at(-1) ?? '';
        }
        expect(joined).toEqual(whole);
      }
    }
    expect(await keysOf(driver(), 'p/', { limit: 0 })).toEqual([]);
  });

  test('a listing shows each change that was made before it', async () => {
    // More names than a directory must have to be worth keeping in memory.
    const keys = Array.from({ length: 100 }, (_, i) => `c/${String(i).padStart(3, '0')}`);
    await fill(driver(), keys);
    const options = { delimiter: '/' } as const;
    for (let round = 0; round < 20; round += 1) {
      expect(await keysOf(driver(), 'c/', options)).toEqual(keys);
      await driver().write('c/new', bytes('x'), { volatile: true });
      expect(await keysOf(driver(), 'c/', options)).toEqual([...keys, 'c/new']);
      await driver().delete(['c/new'], { volatile: true });
    }
  });

  test('objects may come and go during a listing', async () => {
    const keys = Array.from({ length: 60 }, (_, i) => `g/${String(i).padStart(2, '0')}/x`);
    for (const options of [{}, { delimiter: '/' } as const]) {
      await fill(driver(), keys);
      const seen: string[] = [];
      for await (const { key } of driver().list('g/', options)) {
        seen.push(key);
        const behind = keys[seen.length * 2];
        if (behind !== undefined) await driver().delete([behind]);
        await driver().write(`f/${seen.length}`, bytes('x'), { volatile: true });
      }
      expect(seen).toEqual(seen.toSorted());
      expect(seen.length).toBeGreaterThan(20);
    }
  });

  test('an aborted listing ends with the signal’s reason', async () => {
    await fill(driver(), ['x/1', 'x/2', 'x/3']);
    const controller = new AbortController();
    const seen: string[] = [];
    let failure: unknown;
    try {
      for await (const { key } of driver().list('x/', { signal: controller.signal })) {
        seen.push(key);
        controller.abort(new Error('enough'));
      }
    } catch (error) {
      failure = error;
    }
    expect(seen).toEqual(['x/1']);
    expect(failure).toEqual(new Error('enough'));
  });

  test('capability: the names of a level, the same array for as long as nothing changes', async () => {
    const one = driver();
    if (!canListNames(one)) return;
    await fill(one, TREE.toReversed());
    expect(await one.names('t/')).toEqual(LEVEL.map((key) => key.slice(2).replace(/\/$/, '')));
    for (const prefix of ['none/', 't/a/', 't/a/b/', 't/b/1/']) expect(await one.names(prefix)).toEqual([]);
    const before = await one.names('t/b/');
    await one.write('t/b/0', bytes('x'));
    expect(await one.names('t/b/')).toEqual(['0', '1', 'c']);
    await one.delete(['t/b/0', 't/b/c/']);
    expect(await one.names('t/b/')).toEqual(['1']);
    expect(before).toEqual(['1', 'c']);
  });
}
