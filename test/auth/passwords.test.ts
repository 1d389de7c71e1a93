import { describe, expect, test } from 'bun:test';
import { compareSync, hashSync } from 'bcryptjs';
import { costOf, dummyHash, faultOf, hashPassword } from '../../src/auth/bcrypt.ts';
import { type PasswordJob, PasswordThread } from '../../src/auth/password-thread.ts';
import { PasswordCheck } from '../../src/auth/passwords.ts';
import { RegistryError } from '../../src/oci/errors.ts';
import { failureOf } from '../harness/failure-of.ts';

const HASH = hashSync('secret', 4);

/** Counts what is compared, on this thread. */
function counting() {
  const jobs: PasswordJob[] = [];
  let now = 0;
  const passwords = new PasswordCheck({
    check: (job) => {
      jobs.push(job);
      return Promise.resolve(compareSync(job.password, job.hash));
    },
    now: () => now,
  });
  return { jobs, passwords, advance: (by: number) => (now += by) };
}

describe('stored passwords', () => {
  test('of all three revisions are taken, others are not', () => {
    for (const revision of ['a', 'b', 'y']) expect(costOf(`$2${revision}${HASH.slice(3)}`)).toBe(4);
    const others = [
      '',
      'secret',
      `$2x${HASH.slice(3)}`,
      `$2${HASH.slice(3)}`,
      HASH.slice(0, -1),
      `${HASH}a`,
      `${HASH}\n`,
      '{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=',
      '$apr1$abcdefgh$0123456789012345678901',
    ];
    for (const other of others) expect(costOf(other)).toBeUndefined();
  });

  test('of a cost that would hold up everybody are not taken', () => {
    expect(costOf(HASH.replace('$04$', '$16$'))).toBe(16);
    for (const cost of ['00', '03', '17', '31', '99']) {
      expect(costOf(HASH.replace('$04$', `$${cost}$`))).toBeUndefined();
    }
  });

  test('are made only of what can be typed and checked whole', async () => {
    expect(costOf(await hashPassword('pässword', 4))).toBe(4);
    expect(compareSync('a'.repeat(72), await hashPassword('a'.repeat(72), 4))).toBe(true);
    for (const bad of ['', 'a'.repeat(73), 'ä'.repeat(37), 'a\0b', 'a\nb', 'a\tb', '\u007F']) {
      expect(faultOf(bad)).toBeDefined();
      expect(await failureOf(hashPassword(bad, 4))).toBeInstanceOf(RangeError);
    }
    for (const cost of [3, 17, 4.5, Number.NaN]) {
      expect(await failureOf(hashPassword('x', cost))).toBeInstanceOf(RangeError);
    }
  });

  test('that are stand-ins have a cost and fit no password', () => {
    expect(costOf(dummyHash(4))).toBe(4);
    expect(compareSync('', dummyHash(4))).toBe(false);
  });
});

describe('a check', () => {
  test('knows right from wrong in the thread, for every revision', async () => {
    const passwords = new PasswordCheck();
    for (const revision of ['a', 'b', 'y']) {
      const hash = `$2${revision}${HASH.slice(3)}`;
      expect(await passwords.verify('alice', 'secret', hash)).toBe(true);
      expect(await passwords.verify('alice', 'Secret', hash)).toBe(false);
    }
    expect(await passwords.verify('alice', 'secret', undefined, 4)).toBe(false);
  });

  test('compares as bcrypt does: by the first 72 bytes', async () => {
    const { passwords } = counting();
    const hash = hashSync('a'.repeat(80), 4);
    expect(await passwords.verify('alice', 'a'.repeat(80), hash)).toBe(true);
    expect(await passwords.verify('alice', 'a'.repeat(72), hash)).toBe(true);
    expect(await passwords.verify('alice', 'a'.repeat(71), hash)).toBe(false);
  });

  test('refuses at once what is too long or has a NUL, whether or not there is such an account', async () => {
    const { passwords, jobs } = counting();
    for (const password of ['a'.repeat(1025), 'ä'.repeat(513), 'secret\0', '\0']) {
      expect(await passwords.verify('alice', password, HASH)).toBe(false);
      expect(await passwords.verify('nobody', password, undefined)).toBe(false);
    }
    expect(jobs).toEqual([]);
    expect(await passwords.verify('alice', '\u{D800}', HASH)).toBe(false);
  });

  test('costs the same for an unknown account, an unusable hash and a wrong password', async () => {
    const { passwords, jobs } = counting();
    await passwords.verify('alice', 'wrong', HASH, 6);
    await passwords.verify('nobody', 'wrong', undefined, 6);
    await passwords.verify('bob', 'wrong', '{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=', 6);
    expect(jobs.map(({ cost }) => cost)).toEqual([6, 6, 6]);
    expect(jobs.map(({ hash }) => costOf(hash))).toEqual([4, 6, 6]);
  });

  test('of an unknown account takes the usual cost unless told otherwise', async () => {
    const jobs: PasswordJob[] = [];
    const passwords = new PasswordCheck({ check: (job) => Promise.resolve(jobs.push(job) > 1000) });
    await passwords.verify('nobody', 'wrong', undefined);
    expect(jobs.map(({ cost, hash }) => [cost, costOf(hash)])).toEqual([[10, 10]]);
  });

  test('of an unknown account fails even if the comparison does not', async () => {
    const passwords = new PasswordCheck({ check: () => Promise.resolve(true) });
    expect(await passwords.verify('nobody', 'x', undefined)).toBe(false);
    expect(await passwords.verify('nobody', 'x', undefined)).toBe(false);
  });
});

describe('what is remembered', () => {
  test('is a right password, for five minutes', async () => {
    const { passwords, jobs, advance } = counting();
    for (let i = 0; i < 100; i += 1) expect(await passwords.verify('alice', 'secret', HASH)).toBe(true);
    expect(jobs.length).toBe(1);
    advance(5 * 60_000 - 1);
    expect(await passwords.verify('alice', 'secret', HASH)).toBe(true);
    expect(jobs.length).toBe(1);
    advance(1);
    expect(await passwords.verify('alice', 'secret', HASH)).toBe(true);
    expect(jobs.length).toBe(2);
  });

  test('is never a wrong one', async () => {
    const { passwords, jobs } = counting();
    for (let i = 0; i < 3; i += 1) expect(await passwords.verify('alice', 'wrong', HASH)).toBe(false);
    expect(jobs.length).toBe(3);
  });

  test('does not outlive the stored hash, nor the account, and is nobody else’s', async () => {
    const { passwords, jobs } = counting();
    expect(await passwords.verify('alice', 'secret', HASH)).toBe(true);
    expect(await passwords.verify('alice', 'secret', hashSync('other', 4))).toBe(false);
    expect(await passwords.verify('alice', 'secret', undefined, 4)).toBe(false);
    expect(await passwords.verify('bob', 'secret', HASH)).toBe(true);
    expect(jobs.length).toBe(4);
  });

  test('is bounded', async () => {
    let jobs = 0;
    const passwords = new PasswordCheck({ check: () => Promise.resolve((jobs += 1) > 0) });
    for (let i = 0; i <= 10_000; i += 1) await passwords.verify(`account-${i}`, 'x', HASH);
    expect(jobs).toBe(10_001);
    await passwords.verify('account-10000', 'x', HASH);
    expect(jobs).toBe(10_001);
    await passwords.verify('account-0', 'x', HASH);
    expect(jobs).toBe(10_002);
  });
});

describe('many at the same moment', () => {
  test('share a check if they ask the same', async () => {
    const { passwords, jobs } = counting();
    const same = Array.from({ length: 50 }, () => passwords.verify('alice', 'secret', HASH));
    const wrong = Array.from({ length: 50 }, () => passwords.verify('alice', 'wrong', HASH));
    const unknown = Array.from({ length: 50 }, () => passwords.verify('nobody', 'wrong', undefined, 4));
    expect((await Promise.all([...same, ...wrong, ...unknown])).filter(Boolean).length).toBe(50);
    expect(jobs.length).toBe(3);
  });

  test('wait in a line that has an end', async () => {
    const thread = new PasswordThread();
    const job = { password: 'secret', hash: HASH, cost: 4 };
    const checks = Array.from({ length: 64 }, () => thread.check(job));
    const error = await failureOf(thread.check(job));
    expect(error).toBeInstanceOf(RegistryError);
    expect(error).toMatchObject({ code: 'TOOMANYREQUESTS', headers: { 'Retry-After': '2' } });
    expect((await Promise.all(checks)).every(Boolean)).toBe(true);
    expect(await thread.check(job)).toBe(true);
  });

  test('do not share a failure to check with those who come later', async () => {
    let isBroken = true;
    const passwords = new PasswordCheck({
      check: () => (isBroken ? Promise.reject(new Error('broken')) : Promise.resolve(true)),
    });
    expect((await failureOf(passwords.verify('alice', 'secret', HASH))).message).toBe('broken');
    isBroken = false;
    expect(await passwords.verify('alice', 'secret', HASH)).toBe(true);
  });
});

test('the thread tells a failure and goes on', async () => {
  const thread = new PasswordThread();
  // No hash of a stored account gets here unchecked; bcryptjs throws for this one.
  const bad = thread.check({ password: 'x', hash: `$9b$04$${'.'.repeat(53)}`, cost: 4 });
  expect((await failureOf(bad)).name).toBe('AuthenticationUnavailable');
  expect(await thread.check({ password: 'secret', hash: HASH, cost: 4 })).toBe(true);
});
