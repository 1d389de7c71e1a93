import { describe, expect, test } from 'bun:test';
import * as fc from 'fast-check';
import * as names from '../../src/oci/name.ts';

const GOOD_NAMES = [
  'a',
  '0',
  'library/hello-world',
  'a.b',
  'a_b',
  'a__b',
  'a-b',
  'a---b',
  'a--b/c__d/e.f',
  'a'.repeat(255),
  'blobs',
  'manifests/x',
  'blobs/uploads',
  'tags/list',
  'a/referrers/b',
  Array(128).fill('a').join('/'),
];
const BAD_NAMES = [
  '',
  '/',
  'a/',
  '/a',
  'a//b',
  'A',
  'aB',
  'a..b',
  'a._b',
  'a_.b',
  'a___b',
  '-a',
  'a-',
  'a.',
  '.a',
  '_a',
  'a_',

  '..',
  'a/../b',
  'a/.',
  'a b',
  'a\n',
  '\na',
  'a\0',
  'é',
  'a%2fb',
  'a\\b',
  'a:b',
  'a@b',
  'a?b',
  'a/_catalog',
  'a'.repeat(256),
  'a/-b',
  'a-/b',
  'ſ',
  '\u0131',
];

describe('repository names', () => {
  test.each(GOOD_NAMES)('%j', (name) => {
    expect(names.isRepositoryName(name)).toBe(true);
    expect(names.parseRepositoryName(name) as string).toBe(name);
  });
  test.each(BAD_NAMES)('not %j', (name) => {
    expect(names.isRepositoryName(name)).toBe(false);
    expect(() => names.parseRepositoryName(name)).toThrow('repository name');
  });
});

describe('tags', () => {
  test.each(['a', '_', '0', 'Latest', 'v1.2-rc_3', '_a.', 'a'.repeat(128), 'sha256-abc.sig', '__proto__'])(
    '%j',
    (tag) => expect(names.isTag(tag)).toBe(true),
  );
  test.each(['', '.a', '-a', 'a b', 'a/b', 'a:b', 'a+b', 'a\n', 'a\0', 'é', '..', 'a'.repeat(129)])(
    'not %j',
    (tag) => expect(names.isTag(tag)).toBe(false),
  );
});

test('repositories are ordered as a walk over directories meets them', () => {
  const sorted = ['a', 'a/b', 'a/b/c', 'a/b-c', 'a-b', 'a.b', 'a0', 'a_b', 'aa', 'b'];
  expect([...sorted].reverse().sort(names.compareRepositoryNames)).toEqual(sorted);
});

test('both orders are orders', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '/', '-', '.'), maxLength: 6 });
  fc.assert(
    fc.property(text, text, text, (a, b, c) => {
      for (const compare of [names.compareBytes, names.compareRepositoryNames]) {
        expect(compare(a, b)).toBe(-compare(b, a) + 0);
        if (compare(a, b) < 0 && compare(b, c) < 0) expect(compare(a, c)).toBeLessThan(0);
        expect(compare(a, b) === 0).toBe(a === b);
      }
    }),
  );
});
