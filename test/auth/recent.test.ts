import { expect, test } from 'bun:test';
import { Recent } from '../../src/recent.ts';
import { Turns } from '../../src/auth/turns.ts';

test('what was not asked for the longest goes first', () => {
  const recent = new Recent<number>({ most: 2 });
  recent.set('a', 1);
  recent.set('b', 2);
  expect(recent.get('a')).toBe(1);
  recent.set('c', 3);
  expect(['a', 'b', 'c'].map((key) => recent.get(key))).toEqual([1, undefined, 3]);
});

test('strangers fill no more than the budget', () => {
  const recent = new Recent<string>({
    most: 1000,
    budget: 100,
    weight: (key, value) => key.length + value.length,
  });
  for (let index = 0; index < 50; index += 1) recent.set(`key${index}`.padEnd(10), 'x'.repeat(30));
  expect(recent.size).toBe(2);
  recent.set('key49'.padEnd(10), '');
  expect(recent.size).toBe(2);
  recent.set('large', 'x'.repeat(200));
  expect(recent.get('large')).toBeUndefined();
});

test('so many of a key run at once, others wait in order, and too many are refused', async () => {
  const turns = new Turns(2, 3);
  const running: number[] = [];
  const ends: (() => void)[] = [];
  const take = (number: number, key = 'a') =>
    turns.take(
      key,
      async () => {
        running.push(number);
        await new Promise<void>((resolve) => ends.push(resolve));
        if (number === 1) throw new Error('failed');
      },
      () => new Error('too many'),
    );
  const all = [1, 2, 3, 4, 5, 6].map((number) => take(number).then(String, (error: Error) => error.message));
  const other = take(7, 'b');
  expect(running).toEqual([1, 2, 7]);
  expect(await all[5]).toBe('too many');
  for (let end = ends.shift(); end !== undefined; end = ends.shift()) {
    end();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await other;
  expect(await Promise.all(all.slice(0, 5))).toEqual(['failed', ...Array<string>(4).fill('undefined')]);
  expect(running).toEqual([1, 2, 7, 3, 4, 5]);
});
