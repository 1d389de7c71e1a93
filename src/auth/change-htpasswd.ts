/** Changes of htpasswd files: whole or not at all, one at a time, and nothing but the account's line. */
import { randomBytes } from 'node:crypto';
import { chown, link, mkdir, open, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DEFAULT_COST, hashPassword } from './bcrypt.ts';
import { withFileLock } from '../file-lock.ts';
import { mentions, withAccount, withoutAccount } from './htpasswd.ts';

/** The account of a file that was missing: the name that `registry:2` gives it. */
const FIRST_ACCOUNT = 'docker';

/**
 * Stores an account's password hash; makes the file (mode 0600) and its folders (0700) when they are missing.
 * `only` restricts it to accounts that are not there yet, or that are.
 * @returns whether it was done
 * @throws Error of the file system, or when somebody else holds the file's lock
 */
export async function setHtpasswdUser(
  path: string,
  name: string,
  hash: string,
  { only }: { readonly only?: 'new' | 'present' } = {},
): Promise<boolean> {
  return await change(path, (text) => {
    if (only !== undefined && mentions(text, name) !== (only === 'present')) return undefined;
    return withAccount(text, name, hash);
  });
}

/**
 * Removes an account's lines.
 * @returns whether there were any
 * @throws as `setHtpasswdUser`
 */
export async function removeHtpasswdUser(path: string, name: string): Promise<boolean> {
  return await change(path, (text) => (mentions(text, name) ? withoutAccount(text, name) : undefined));
}

/**
 * Makes the file if it is missing, with one account and a random password, as `registry:2` does. Of several processes
 * that do so at once, one makes it.
 * @returns the account, which nobody can be told again; undefined when there is a file
 * @throws Error of the file system
 */
export async function createHtpasswd(
  path: string,
  cost = DEFAULT_COST,
  account = FIRST_ACCOUNT,
): Promise<{ readonly account: string; readonly password: string } | undefined> {
  if ((await place(path)) !== undefined) return undefined;
  await makeFolder(dirname(path));
  const password = randomBytes(32).toString('base64url');
  const text = withAccount('', account, await hashPassword(password, cost));
  const isOurs = await write(path, text, await newFile(path), async (temporary) => {
    // A name that is taken is left alone, and nobody sees half of a file.
    await link(temporary, path);
  });
  return isOurs ? { account, password } : undefined;
}

/** How a file is to be: whose, and who may read it. */
interface Form {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

async function change(path: string, edit: (text: string) => string | undefined): Promise<boolean> {
  // A link stays one: what it leads to is changed.
  const target = (await place(path)) ?? path;
  if (target === path) await makeFolder(dirname(path));
  return await withFileLock(target, async () => {
    const present = await read(target);
    const text = edit(present?.text ?? '');
    if (text === undefined) return false;
    const form = present?.form ?? (await newFile(target));
    await write(target, text, form, (temporary) => rename(temporary, target));
    return true;
  });
}

/** Where a file really is; undefined when there is none. */
async function place(path: string): Promise<string | undefined> {
  try {
    return await realpath(path);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** The file's text, with a byte order mark if it has one, and its form. */
async function read(path: string): Promise<{ readonly text: string; readonly form: Form } | undefined> {
  try {
    const { mode, uid, gid } = await stat(path);
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await readFile(path));
    return { text, form: { mode: mode & 0o777, uid, gid } };
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    if (error instanceof TypeError) throw new Error('the file is not UTF-8 text', { cause: error });
    throw error;
  }
}

/** A new file belongs to its folder's owner where root makes it: the server may not run as root. */
async function newFile(path: string): Promise<Form> {
  const { uid, gid } = await stat(dirname(path));
  return { mode: 0o600, uid, gid };
}

/**
 * Writes a file beside the path and lets `install` put it there.
 * @returns false when `install` found that there is one already
 */
async function write(
  path: string,
  text: string,
  form: Form,
  install: (temporary: string) => Promise<void>,
): Promise<boolean> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.new`;
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      if (isRoot()) await file.chown(form.uid, form.gid);
      await file.chmod(form.mode);
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await install(temporary);
    await syncFolder(dirname(path));
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    if (codeOf(error) === 'EBUSY') {
      throw new Error('the file is a mount of its own, which cannot be replaced; mount its folder instead', {
        cause: error,
      });
    }
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Makes a folder with those above it, for its owner only; for the owner of the one above when root makes it. */
async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 });
  if (first === undefined || !isRoot()) return;
  const { uid, gid } = await stat(dirname(first));
  for (let folder = path; ; folder = dirname(folder)) {
    await chown(folder, uid, gid);
    if (folder === first || folder === dirname(folder)) return;
  }
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
