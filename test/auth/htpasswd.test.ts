import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import {
  chmod,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { dirname } from 'node:path';
import { compareSync, hashSync } from 'bcryptjs';
import { createHtpasswd, removeHtpasswdUser, setHtpasswdUser } from '../../src/auth/change-htpasswd.ts';
import { HtpasswdFile } from '../../src/auth/htpasswd-file.ts';
import { parseHtpasswd, withAccount, withoutAccount } from '../../src/auth/htpasswd.ts';
import { failureOf } from '../harness/failure-of.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

const ONE = hashSync('one', 4);
const TWO = hashSync('two', 5);

let workspace: Workspace;
let number = 0;
beforeAll(async () => {
  workspace = await createWorkspace('htpasswd');
});
afterAll(() => workspace.remove());

/** A path where nothing is yet, in a folder of its own. */
async function fresh(): Promise<string> {
  number += 1;
  return `${await workspace.folder(String(number))}/htpasswd`;
}

describe('the text', () => {
  test('gives accounts, whatever its line ends, with blanks and comments', () => {
    const text = `# our people\r\n\r\nalice:${ONE}\r\n  bob:${TWO}  \r\n#carol:${ONE}\r\n`;
    const { hashes, highestCost, warning } = parseHtpasswd(text);
    expect([...hashes]).toEqual([
      ['alice', ONE],
      ['bob', TWO],
    ]);
    expect(highestCost).toBe(5);
    expect(warning).toBeUndefined();
  });

  test('without a last line end, with remarks behind the hash, with nothing', () => {
    expect(parseHtpasswd(`alice:${ONE}`).hashes.get('alice')).toBe(ONE);
    expect(parseHtpasswd(`alice:${ONE}:Alice A.`).hashes.get('alice')).toBe(ONE);
    expect(parseHtpasswd('')).toEqual({ hashes: new Map(), highestCost: 0, warning: undefined });
  });

  test('names the lines that do not count, without their content', () => {
    const text = [
      `alice:${ONE}`,
      'bob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=',
      'carol:$apr1$abcdefgh$0123456789012345678901',
      'nonsense',
      `two words:${ONE}`,
      `*:${ONE}`,
      `:${ONE}`,
      `dora:${ONE.replace('$04$', '$31$')}`,
    ].join('\n');
    const { hashes, warning } = parseHtpasswd(text);
    expect([...hashes.keys()]).toEqual(['alice']);
    expect(warning).toStartWith(
      'lines 2, 3, 4, 5, 6, 7, 8 are ignored: expected NAME:HASH with a bcrypt hash',
    );
    expect(parseHtpasswd('x\n'.repeat(500)).warning).toContain('9, 10, … are');
    expect(parseHtpasswd('x').warning).toStartWith('line 1 is ignored');
  });

  test('counts the last of several lines, even if it takes the password away', () => {
    expect(parseHtpasswd(`alice:${ONE}\nalice:${TWO}\n`).hashes.get('alice')).toBe(TWO);
    expect(parseHtpasswd(`alice:${ONE}\nalice:!\n`).hashes.size).toBe(0);
    expect(parseHtpasswd(`alice:!\nalice:${ONE}\n`).hashes.size).toBe(1);
  });

  test('has no account that nobody wrote', () => {
    const { hashes } = parseHtpasswd(`__proto__:${ONE}\n`);
    expect(hashes.get('constructor')).toBeUndefined();
    expect(hashes.get('__proto__')).toBe(ONE);
  });

  test('is changed in one line only', () => {
    const text = `# people\r\nalice:${ONE}\r\nrubbish\r\nalice:old\r\nbob:x\r\n`;
    expect(withAccount(text, 'alice', TWO)).toBe(`# people\r\nrubbish\r\nalice:${TWO}\r\nbob:x\r\n`);
    expect(withAccount(text, 'carol', TWO)).toBe(`${text}carol:${TWO}\r\n`);
    expect(withoutAccount(text, 'alice')).toBe('# people\r\nrubbish\r\nbob:x\r\n');
    expect(withAccount('# x', 'alice', ONE)).toBe(`# x\nalice:${ONE}\n`);
    expect(withAccount('', 'alice', ONE)).toBe(`alice:${ONE}\n`);
    expect(withAccount(`alicea:x\n`, 'alice', ONE)).toBe(`alicea:x\nalice:${ONE}\n`);
  });
});

/** A file that is followed, with a clock that is far from the file's own times unless moved there. */
async function followed(text: string | undefined) {
  const path = await fresh();
  if (text !== undefined) await put(path, text);
  const lines: string[] = [];
  const log = (level: string) => (message: string) =>
    void lines.push(`${level} ${message.replace(path, 'FILE')}`);
  let now = Date.now();
  const file = new HtpasswdFile(path, {
    log: { info: log('info'), warn: log('warn'), error: log('error') },
    now: () => now,
  });
  return {
    path,
    file,
    lines,
    later: (ms = 1_000) => (now += ms),
    accounts: () => [...file.content.hashes.keys()],
  };
}

/** Writes a file in place, as if an hour ago: so that it counts as settled. */
let age = 3_600_000;
async function put(path: string, text: string | Uint8Array): Promise<void> {
  await writeFile(path, text);
  age -= 1_000;
  const time = new Date(Date.now() - age);
  await utimes(path, time, time);
}

describe('a file', () => {
  test('is read again when it changes, a second later at most', async () => {
    const { path, accounts, later, lines } = await followed(`alice:${ONE}\n`);
    expect(accounts()).toEqual(['alice']);
    await put(path, `bob:${ONE}\n`);
    later(999);
    expect(accounts()).toEqual(['alice']);
    later(1);
    expect(accounts()).toEqual(['bob']);
    expect(lines).toEqual([]);
  });

  test('that was there before this process and is not any more is told at once, and gives no accounts', async () => {
    const lines: string[] = [];
    const log = (message: string) => void lines.push(message);
    const path = await fresh();
    const file = new HtpasswdFile(path, { log: { info: log, warn: log, error: log }, isExpected: true });
    const missing = `${path} cannot be read: there is no such file any more; it gives no accounts to this process`;
    expect(lines).toEqual([missing]);
    expect(file.content.hashes.size).toBe(0);
    expect(lines).toEqual([missing]);
  });

  test('is not read again when it does not, nor when its content stays the same', async () => {
    const { path, file, later } = await followed(`alice:${ONE}\n`);
    const first = file.content;
    later();
    expect(file.content).toBe(first);
    await put(path, `# more\nalice:${ONE}\n`);
    later();
    expect(file.content).toBe(first);
  });

  test('is read again after being replaced by one of the same size and time', async () => {
    const { path, accounts, later } = await followed(`alice:${ONE}\n`);
    expect(accounts()).toEqual(['alice']);
    const { atime, mtime } = await stat(path);
    await writeFile(`${path}.new`, `carol:${ONE}\n`);
    await utimes(`${path}.new`, atime, mtime);
    await rename(`${path}.new`, path);
    later();
    expect(accounts()).toEqual(['carol']);
  });

  test('that is not there has no accounts, and they come with it', async () => {
    const { path, accounts, later, lines } = await followed(undefined);
    expect(accounts()).toEqual([]);
    await put(path, `alice:${ONE}\n`);
    later();
    expect(accounts()).toEqual(['alice']);
    expect(lines).toEqual([]);
  });

  test('that goes away or turns unreadable leaves the accounts as they were, and says so once', async () => {
    const { path, accounts, later, lines } = await followed(`alice:${ONE}\n`);
    expect(accounts()).toEqual(['alice']);
    await rm(path);
    for (let i = 0; i < 3; i += 1) {
      later();
      expect(accounts()).toEqual(['alice']);
    }
    await put(path, new Uint8Array([0x61, 0x3a, 0xff, 0xfe]));
    for (let i = 0; i < 3; i += 1) {
      later();
      expect(accounts()).toEqual(['alice']);
    }
    await rm(path);
    await mkdir(path);
    later();
    expect(accounts()).toEqual(['alice']);
    await rm(path, { recursive: true });
    await put(path, `bob:${ONE}\n`);
    later();
    expect(accounts()).toEqual(['bob']);
    const kept = 'the accounts that it had before go on being good';
    expect(lines).toEqual([
      `error FILE cannot be read: there is no such file any more; ${kept}`,
      `error FILE cannot be read: it is not UTF-8 text; ${kept}`,
      `error FILE cannot be read: it is no file; ${kept}`,
      'info FILE can be read again',
    ]);
  });

  test('that is no text from the start has no accounts', async () => {
    const { accounts, lines } = await followed(`alice:${ONE}\n\0\n`);
    expect(accounts()).toEqual([]);
    expect(lines).toEqual([
      'error FILE cannot be read: it holds a NUL, as no text does; it gives no accounts to this process',
    ]);
  });

  test('warns of the same lines once', async () => {
    const { path, accounts, later, lines } = await followed(`alice:${ONE}\nbob:x\n`);
    expect(accounts()).toEqual(['alice']);
    await put(path, `alice:${TWO}\nbob:y\n`);
    later();
    expect(accounts()).toEqual(['alice']);
    expect(lines.length).toBe(1);
    expect(lines[0]).toStartWith('warn FILE: line 2 is ignored');
  });

  test('that has just been emptied is perhaps being written', async () => {
    const { path, accounts, later } = await followed(`alice:${ONE}\n`);
    expect(accounts()).toEqual(['alice']);
    await writeFile(path, '');
    later(1_000);
    expect(accounts()).toEqual(['alice']);
    later(60_000);
    expect(accounts()).toEqual([]);
  });
});

describe('changes', () => {
  test('make the file and its folders for their owner only', async () => {
    const path = (await fresh()).replace('htpasswd', 'state/deep/htpasswd');
    expect(await setHtpasswdUser(path, 'alice', ONE)).toBe(true);
    expect(await readFile(path, 'utf8')).toBe(`alice:${ONE}\n`);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(dirname(path))).mode & 0o777).toBe(0o700);
    expect(await readdir(dirname(path))).toEqual(['htpasswd']);
  });

  test('keep everything else, and the file’s mode', async () => {
    const path = await fresh();
    await writeFile(path, `\uFEFF# people\nbob:x\nalice:${ONE}\n`);
    await chmod(path, 0o640);
    expect(await setHtpasswdUser(path, 'alice', TWO)).toBe(true);
    expect(await removeHtpasswdUser(path, 'bob')).toBe(true);
    expect(await readFile(path, 'utf8')).toBe(`\uFEFF# people\nalice:${TWO}\n`);
    expect((await stat(path)).mode & 0o777).toBe(0o640);
    expect(await readdir(dirname(path))).toEqual(['htpasswd']);
  });

  test('can be asked for new accounts, or for present ones, only', async () => {
    const path = await fresh();
    expect(await setHtpasswdUser(path, 'alice', ONE, { only: 'present' })).toBe(false);
    expect(await setHtpasswdUser(path, 'alice', ONE, { only: 'new' })).toBe(true);
    expect(await setHtpasswdUser(path, 'alice', TWO, { only: 'new' })).toBe(false);
    expect(await setHtpasswdUser(path, 'alice', TWO, { only: 'present' })).toBe(true);
    expect(await removeHtpasswdUser(path, 'bob')).toBe(false);
    expect(await readFile(path, 'utf8')).toBe(`alice:${TWO}\n`);
  });

  test('go through a link to the file', async () => {
    const path = await fresh();
    await writeFile(`${path}.real`, `alice:${ONE}\n`);
    await symlink(`${path}.real`, path);
    expect(await setHtpasswdUser(path, 'bob', TWO)).toBe(true);
    expect(await readFile(`${path}.real`, 'utf8')).toBe(`alice:${ONE}\nbob:${TWO}\n`);
  });

  test('leave alone a file that is no text', async () => {
    const path = await fresh();
    await writeFile(path, new Uint8Array([0xff, 0xfe]));
    expect((await failureOf(setHtpasswdUser(path, 'alice', ONE))).message).toBe('the file is not UTF-8 text');
    expect(await readdir(dirname(path))).toEqual(['htpasswd']);
  });

  test('made at the same moment are all made', async () => {
    const path = await fresh();
    const names = Array.from({ length: 20 }, (_, i) => `account-${i}`);
    await Promise.all(names.map((name) => setHtpasswdUser(path, name, ONE)));
    await Promise.all(names.slice(10).map((name) => removeHtpasswdUser(path, name)));
    expect([...parseHtpasswd(await readFile(path, 'utf8')).hashes.keys()].sort()).toEqual(
      names.slice(0, 10).sort(),
    );
    expect(await readdir(dirname(path))).toEqual(['htpasswd']);
  });

  test('go on after a crash that left the lock behind', async () => {
    const path = await fresh();
    // A process of this machine that is no more, and one that did not get to write its name.
    const gone = `${(await import('../../src/process-identity.ts')).PROCESS.split('-')[0]}-999999999-1`;
    await writeFile(`${path}.lock`, gone);
    const names = Array.from({ length: 5 }, (_, i) => `account-${i}`);
    await Promise.all(names.map((name) => setHtpasswdUser(path, name, ONE)));
    expect(parseHtpasswd(await readFile(path, 'utf8')).hashes.size).toBe(5);
    await writeFile(`${path}.lock`, '');
    await utimes(`${path}.lock`, new Date(0), new Date(0));
    expect(await removeHtpasswdUser(path, 'account-0')).toBe(true);
    expect(await readdir(dirname(path))).toEqual(['htpasswd']);
  });
});

describe('a missing file', () => {
  test('is made once, with an account that is told once', async () => {
    const path = (await fresh()).replace('htpasswd', 'state/htpasswd');
    const made = await Promise.all(Array.from({ length: 8 }, () => createHtpasswd(path, 4)));
    const told = made.filter((each) => each !== undefined);
    expect(told.length).toBe(1);
    expect(told[0]?.account).toBe('docker');
    expect(told[0]?.password).toMatch(/^[\w-]{43}$/);
    const { hashes } = parseHtpasswd(await readFile(path, 'utf8'));
    expect([...hashes.keys()]).toEqual(['docker']);
    expect(compareSync(told[0]?.password ?? '', hashes.get('docker') ?? '')).toBe(true);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(dirname(path))).toEqual(['htpasswd']);
    expect(await createHtpasswd(path, 4)).toBeUndefined();
  });

  test('that is there after all, even empty, is left alone', async () => {
    const path = await fresh();
    await writeFile(path, '');
    expect(await createHtpasswd(path, 4)).toBeUndefined();
    expect(await readFile(path, 'utf8')).toBe('');
  });
});
