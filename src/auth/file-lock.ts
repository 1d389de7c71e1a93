/** A lock among processes for changing a file: `<file>.lock`, which names its owner. */
import { randomBytes } from 'node:crypto';
import { link, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { isRunning, PROCESS } from '../process-identity.ts';

/** How long one waits for a lock, in milliseconds. What is done under one takes a few. */
const WAIT = 10_000;
/** A lock whose owner cannot be asked for (another machine's, or cut short) is taken for left behind after so long. */
const STALE = 30_000;
/** Milliseconds between two tries. */
const TRY_EVERY = 20;

/**
 * Runs `work` while nobody else runs work for the same file. A lock that a crash left behind is broken.
 * @throws Error when another process holds the lock for 10 s, or the folder does not let itself be written to
 */
export async function withFileLock<T>(path: string, work: () => Promise<T>): Promise<T> {
  const lock = `${path}.lock`;
  await take(lock);
  try {
    return await work();
  } finally {
    // What is done is done: a lock that cannot be removed does not undo it.
    await rm(lock, { force: true }).catch(() => undefined);
  }
}

async function take(lock: string): Promise<void> {
  for (const until = Date.now() + WAIT; ;) {
    if (await make(lock)) return;
    if (await breakStale(lock)) continue;
    if (Date.now() > until) {
      throw new Error(`another process is changing the file: it holds ${lock} (remove that if none does)`);
    }
    await new Promise((resolve) => setTimeout(resolve, TRY_EVERY));
  }
}

async function make(lock: string): Promise<boolean> {
  try {
    const file = await open(lock, 'wx', 0o600);
    try {
      await file.writeFile(PROCESS);
    } finally {
      await file.close();
    }
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/** @returns whether there is no lock any more */
async function breakStale(lock: string): Promise<boolean> {
  const owner = await staleOwner(lock);
  if (owner === undefined) return false;
  // Of several that see it so one gets it by its name, and looks whether it is still the same.
  const aside = `${lock}-${randomBytes(6).toString('hex')}`;
  try {
    await rename(lock, aside);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return true;
    throw error;
  }
  if ((await readFile(aside, 'latin1')) !== owner) await link(aside, lock).catch(() => undefined);
  await rm(aside, { force: true });
  return true;
}

/** The owner that a lock names, if that is certainly or probably no more; undefined while the lock is good. */
async function staleOwner(lock: string): Promise<string | undefined> {
  try {
    const { mtimeMs } = await stat(lock);
    const owner = await readFile(lock, 'latin1');
    const isLeft =
      isRunning(owner) === false || (isRunning(owner) === undefined && Date.now() - mtimeMs > STALE);
    return isLeft ? owner : undefined;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
