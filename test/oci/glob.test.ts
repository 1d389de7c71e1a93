import { describe, expect, spyOn, test } from 'bun:test';
import * as fc from 'fast-check';
import { fill, glob, globOfParts } from '../../src/oci/glob.ts';

const TABLE: readonly (readonly [pattern: string, yes: readonly string[], no: readonly string[]])[] = [
  ['*', ['', 'a', 'a/b'], []],
  ['myorg/*', ['myorg/a', 'myorg/a/b', 'myorg/'], ['myorg', 'xmyorg/a', 'myorg2/a']],
  ['backend-*', ['backend-a', 'backend-a/b', 'backend-'], ['backend', 'x/backend-a']],
  ['a/b', ['a/b'], ['a/b/c', 'a', 'xa/b', 'A/b']],
  ['*/cache', ['a/cache', 'a/b/cache'], ['cache', 'a/cache/b']],
  ['a*b*c', ['abc', 'axbxc', 'abbbc', 'abcbc'], ['ac', 'abx', 'ab', 'a b']],
  ['a*a', ['aa', 'aba'], ['a']],
  ['ab*ba', ['abba', 'abxba'], ['aba', 'ab', 'ba']],
  ['a*ab*b', ['aabb', 'aabab'], ['aab', 'abb']],
  ['**', ['', 'a'], []],
  ['a**b', ['ab', 'axb'], ['a', 'b']],
  ['***', ['', 'a'], []],
  ['a.b', ['a.b'], ['axb']],
  ['a?[b]+(c)\\', ['a?[b]+(c)\\'], ['a', 'ab']],
  ['', [''], ['a']],
];

describe('a pattern', () => {
  test.each(TABLE)('%p', (pattern, yes, no) => {
    for (const text of yes) expect([text, glob(pattern)(text)]).toEqual([text, true]);
    for (const text of no) expect([text, glob(pattern)(text)]).toEqual([text, false]);
  });

  test('matches as a regular expression would', () => {
    const pattern = fc.array(fc.constantFrom('a', 'b', '/', '*', 'ab', '.'), { maxLength: 8 });
    const text = fc.array(fc.constantFrom('a', 'b', '/', '.'), { maxLength: 12 });
    fc.assert(
      fc.property(pattern, text, (parts, letters) => {
        const source = parts.map((part) => (part === '*' ? '.*' : part.replaceAll('.', '[.]'))).join('');
        const name = letters.join('');
        expect(glob(parts.join(''))(name)).toBe(new RegExp(`^${source}$`).test(name));
      }),
      { numRuns: 2000 },
    );
  });

  test('matches what it was made from', () => {
    const part = fc.string({ maxLength: 5 }).map((text) => text.replaceAll('*', ''));
    fc.assert(
      fc.property(fc.array(part, { minLength: 1 }), fc.string({ maxLength: 5 }), (parts, between) => {
        expect(glob(parts.join('*'))(parts.join(between))).toBe(
          parts.length > 1 || parts[0] === parts.join(),
        );
      }),
    );
  });

  test('has plain stars where it is given in parts', () => {
    const matches = globOfParts(['a*', '/c']);
    expect(matches('a*x/c')).toBe(true);
    expect(matches('abx/c')).toBe(false);
  });
});

/** The places at which a match looks for a part, with the part's length. */
function searches(pattern: string, text: string): { readonly found: boolean; readonly steps: number[][] } {
  const matches = glob(pattern);
  const steps: number[][] = [];
  const { indexOf } = String.prototype;
  const spy = spyOn(String.prototype, 'indexOf').mockImplementation(function (this: string, part, at = 0) {
    const place = indexOf.call(this, part, at);
    steps.push([at, place, part.length]);
    return place;
  });
  try {
    return { found: matches(text), steps };
  } finally {
    spy.mockRestore();
  }
}

describe('a hostile pattern', () => {
  const LONG = 'a'.repeat(100_000);
  test.each([
    ['stars that can all be anywhere', '*a*a*a*a*b*', LONG, 5],
    ['thousands of them', `${'*a'.repeat(2_000)}*b*`, LONG, 2_001],
    ['pairs', `${'*aa'.repeat(500)}*ab*`, LONG, 501],
    ['an end that is not there', '*a*a*a*a*b', LONG, 0],
    ['stars alone', '*'.repeat(10_000), LONG, 0],
    ['a match at the very end', '*a*a*b*', `${LONG}b`, 3],
  ])('%s', (_, pattern, text, most) => {
    const { steps } = searches(pattern, text);
    expect(steps.length).toBeLessThanOrEqual(most);
    // Each search begins where the one before it ended: no place is tried for a second time.
    let end = 0;
    for (const [at = -1, place = -1, length = 0] of steps) {
      expect(at).toBeGreaterThanOrEqual(end);
      end = place < 0 ? text.length : place + length;
    }
  });

  test('gets the right answer', () => {
    expect(searches('*a*a*a*a*b', LONG).found).toBe(false);
    expect(searches('*a*a*b*', `${LONG}b`)).toMatchObject({ found: true, steps: { length: 3 } });
    expect(searches(`${'*a'.repeat(2_000)}*`, LONG).found).toBe(true);
    expect(searches(`${'*a'.repeat(2_000)}*`, 'a'.repeat(1_999)).found).toBe(false);
  });
});

test('places are filled, or the whole is nothing', () => {
  expect(fill('u/${account}/*', () => 'bob')).toBe('u/bob/*');
  expect(fill('${a}-${b}', (name) => name.toUpperCase())).toBe('A-B');
  expect(fill('u/${account}/*', () => undefined)).toBeUndefined();
  expect(fill('${a}', () => '${b}')).toBe('${b}');
  expect(fill('$&${a}', () => '$&$1')).toBe('$&$&$1');
  expect(fill('plain', () => undefined)).toBe('plain');
});
