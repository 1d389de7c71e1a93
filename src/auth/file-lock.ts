/** A lock among processes for changing a file: `<file>.lock`, which names its owner. */
import { open, readFile, rm, stat } from 'node:fs/promises';
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

/**
 * Removes a lock whose owner is no more. Of several that see it so one does, under a lock of its own: the next owner's
 * must not go too. @returns whether the lock can be tried again at once
 */
async function breakStale(lock: string): Promise<boolean> {
  if (!(await isLeftBehind(lock))) return false;
  const guard = `${lock}~`;
  if (!(await make(guard))) {
    // A crash in this very place leaves a guard, which tells nothing but its age.
    const made = await stat(guard).catch(() => undefined);
    if (made !== undefined && Date.now() - made.mtimeMs > STALE) await rm(guard, { force: true });
    return false;
  }
  try {
    if (await isLeftBehind(lock)) await rm(lock, { force: true });
  } finally {
    await rm(guard, { force: true });
  }
  return true;
}

/** Whether the owner that a lock names is certainly or probably no more. */
async function isLeftBehind(lock: string): Promise<boolean> {
  try {
    const { mtimeMs } = await stat(lock);
    const isOwnerRunning = isRunning(await readFile(lock, 'latin1'));
    return isOwnerRunning === false || (isOwnerRunning === undefined && Date.now() - mtimeMs > STALE);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
