import { describe, expect, test } from 'bun:test';
import * as digests from '../../src/oci/digest.ts';

const HEX = 'a0'.repeat(32);
const GOOD = [`sha256:${HEX}`, `sha512:${HEX}${HEX}`];
const CARRIED = ['blake3:ab', 'x:Y=_-', 'sha256+b64u:AAAA', 'multihash+base58:QmRZ', 'sha384:abc'];
const BAD = [
  '',
  'sha256',
  'sha256:',
  `sha256:${HEX}0`,
  `sha256:${HEX.slice(1)}`,
  `sha512:${HEX}`,
  `sha256:${HEX.toUpperCase()}`,
  `SHA256:${HEX}`,
  ` sha256:${HEX}`,
  `sha256:${HEX}\n`,
  `sha256:${HEX}\0`,

  `sha256:../${HEX.slice(3)}`,
  `sha256:${HEX.slice(1)}\u00e9`,
  'a+:b',
  '+a:b',
  'a++b:c',
  'a:b:c',
  'a:b/c',
  'A:b',
];

describe('which text is a digest', () => {
  test.each(GOOD)('%s may be stored under', (text) => {
    expect(digests.isDigest(text)).toBe(true);
    expect(digests.isDescriptorDigest(text)).toBe(true);
    expect(digests.parseDigest(text) as string).toBe(text);
  });
  test.each(CARRIED)('%s may only be carried', (text) => {
    expect(digests.isDigest(text)).toBe(false);
    expect(digests.isDescriptorDigest(text)).toBe(true);
    expect(() => digests.parseDigest(text)).toThrow('digest');
  });
  test.each(BAD)('%j is none', (text) => {
    expect(digests.isDigest(text)).toBe(false);
    expect(digests.isDescriptorDigest(text)).toBe(false);
    expect(() => digests.parseDigest(text)).toThrow('digest');
  });
});

test('a refused digest is a DIGEST_INVALID that shows no more than 256 letters of it', () => {
  try {
    digests.parseDigest('x'.repeat(10_000));
    expect.unreachable();
  } catch (error) {
    expect(error).toMatchObject({ code: 'DIGEST_INVALID', detail: { digest: 'x'.repeat(256) } });
  }
});

test('a digest is taken apart and put together', () => {
  for (const text of GOOD) {
    const digest = digests.parseDigest(text);
    expect(digests.digestOf(digests.algorithmOf(digest), digests.hexOf(digest))).toBe(digest);
  }
});

test('algorithms', () => {
  expect(digests.parseAlgorithm('sha512')).toBe('sha512');
  for (const text of ['', 'sha1', 'SHA256', 'sha256 ', 'md5']) {
    expect(() => digests.parseAlgorithm(text)).toThrow('algorithm');
  }
});
