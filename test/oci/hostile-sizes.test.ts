/**
 * Documents and names that are made to be expensive (security 8 and 9). What is asserted is the answer; a
 * reader whose cost were quadratic would not come back within the runner's own limit.
 */
import { expect, test } from 'bun:test';
import { isDescriptorDigest, isDigest } from '../../src/oci/digest.ts';
import { MAX_MANIFEST_BYTES, parseManifest } from '../../src/oci/manifest.ts';
import { readStoredManifest } from '../../src/oci/stored-manifest.ts';
import { isRepositoryName, isTag } from '../../src/oci/name.ts';
import { descriptor, encode, image } from './manifest-fixtures.ts';

const M = MAX_MANIFEST_BYTES;

const DOCUMENTS: readonly (readonly [string, string, string])[] = [
  ['4 million open arrays', '['.repeat(M), 'deeper'],
  ['2 million nested arrays', '['.repeat(M / 2) + ']'.repeat(M / 2), 'deeper'],
  ['800 000 nested objects', '{"a":'.repeat(800_000), 'deeper'],
  ['1.3 million empty arrays', `{"x":[${'[],'.repeat(1_390_000)}0]}`, 'values'],
  ['500 000 small objects', `{"x":[${'{"a":0},'.repeat(520_000)}0]}`, 'values'],
  ['350 000 keys', `{${Array.from({ length: 350_000 }, (_, i) => `"k${i}":0`).join(',')}}`, 'values'],
  ['800 000 escapes', `{"x":[${'"\\n",'.repeat(820_000)}0]}`, 'values'],
  ['a string without an end', `{"x":"${'\\"'.repeat(M / 2 - 10)}`, 'without an end'],
  ['a number of 4 million digits', `{"x":${'1'.repeat(M - 10)}}`, 'schemaVersion'],
  ['nothing but white space', ' '.repeat(M), 'too early'],
];

test.each(DOCUMENTS)('%s', (_name, text, message) => {
  const bytes = encode(text);
  expect(bytes.length).toBeLessThanOrEqual(M);
  expect(() => parseManifest(bytes, undefined)).toThrow(message);
  expect(() => readStoredManifest(bytes)).toThrow('stored manifest');
});

test('a claimed size allocates nothing', () => {
  const layers = [descriptor({ size: Number.MAX_SAFE_INTEGER })];
  expect(parseManifest(encode(image({ layers })), undefined).layers[0]?.size).toBe(Number.MAX_SAFE_INTEGER);
});

test('long names, tags and digests are refused without work', () => {
  const long = ['a'.repeat(1e6), `${'a-'.repeat(1e5)}!`, 'a/'.repeat(1e5), `${'a__'.repeat(1e5)}A`];
  for (const text of [...long, ...long.map((part) => `sha256:${part}`), `${'a+'.repeat(1e5)}:x`]) {
    expect(isRepositoryName(text)).toBe(false);
    expect(isTag(text)).toBe(false);
    expect(isDigest(text)).toBe(false);
    expect(isDescriptorDigest(text)).toBe(false);
  }
  // As long as it gets past the length check, and as ambiguous as the grammar allows.
  for (const part of ['a-', 'a_', 'a.', 'a__', '-', 'aa']) {
    expect(isRepositoryName(`${part.repeat(255).slice(0, 254)}!`)).toBe(false);
  }
  expect(isDescriptorDigest(`${'a+'.repeat(511)}!`)).toBe(false);
});
