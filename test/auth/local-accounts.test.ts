import { describe, expect, test } from 'bun:test';
import { compareSync, hashSync } from 'bcryptjs';
import { parseHtpasswd } from '../../src/auth/htpasswd.ts';
import { LocalAccounts, type LocalAccountsOptions } from '../../src/auth/local-accounts.ts';
import type { PasswordJob } from '../../src/auth/password-thread.ts';
import { PasswordCheck } from '../../src/auth/passwords.ts';

const ONE = hashSync('one', 4);
const TWO = hashSync('two', 5);

/** Accounts with every comparison counted. */
function accountsOf(options: Partial<LocalAccountsOptions> = {}) {
  const jobs: PasswordJob[] = [];
  const warnings: string[] = [];
  const passwords = new PasswordCheck({
    check: (job) => {
      jobs.push(job);
      return Promise.resolve(compareSync(job.password, job.hash));
    },
  });
  const log = { warn: (message: string) => void warnings.push(message) };
  const accounts = new LocalAccounts({ users: [], groups: {}, files: [], passwords, log, ...options });
  const login = (account: string, password: string) =>
    accounts.authenticate({ kind: 'password', account, password });
  return { accounts, login, jobs, warnings };
}

const file = (text: string) => ({ content: parseHtpasswd(text) });
const user = (name: string, passwordHash: string, groups: readonly string[] = []) => ({
  name,
  passwordHash,
  groups,
});

describe('a login', () => {
  test('is answered with the identity, refused, or not known here', async () => {
    const { login } = accountsOf({ users: [user('alice', ONE, ['dev'])], files: [file(`bob:${TWO}`)] });
    expect(await login('alice', 'one')).toEqual({ account: 'alice', groups: ['dev'], method: 'password' });
    expect(await login('bob', 'two')).toEqual({ account: 'bob', groups: [], method: 'password' });
    expect(await login('alice', 'two')).toBe('refused');
    expect(await login('bob', '')).toBe('refused');
    expect(await login('carol', 'one')).toBeUndefined();
  });

  test('by anything but a password is not known here', async () => {
    const { accounts, jobs } = accountsOf({ users: [user('alice', ONE)] });
    expect(await accounts.authenticate({ kind: 'bearer', token: 'one' })).toBeUndefined();
    expect(jobs).toEqual([]);
  });

  test('with names that no account can have never fits', async () => {
    const odd = ['', '*', 'a b', 'alice\n', 'alice:x', '__proto__\0', 'a'.repeat(129)];
    const { login, accounts, warnings } = accountsOf({ users: odd.map((name) => user(name, ONE)) });
    for (const name of odd) {
      expect(await login(name, 'one')).toBeUndefined();
      expect(accounts.find(name)).toBeUndefined();
    }
    expect(warnings.length).toBe(odd.length);
  });

  test('with names that objects have does not fit', async () => {
    const { login, accounts } = accountsOf({ groups: { constructor: ['x'] } });
    for (const name of ['constructor', '__proto__', 'toString']) {
      expect(await login(name, 'one')).toBeUndefined();
      expect(accounts.find(name)).toBeUndefined();
    }
  });

  test('costs the same whether the password is wrong or the account unknown', async () => {
    const { login, jobs } = accountsOf({ users: [user('alice', ONE)], files: [file(`bob:${TWO}`)] });
    for (const name of ['alice', 'bob', 'carol', 'not a name']) await login(name, 'wrong');
    // One comparison each, of which each takes as long as the highest cost among the accounts. What can be no account's
    // name has nothing to give away.
    expect(jobs.map(({ cost }) => cost)).toEqual([5, 5, 5]);
  });

  test('of an unknown account costs nothing where a directory is asked next', async () => {
    const { login, jobs } = accountsOf({ users: [user('alice', ONE)], followed: true });
    expect(await login('carol', 'wrong')).toBeUndefined();
    expect(jobs).toEqual([]);
    expect(await login('alice', 'wrong')).toBe('refused');
    expect(jobs.length).toBe(1);
  });

  test('costs one comparison for a whole push', async () => {
    const { login, jobs } = accountsOf({ users: [user('alice', ONE)] });
    const logins = await Promise.all(Array.from({ length: 200 }, () => login('alice', 'one')));
    for (let i = 0; i < 200; i += 1) logins.push(await login('alice', 'one'));
    expect(logins.every((identity) => typeof identity === 'object')).toBe(true);
    expect(jobs.length).toBe(1);
  });
});

describe('an account', () => {
  test('of the configuration counts before one of a file, and of the first file before the second', async () => {
    const { login, accounts } = accountsOf({
      users: [user('alice', ONE)],
      files: [file(`alice:${TWO}\nbob:${ONE}`), file(`bob:${TWO}\ncarol:${TWO}`)],
    });
    expect(await login('alice', 'one')).toMatchObject({ account: 'alice' });
    expect(await login('alice', 'two')).toBe('refused');
    expect(await login('bob', 'one')).toMatchObject({ account: 'bob' });
    expect(await login('bob', 'two')).toBe('refused');
    expect(accounts.find('carol')?.name).toBe('carol');
  });

  test('is in its own groups and in those that name it, once', () => {
    const { accounts } = accountsOf({
      users: [user('alice', ONE, ['dev', 'ops'])],
      groups: { dev: ['alice', 'bob'], admins: ['alice', 'bob', 'nobody'] },
      files: [file(`bob:${TWO}`)],
    });
    expect(accounts.find('alice')?.groups).toEqual(['dev', 'ops', 'admins']);
    expect(accounts.find('bob')?.groups).toEqual(['dev', 'admins']);
    expect(accounts.find('nobody')).toBeUndefined();
  });

  test('has a fingerprint that changes with its password and does not tell the hash', () => {
    const of = (hash: string) =>
      accountsOf({ users: [user('alice', hash)] }).accounts.find('alice')?.fingerprint;
    expect(of(ONE)).toMatch(/^[\w-]{16}$/);
    expect(of(ONE)).toBe(of(ONE) ?? '');
    expect(of(ONE)).not.toBe(of(TWO) ?? '');
    expect(ONE).not.toContain(of(ONE) ?? ONE);
  });

  test('of a file comes, changes and goes with it', async () => {
    const changing = { content: parseHtpasswd('') };
    const { login, accounts, jobs } = accountsOf({ files: [changing] });
    expect(await login('bob', 'one')).toBeUndefined();
    expect(jobs.at(-1)?.cost).toBe(10);
    changing.content = parseHtpasswd(`bob:${ONE}`);
    expect(await login('bob', 'one')).toMatchObject({ account: 'bob' });
    changing.content = parseHtpasswd(`bob:${TWO}`);
    expect(await login('bob', 'one')).toBe('refused');
    changing.content = parseHtpasswd('');
    expect(await login('bob', 'two')).toBeUndefined();
    expect(accounts.find('bob')).toBeUndefined();
  });

  test('with an unusable hash cannot log in, which is told at the start', async () => {
    const { login, accounts, warnings } = accountsOf({
      users: [user('alice', ONE.replace('$04$', '$31$')), user('bob', '')],
    });
    expect(await login('alice', 'one')).toBeUndefined();
    expect(await login('bob', '')).toBeUndefined();
    expect(accounts.find('alice')).toBeUndefined();
    expect(warnings.length).toBe(2);
  });
});
