import { expect, test } from 'bun:test';
import { canCommit, canMove, ObjectNotFound } from '../../src/drivers/driver.ts';
import { failureOf } from '../harness/failure-of.ts';
import { bytes, type Driver, fill, keysOf, outcomes, textOf } from './subject.ts';

/** `delete`, and `move` where the driver has it. */
export function changingSuite(driver: Driver): void {
  test('deleted objects are gone; absent ones, and none at all, are no error', async () => {
    await fill(driver(), ['d/1', 'd/2', 'd/3/4']);
    await driver().delete(['d/1', 'd/never', 'never/ever', 'd/2/below']);
    await driver().delete(['d/1']);
    await driver().delete([]);
    expect(await keysOf(driver(), '')).toEqual(['d/2', 'd/3/4']);
  });

  test('a key with a slash at its end stands for all below it, and nothing beside it', async () => {
    await fill(driver(), ['d/t/1', 'd/t/2/3', 'd/t/2/4/5', 'd/t-1', 'd/t.2/x', 'd/tt', 'e']);
    await driver().delete(['d/t/', 'never/', 'e/'], { volatile: true });
    expect(await keysOf(driver(), '')).toEqual(['d/t-1', 'd/t.2/x', 'd/tt', 'e']);
  });

  test('a delete of an object does not delete what is below its name, nor the other way round', async () => {
    await fill(driver(), ['d/t/1', 'd/u']);
    await outcomes([driver().delete(['d/t'])]);
    await outcomes([driver().delete(['d/u/'])]);
    expect(await keysOf(driver(), '')).toEqual(['d/t/1', 'd/u']);
  });

  test('no empty folder stays in a listing', async () => {
    await fill(driver(), ['p/a/b/c/1', 'p/a/b/2', 'p/a/d/e/3', 'q/1']);
    await driver().delete(['p/a/b/c/1']);
    expect(await keysOf(driver(), 'p/a/b/', { delimiter: '/' })).toEqual(['p/a/b/2']);
    await driver().delete(['p/a/b/2', 'p/a/d/']);
    expect(await keysOf(driver(), '', { delimiter: '/' })).toEqual(['q/']);
    await fill(driver(), ['m/1/x', 'm/1/2/y', 'm/3/z', 'n/1']);
    await driver().delete(['m/1/x', 'm/3/z', 'm/absent', 'm/1/2/y', 'n/1'], { small: true });
    expect(await keysOf(driver(), '', { delimiter: '/' })).toEqual(['q/']);
  });

  test('of ten deleters of one object none fails', async () => {
    for (let round = 0; round < 10; round += 1) {
      await fill(driver(), ['r/a/1', 'r/a/b/2']);
      await Promise.all(
        Array.from({ length: 10 }, (_, i) => driver().delete(i % 2 === 0 ? ['r/a/1', 'r/a/b/2'] : ['r/a/'])),
      );
      expect(await keysOf(driver(), '')).toEqual([]);
    }
  });

  test('a tree is deleted while something is written into it: the writer does not fail', async () => {
    for (let round = 0; round < 20; round += 1) {
      await fill(driver(), ['w/t/1', 'w/t/2/3']);
      await Promise.all([
        driver().delete(['w/t/'], { volatile: true }),
        ...Array.from({ length: 5 }, (_, i) =>
          driver().write(`w/t/new/${i}`, bytes('x'), { volatile: true }),
        ),
      ]);
      for (const key of await keysOf(driver(), 'w/t/')) expect(key).toStartWith('w/t/new/');
      await driver().delete(['w/']);
    }
  });

  test('capability: a move renames, and replaces what is there', async () => {
    const one = driver();
    if (!canMove(one)) return;
    await fill(one, ['m/from', 'm/to']);
    await one.move('m/from', 'm/to');
    expect(await textOf(one, 'm/to')).toBe('m/from');
    await one.move('m/to', 'far/away/from/it', { volatile: true });
    expect(await textOf(one, 'far/away/from/it')).toBe('m/from');
    for (const key of ['m/from', 'm/to', 'never']) {
      expect(await failureOf(one.move(key, 'target'))).toBeInstanceOf(ObjectNotFound);
      expect(await failureOf(one.move(key, 'far/off/target'))).toBeInstanceOf(ObjectNotFound);
    }
    expect(await keysOf(one, '')).toEqual(['far/away/from/it']);
    await one.delete(['m/']);
  });

  test('capability: of ten movers of one object exactly one wins', async () => {
    const one = driver();
    if (!canMove(one)) return;
    for (let round = 0; round < 20; round += 1) {
      await fill(one, ['m/from']);
      const ended = await outcomes(
        Array.from({ length: 10 }, (_, i) => one.move('m/from', `m/to/${i}`, { volatile: true })),
      );
      const winners = ended.flatMap((result, i) => (result instanceof Error ? [] : [i]));
      expect(winners).toHaveLength(1);
      expect(ended.filter((result) => result instanceof ObjectNotFound)).toHaveLength(9);
      expect(await keysOf(one, '')).toEqual([`m/to/${winners[0]}`]);
      await one.delete(['m/']);
    }
  });

  test('capability: a commit makes its changes in their order', async () => {
    const one = driver();
    if (!canCommit(one)) return;
    await fill(one, ['k/from', 'k/old']);
    await one.commit([]);
    await one.commit([
      { write: 'k/new/one', bytes: bytes('1') },
      { move: 'k/from', to: 'k/far/to' },
      { write: 'k/old', bytes: bytes('2') },
      { write: 'k/old', bytes: bytes('3') },
      { write: 'k/none', bytes: new Uint8Array() },
    ]);
    expect(await keysOf(one, '')).toEqual(['k/far/to', 'k/new/one', 'k/none', 'k/old']);
    expect(await textOf(one, 'k/far/to')).toBe('k/from');
    expect(await textOf(one, 'k/old')).toBe('3');
    const failure = await failureOf(
      one.commit([
        { write: 'k/other', bytes: bytes('x') },
        { move: 'k/from', to: 'k/to' },
      ]),
    );
    expect(failure).toBeInstanceOf(ObjectNotFound);
    expect((failure as ObjectNotFound).key).toBe('k/from');
  });

  test('capability: of ten commits that move one object exactly one wins', async () => {
    const one = driver();
    if (!canCommit(one)) return;
    for (let round = 0; round < 20; round += 1) {
      await fill(one, ['m/from']);
      const ended = await outcomes(
        Array.from({ length: 10 }, (_, i) =>
          one.commit([
            { move: 'm/from', to: `m/to/${i}` },
            { write: `m/link/${i}`, bytes: bytes('x') },
          ]),
        ),
      );
      const winners = ended.flatMap((result, i) => (result instanceof Error ? [] : [i]));
      expect(winners).toHaveLength(1);
      expect(ended.filter((result) => result instanceof ObjectNotFound)).toHaveLength(9);
      expect(await keysOf(one, 'm/')).toEqual([`m/link/${winners[0]}`, `m/to/${winners[0]}`]);
      await one.delete(['m/']);
    }
  });

  test('capability: an object that is moved about is at one place at every moment', async () => {
    const one = driver();
    if (!canMove(one)) return;
    await fill(one, ['s/a']);
    const state = { moving: true };
    const watching = (async () => {
      for (let looks = 0; state.moving || looks === 0; looks += 1) {
        expect((await keysOf(one, 's/')).length).toBeLessThan(2);
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
    })();
    for (let i = 0; i < 100; i += 1) {
      await one.move(i % 2 === 0 ? 's/a' : 's/b', i % 2 === 0 ? 's/b' : 's/a', { volatile: true });
      if (i % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
    }
    state.moving = false;
    await watching;
    expect(await textOf(one, 's/a')).toBe('s/a');
  });
}
