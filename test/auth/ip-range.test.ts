import { describe, expect, test } from 'bun:test';
import * as fc from 'fast-check';
import { ipRange, parseAddress, plainAddress } from '../../src/auth/ip-range.ts';

function isIn(address: string, ...blocks: readonly string[]): boolean {
  return ipRange(blocks)(parseAddress(address));
}

const TABLE: readonly (readonly [block: string, inside: readonly string[], outside: readonly string[]])[] = [
  [
    '10.0.0.0/8',
    ['10.0.0.0', '10.255.255.255', '::ffff:10.1.2.3', '::ffff:a01:203'],
    ['11.0.0.0', '9.9.9.9'],
  ],
  ['10.1.2.3/8', ['10.200.0.1'], ['11.1.2.3']],
  ['192.168.1.7', ['192.168.1.7', '::FFFF:192.168.1.7'], ['192.168.1.6', '192.168.1.8', '::192.168.1.7']],
  ['192.168.1.7/32', ['192.168.1.7'], ['192.168.1.6']],
  ['192.168.1.6/31', ['192.168.1.6', '192.168.1.7'], ['192.168.1.5', '192.168.1.8']],
  ['200.0.0.0/6', ['200.0.0.1', '203.255.255.255'], ['204.0.0.0', '199.255.255.255']],
  ['0.0.0.0/0', ['0.0.0.0', '255.255.255.255', '::ffff:1.2.3.4'], ['::1', '::', 'fd00::1']],
  [
    '::/0',
    ['::', '::1', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
    ['0.0.0.0', '10.0.0.1', '::ffff:10.0.0.1'],
  ],
  ['fd00::/8', ['fd00::1', 'FDff:1:2:3:4:5:6:7'], ['fe00::', 'fc00::1', '10.0.0.1']],
  ['2001:db8:0:8000::/49', ['2001:db8:0:8000::1', '2001:db8:0:ffff::'], ['2001:db8::', '2001:db8:1::']],
  ['::1', ['::1', '0:0:0:0:0:0:0:1', '::0.0.0.1'], ['::', '::2', '127.0.0.1']],
  ['fe80::/10', ['fe80::1', 'fe80::1%eth0', 'febf::'], ['fec0::']],
  ['::ffff:172.16.0.0/108', ['172.16.0.1', '172.31.255.255'], ['172.32.0.1', '172.15.255.255']],
  ['::ffff:0:0/96', ['1.2.3.4'], ['::1']],
  ['::ffff:10.0.0.0/90', ['::ffc0:0:1', '::fffe:a00:1'], ['10.0.0.1', '::1']],
  ['64:ff9b::10.0.0.0/104', ['64:ff9b::a00:1', '64:ff9b::10.9.9.9'], ['10.0.0.1', '64:ff9b::b00:1']],
];

describe('a block', () => {
  test.each(TABLE)('%s', (block, inside, outside) => {
    for (const address of inside) expect([address, isIn(address, block)]).toEqual([address, true]);
    for (const address of outside) expect([address, isIn(address, block)]).toEqual([address, false]);
  });

  test('one of several is enough, and none holds nothing', () => {
    const blocks = ['10.0.0.0/8', '192.168.1.7', 'fd00::/8'];
    for (const address of ['10.1.1.1', '192.168.1.7', 'fd12::']) expect(isIn(address, ...blocks)).toBe(true);
    expect(isIn('10.1.1.1')).toBe(false);
  });

  test.each(['', 'x', '10.0.0', '256.0.0.1', '10.0.0.1:80', '10.0.0.1 ', '%eth0', '1'])(
    'holds nothing that is no address: %p',
    (address) => {
      expect(parseAddress(address)).toBeUndefined();
      expect(isIn(address, '0.0.0.0/0', '::/0')).toBe(false);
    },
  );

  test.each([
    '',
    'x',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/',
    '10.0.0.0/8/8',
    '::/129',
    '10.0.0/8',
    '::/1e1',
  ])('is not made of %p', (block) => {
    expect(() => ipRange([block])).toThrow(`"${block}" is neither an address nor a block`);
  });
});

describe('against a model in bits', () => {
  const toBits = (groups: readonly number[], width: number) =>
    groups.map((group) => group.toString(2).padStart(width, '0')).join('');
  const near = <T>(value: fc.Arbitrary<T>) => fc.array(value, { minLength: 2, maxLength: 2 });

  test('IPv4', () => {
    const address = fc.array(fc.constantFrom(0, 1, 10, 127, 128, 255), { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(near(address), fc.integer({ min: 0, max: 32 }), ([one = [], other = []], size) => {
        const same = toBits(one, 8).slice(0, size) === toBits(other, 8).slice(0, size);
        expect(isIn(one.join('.'), `${other.join('.')}/${size}`)).toBe(same);
        expect(isIn(`::ffff:${one.join('.')}`, `::ffff:${other.join('.')}/${size + 96}`)).toBe(same);
      }),
      { numRuns: 1000 },
    );
  });

  test('IPv6, shortened or not', () => {
    const group = fc.constantFrom(0, 0, 0, 1, 0x8000, 0xffff);
    // The first group keeps clear of the addresses that stand for IPv4.
    const address = fc
      .tuple(fc.constantFrom(0x2001, 0xfd00), fc.array(group, { minLength: 7, maxLength: 7 }))
      .map(([first, rest]) => [first, ...rest]);
    const long = (groups: readonly number[]) => groups.map((each) => each.toString(16)).join(':');
    const short = (groups: readonly number[]) => new URL(`http://[${long(groups)}]`).hostname.slice(1, -1);
    fc.assert(
      fc.property(near(address), fc.integer({ min: 0, max: 128 }), ([one = [], other = []], size) => {
        const same = toBits(one, 16).slice(0, size) === toBits(other, 16).slice(0, size);
        expect(isIn(short(one), `${long(other)}/${size}`)).toBe(same);
        expect(isIn(long(one), `${short(other)}/${size}`)).toBe(same);
      }),
      { numRuns: 1000 },
    );
  });
});

test('an address in its usual form', () => {
  expect(plainAddress('::ffff:10.0.0.1')).toBe('10.0.0.1');
  expect(plainAddress('fe80::1%eth0')).toBe('fe80::1');
  expect(plainAddress('10.0.0.1')).toBe('10.0.0.1');
  expect(plainAddress('')).toBe('');
});
