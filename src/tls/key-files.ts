import { constants } from 'node:fs';
import { chmod, link, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { randomBytes } from 'node:crypto';

/** What others may do with a file. */
const OTHERS = 0o077;
/** A filesystem that has no hard links says one of these. */
const NO_LINKS = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'];

/** The text of a file; undefined when there is none. @throws Error at once for what is no file, such as a pipe */
export async function readText(path: string): Promise<string | undefined> {
  try {
    // To open a pipe that nobody writes to would wait for ever.
    const handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    try {
      if (!(await handle.stat()).isFile()) throw new Error(`${path} is no file`);
      return await handle.readFile('utf8');
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    if (codeOf(error) === 'ENXIO') throw new Error(`${path} is no file`, { cause: error });
    throw error;
  }
}

/**
 * Takes away what others may do with a key that somebody copied without care; one that is not there is no matter.
 * @param warn told what was done, or that it could not be
 */
export async function tighten(path: string, warn: (message: string) => void): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile() !== true || (found.mode & OTHERS) === 0 || process.platform === 'win32') return;
  const mode = (found.mode & 0o777).toString(8).padStart(4, '0');
  try {
    await chmod(path, 0o600);
    warn(`${path} could be read by others (${mode}) and is 0600 from now on: who had it may have the key`);
  } catch (error) {
    warn(`${path} can be read by others (${mode}): ${(error as Error).message}. Give it mode 0600`);
  }
}

/** Replaces a file whole or not at all, durably. Only this user may read one of mode 0600, from its first moment on. */
export function writeText(path: string, text: string, mode: number): Promise<void> {
  return write(path, text, mode, (temporary) => rename(temporary, path));
}

/**
 * As `writeText`, but never replaces what is there.
 * @returns whether it was written: false when there was one already, whatever is in it
 */
export async function placeText(path: string, text: string, mode: number): Promise<boolean> {
  try {
    await write(path, text, mode, async (temporary) => {
      try {
        await link(temporary, path);
      } catch (error) {
        if (!NO_LINKS.includes(codeOf(error))) throw error;
        // Who calls has a lock where several might: that is all that is left here.
        if ((await stat(path).catch(() => undefined)) !== undefined)
          throw Object.assign(new Error('there is one'), { code: 'EEXIST' });
        await rename(temporary, path);
      }
    });
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

async function write(
  path: string,
  text: string,
  mode: number,
  settle: (temporary: string) => Promise<void>,
): Promise<void> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const temporary = join(folder, `.${randomBytes(6).toString('hex')}`);
  const handle = await open(temporary, 'wx', mode);
  try {
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await chmod(temporary, mode);
    await settle(temporary);
  } finally {
    // On a full disk too, and after a link: half a key, or a second one, is of no use to anybody.
    await rm(temporary, { force: true }).catch(() => undefined);
  }
  const directory = await open(folder, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? '';
}
