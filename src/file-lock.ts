/** A lock among processes, also of several machines that share a folder: `<file>.lock`, which names its owner. */
import { open, readFile, rm, stat, utimes } from 'node:fs/promises';
import { isRunning, PROCESS } from './process-identity.ts';
import { patienceWith, type Silence, silenceOf } from './silence.ts';

/** How long one waits for a lock, in milliseconds. What is done under one mostly takes a few. */
const WAIT = 10_000;
/** A lock whose owner cannot be asked for (another machine's, or cut short) is taken for left behind after so long. */
const STALE = 30_000;
/** Milliseconds between two tries. */
const TRY_EVERY = 20;

/** Another process has the lock. */
export class LockHeld extends Error {
  override readonly name = 'LockHeld';
}

/** In milliseconds. */
export interface LockTimes {
  /** How long one waits for the lock; 0 tries once. 10 s unless told. */
  readonly wait?: number;
  /** The age at which a lock counts as left behind of whose owner it cannot be told; of another machine a minute more. 30 s unless told. */
  readonly stale?: number;
}

/**
 * Runs `work` while nobody else runs work for the same file. A lock that a crash left behind is broken; that of work
 * which takes long is kept fresh.
 * @throws LockHeld when another process holds the lock for as long as one waits
 * @throws Error when the folder does not let itself be written to
 */
export async function withFileLock<T>(
  path: string,
  work: () => Promise<T>,
  { wait = WAIT, stale = STALE }: LockTimes = {},
): Promise<T> {
  const lock = `${path}.lock`;
  await take(lock, wait, stale);
  const keepFresh = setInterval(() => {
    const now = new Date();
    utimes(lock, now, now).catch(() => undefined);
  }, stale / 3);
  keepFresh.unref();
  try {
    return await work();
  } finally {
    clearInterval(keepFresh);
    // What is done is done: a lock that cannot be removed does not undo it.
    await rm(lock, { force: true }).catch(() => undefined);
  }
}

async function take(lock: string, wait: number, stale: number): Promise<void> {
  for (const until = Date.now() + wait; ;) {
    if (await make(lock)) return;
    if (await breakStale(lock, stale)) continue;
    // Of one whose time lies in the future it takes some time to know, and a command may ask for it but once.
    const isWatched = wait > 0 && (await silenceOfLock(lock, stale)) !== 'not silent';
    if (Date.now() >= until && !isWatched) {
      throw new LockHeld(`another process is changing the file: it holds ${lock} (remove that if none does)`);
    }
    await new Promise((resolve) => setTimeout(resolve, TRY_EVERY));
  }
}

async function make(lock: string): Promise<boolean> {
  try {
    const file = await open(lock, 'wx', 0o600);
    try {
      await file.writeFile(PROCESS);
    } catch (error) {
      // On a full disk: a lock that names nobody would hold up everybody until it is old.
      await rm(lock, { force: true }).catch(() => undefined);
      throw error;
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
async function breakStale(lock: string, stale: number): Promise<boolean> {
  if (!(await isLeftBehind(lock, stale))) return false;
  const guard = `${lock}~`;
  if (!(await make(guard))) {
    // A crash in this very place leaves it.
    await breakStale(guard, STALE);
    return false;
  }
  try {
    if (await isLeftBehind(lock, stale)) await rm(lock, { force: true });
  } finally {
    await rm(guard, { force: true });
  }
  return true;
}

/** Whether the owner that a lock names is certainly or probably no more. */
async function isLeftBehind(lock: string, stale: number): Promise<boolean> {
  return (await silenceOfLock(lock, stale)) === 'silent';
}

async function silenceOfLock(lock: string, stale: number): Promise<Silence> {
  try {
    const { mtimeMs } = await stat(lock);
    const owner = await readFile(lock, 'latin1');
    const isOwnerRunning = isRunning(owner);
    if (isOwnerRunning !== undefined) return isOwnerRunning ? 'not silent' : 'silent';
    return silenceOf(lock, mtimeMs, patienceWith(owner, stale));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return 'not silent';
    throw error;
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
