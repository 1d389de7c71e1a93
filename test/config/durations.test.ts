import * as fc from 'fast-check';
import { describe, expect, test } from 'bun:test';
import { formatDuration, nanoseconds, parseDuration } from '../../src/config/durations.ts';

const HOUR = 3_600_000;

describe('parseDuration', () => {
  const right: readonly (readonly [string, number])[] = [
    ['0', 0],
    ['0s', 0],
    ['168h', 168 * HOUR],
    ['1h30m', 1.5 * HOUR],
    ['500ms', 500],
    ['1.5s', 1500],
    ['1.1s', 1100],
    ['.5m', 30_000],
    ['1.m', 60_000],
    ['+2s', 2000],
    ['-2s', -2000],
    ['1h2m3s4ms', HOUR + 123_004],
    ['30m1h', 1.5 * HOUR],
    ['1ns', 1],
    ['1us', 1],
    ['1500us', 2],
    ['1000µs', 1],
    ['1000μs', 1],
    ['2562047h', 2_562_047 * HOUR],
  ];
  test.each(right)('%s is %p ms', (text, ms) => expect(parseDuration(text)).toBe(ms));

  const wrong = [
    '',
    ' ',
    '5',
    '5 s',
    's',
    '.s',
    '1d',
    '1h-5m',
    '1H',
    '--1s',
    '1s ',
    '1e3s',
    '2562048h',
    '9'.repeat(400),
  ];
  test.each([...wrong, '1h'.repeat(60)])('%j is none', (text) => expect(parseDuration(text)).toBeUndefined());

  test('never gives a fraction or NaN', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...Array.from('0123456789.hmsnuµ-+')) }), (text) => {
        const ms = parseDuration(text);
        expect(ms === undefined || Number.isInteger(ms)).toBe(true);
      }),
    );
  });
});

test('nanoseconds are whole milliseconds, and only nothing is 0', () => {
  expect([0, 1, 1_000_000, 1_000_001, -1].map(nanoseconds)).toEqual([0, 1, 1, 2, -1]);
  expect(nanoseconds(1e300)).toBeUndefined();
});

describe('formatDuration', () => {
  test.each([
    [0, '0s'],
    [1, '1ms'],
    [1500, '1s500ms'],
    [168 * HOUR, '168h'],
    [1.5 * HOUR, '1h30m'],
    [-1000, '-1s'],
  ] as const)('%p is %s', (ms, text) => expect(formatDuration(ms)).toBe(text));

  test('is read back as the same', () => {
    fc.assert(
      fc.property(fc.integer({ min: -1e12, max: 1e12 }), (ms) => {
        expect(parseDuration(formatDuration(ms))).toBe(ms === 0 ? 0 : ms);
      }),
    );
  });
});
