/**
 * What it takes on a POSIX file system for a change to survive a power cut: the file's bytes are synced before
 * it gets its name, and the directory that holds the name is synced after.
 */
import { closeSync, fdatasync, fsync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';

export const syncFile = promisify(fsync);
export const syncData = promisify(fdatasync);

interface Turn {
  readonly running: Promise<void>;
  next: Promise<void> | undefined;
}

const turns = new Map<string, Turn>();

/**
 * Makes the names in a directory durable. Callers that come while a sync of the same directory runs share the
 * one that follows it, so that many writers to one directory cost few syncs. A directory that has vanished
 * needs none.
 */
export function syncDirectory(path: string): Promise<void> {
  const turn = turns.get(path);
  if (turn === undefined) {
    const running = syncNow(path).finally(() => {
      const ended = turns.get(path);
      if (ended?.running === running && ended.next === undefined) turns.delete(path);
    });
    turns.set(path, { running, next: undefined });
    return running;
  }
  if (turn.next === undefined) {
    const after = turn.running.then(
      () => undefined,
      () => undefined,
    );
    turn.next = after.then(() => {
      turns.delete(path);
      return syncDirectory(path);
    });
  }
  return turn.next;
}

async function syncNow(path: string): Promise<void> {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  try {
    await syncFile(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Makes a directory with its parents and returns the directories that must be synced for it, and for a name
 * in it, to last: the directory itself, and the parent of each one that had to be made.
 *
 * Not guaranteed: when another process made one of the parents a moment ago and the power fails before it
 * synced it. The journals of ext4, xfs and btrfs write such a parent out with its child.
 */
export function makeDirectory(path: string): string[] {
  const changed = [path];
  const first = mkdirSync(path, { recursive: true, mode: 0o755 });
  if (first !== undefined) {
    const stop = dirname(first);
    for (let at = path; at !== stop && at.length > stop.length;) {
      at = dirname(at);
      changed.push(at);
    }
  }
  return changed;
}

/** Syncs several directories side by side: the first sync writes the journal for all, and the others find it written. */
export async function syncDirectories(paths: Iterable<string>): Promise<void> {
  await Promise.all([...new Set(paths)].map(syncDirectory));
}
