import { describe, expect, test } from 'bun:test';
import { networkOf, Throttle } from '../../src/auth/throttle.ts';

const MINUTE = 60_000;

function throttled() {
  let now = 0;
  const throttle = new Throttle({ now: () => now });
  const fail = (times: number, account: string, address: string) => {
    for (let i = 0; i < times; i += 1) throttle.failed(account, address);
  };
  const waits = (account: string, address: string) => throttle.check(account, address)?.retryAfter;
  return { throttle, fail, waits, later: (ms: number) => (now += ms) };
}

describe('an account from an address', () => {
  test('has four wrong passwords free, then waits ever longer, up to 15 minutes', () => {
    const { fail, waits, later } = throttled();
    fail(4, 'alice', '10.0.0.1');
    expect(waits('alice', '10.0.0.1')).toBeUndefined();
    const seen: (number | undefined)[] = [];
    for (let i = 0; i < 13; i += 1) {
      fail(1, 'alice', '10.0.0.1');
      const wait = waits('alice', '10.0.0.1');
      seen.push(wait);
      later((wait ?? 0) * 1_000);
      expect(waits('alice', '10.0.0.1')).toBeUndefined();
    }
    expect(seen).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
  });

  test('is told whole seconds, and never none', () => {
    const { fail, waits, later } = throttled();
    fail(6, 'alice', '10.0.0.1');
    expect(waits('alice', '10.0.0.1')).toBe(2);
    later(1);
    expect(waits('alice', '10.0.0.1')).toBe(2);
    later(1_998);
    expect(waits('alice', '10.0.0.1')).toBe(1);
    later(1);
    expect(waits('alice', '10.0.0.1')).toBeUndefined();
  });

  test('gains nothing by guessing in parallel', () => {
    const { fail, waits } = throttled();
    fail(64, 'alice', '10.0.0.1');
    expect(waits('alice', '10.0.0.1')).toBe(900);
  });

  test('begins anew after a success, or after 15 minutes of quiet', () => {
    const { throttle, fail, waits, later } = throttled();
    fail(4, 'alice', '10.0.0.1');
    throttle.succeeded('alice', '10.0.0.1');
    fail(4, 'alice', '10.0.0.1');
    expect(waits('alice', '10.0.0.1')).toBeUndefined();
    later(15 * MINUTE);
    fail(4, 'alice', '10.0.0.1');
    expect(waits('alice', '10.0.0.1')).toBeUndefined();
    fail(1, 'alice', '10.0.0.1');
    expect(waits('alice', '10.0.0.1')).toBe(1);
  });

  test('does not begin anew just before', () => {
    const { fail, waits, later } = throttled();
    fail(4, 'alice', '10.0.0.1');
    later(15 * MINUTE - 1);
    fail(1, 'alice', '10.0.0.1');
    expect(waits('alice', '10.0.0.1')).toBe(1);
  });

  test('waits alone', () => {
    const { fail, waits } = throttled();
    fail(10, 'alice', '10.0.0.1');
    expect(waits('alice', '10.0.0.2')).toBeUndefined();
    expect(waits('bob', '10.0.0.1')).toBeUndefined();
  });
});

describe('an address', () => {
  test('has nineteen wrong passwords free, whatever the accounts', () => {
    const { throttle, fail, waits } = throttled();
    for (let i = 0; i < 19; i += 1) fail(1, `account-${i}`, '10.0.0.1');
    expect(waits('other', '10.0.0.1')).toBeUndefined();
    // A success in between is no way out.
    throttle.succeeded('mallory', '10.0.0.1');
    fail(1, 'account-19', '10.0.0.1');
    expect(waits('other', '10.0.0.1')).toBe(1);
    expect(waits('other', '10.0.0.2')).toBeUndefined();
  });

  test('of a unix socket is none', () => {
    const { fail, waits } = throttled();
    for (let i = 0; i < 99; i += 1) fail(1, `account-${i}`, '');
    expect(waits('other', '')).toBeUndefined();
    fail(5, 'alice', '');
    expect(waits('alice', '')).toBe(1);
  });

  test('in IPv6 is a network of 64 bits', () => {
    const { fail, waits } = throttled();
    for (let i = 0; i < 20; i += 1) fail(1, `account-${i}`, `2001:db8:0:1::${i.toString(16)}`);
    expect(waits('other', '2001:db8:0:1:ffff:ffff:ffff:ffff')).toBe(1);
    expect(waits('other', '2001:db8:0:2::1')).toBeUndefined();
  });

  test('has one form', () => {
    const forms: Readonly<Record<string, string>> = {
      '10.0.0.1': '10.0.0.1',
      '::ffff:10.0.0.1': '10.0.0.1',
      '::FFFF:10.0.0.1': '10.0.0.1',
      '::1': '0:0:0:0::/64',
      '::': '0:0:0:0::/64',
      '2001:DB8::1': '2001:db8:0:0::/64',
      '2001:0db8:0000:0000:1:2:3:4': '2001:db8:0:0::/64',
      '2001:db8:1:2:3::': '2001:db8:1:2::/64',
      '64:ff9b::10.0.0.1': '64:ff9b:0:0::/64',
      '1:2:3:4:5:6:10.0.0.1': '1:2:3:4::/64',
      'fe80::1%eth0': 'fe80:0:0:0::/64',
      '': '',
    };
    for (const [address, network] of Object.entries(forms)) expect(networkOf(address)).toBe(network);
  });
});

describe('an account', () => {
  test('that is guessed at from everywhere waits a little, and at most a minute', () => {
    const { fail, waits, later } = throttled();
    for (let i = 0; i < 99; i += 1) fail(1, 'alice', `10.0.0.${i}`);
    expect(waits('alice', '10.1.0.1')).toBeUndefined();
    fail(1, 'alice', '10.0.1.1');
    expect(waits('alice', '10.1.0.1')).toBe(1);
    expect(waits('bob', '10.1.0.1')).toBeUndefined();
    for (let i = 0; i < 250; i += 1) fail(1, 'alice', `10.0.2.${i}`);
    expect(waits('alice', '10.1.0.1')).toBe(60);
    later(MINUTE);
    expect(waits('alice', '10.1.0.1')).toBeUndefined();
  });

  test('is not locked out where it logged in before, neither by the account’s nor by the address’s failures', () => {
    const { throttle, fail, waits } = throttled();
    throttle.succeeded('alice', '10.0.0.1');
    for (let i = 0; i < 200; i += 1) fail(1, 'alice', `10.0.1.${i}`);
    for (let i = 0; i < 50; i += 1) fail(1, `account-${i}`, '10.0.0.1');
    expect(waits('alice', '10.0.0.1')).toBeUndefined();
    expect(waits('alice', '10.0.0.2')).toBeDefined();
    expect(waits('bob', '10.0.0.1')).toBeDefined();
    // Its own failures count there as everywhere.
    fail(5, 'alice', '10.0.0.1');
    expect(waits('alice', '10.0.0.1')).toBe(1);
  });

  test('without a name, as with a token, is not counted', () => {
    const { fail, waits } = throttled();
    fail(1_000, '', '10.0.0.1');
    expect(waits('', '10.0.0.1')).toBeUndefined();
    expect(waits('alice', '10.0.0.1')).toBeUndefined();
  });
});

test('memory is bounded, and who is at it now is not forgotten', () => {
  const { fail, waits } = throttled();
  fail(10, 'alice', '10.0.0.1');
  const before = waits('alice', '10.0.0.1');
  for (let i = 0; i < 60_000; i += 1) {
    fail(1, `${'x'.repeat(1_000)}-${i}`, `2001:db8:${(i >> 8).toString(16)}:${(i & 255).toString(16)}::1`);
    if (i % 1_000 === 0) expect(waits('alice', '10.0.0.1')).toBe(before);
  }
  expect(waits('alice', '10.0.0.1')).toBe(before);
});
