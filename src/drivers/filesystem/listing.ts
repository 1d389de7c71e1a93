/**
 * Sorted directory listings that cost what is taken from them. A directory's names are read and sorted once
 * and kept for as long as the directory's modification time stays the same.
 */
import { readdirSync, type Stats, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { codeOf, isAbsent, systemFailure } from './failures.ts';

/** Names kept over all directories, each directory counted as a few more; some 100 bytes each. */
const MAX_NAMES = 200_000;
const DIRECTORY_COST = 4;

/** A directory whose own size in bytes is no more than this is read without a trip through the thread pool. */
const SMALL = 16 * 1024;

/**
 * A directory changed this recently (milliseconds) is not kept: a further change within the same tick of the
 * file system's clock would leave its time as it is.
 */
const SETTLED_AFTER = 1_500;

interface Kept {
  readonly modified: number;
  readonly inode: number;
  readonly names: readonly string[];
}

export class SortedDirectories {
  readonly #kept = new Map<string, Kept>();
  #cost = 0;

  /**
   * The names in a directory in byte order; empty when there is no such directory. The same array is given
   * for as long as the directory has not changed.
   */
  names(path: string): readonly string[] | Promise<readonly string[]> {
    const stats = directoryStats(path);
    const kept = this.#kept.get(path);
    if (stats === undefined) {
      if (kept !== undefined) this.#forget(path, kept);
      return NONE;
    }
    const { mtimeMs, ino } = stats;
    if (kept !== undefined) {
      if (kept.modified === mtimeMs && kept.inode === ino) return kept.names;
      this.#forget(path, kept);
    }
    const settled = Date.now() - mtimeMs > SETTLED_AFTER;
    const keep = (names: string[]) => {
      names.sort();
      if (settled) this.#keep(path, { modified: mtimeMs, inode: ino, names });
      return names;
    };
    if (stats.size <= SMALL) return keep(readNow(path));
    return readLarge(path).then(keep);
  }

  #keep(path: string, kept: Kept): void {
    const cost = kept.names.length + DIRECTORY_COST;
    if (cost > MAX_NAMES) return;
    const earlier = this.#kept.get(path); // of a reading that ran beside this one
    if (earlier !== undefined) this.#forget(path, earlier);
    for (const [oldest, { names }] of this.#kept) {
      if (this.#cost + cost <= MAX_NAMES) break;
      this.#kept.delete(oldest);
      this.#cost -= names.length + DIRECTORY_COST;
    }
    this.#kept.set(path, kept);
    this.#cost += cost;
  }

  #forget(path: string, { names }: Kept): void {
    this.#kept.delete(path);
    this.#cost -= names.length + DIRECTORY_COST;
  }
}

const NONE: readonly string[] = [];

/** A path that leads through a file, or to one, has no names. */
function directoryStats(path: string): Stats | undefined {
  const stats = entryStats(path);
  return stats?.isDirectory() === true ? stats : undefined;
}

/** Of a file or a folder, also one that a symbolic link leads to; undefined where nothing is, or links go in a circle. */
export function entryStats(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if (isAbsent(error) || codeOf(error) === 'ELOOP') return undefined;
    throw systemFailure(error, path);
  }
}

function readNow(path: string): string[] {
  try {
    return readdirSync(path);
  } catch (error) {
    if (isAbsent(error)) return [];
    throw systemFailure(error, path);
  }
}

async function readLarge(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (isAbsent(error)) return [];
    throw systemFailure(error, path);
  }
}

export interface Entry {
  readonly name: string;
  readonly directory: boolean;
}

/** A directory's entries in the order that their full keys have, in which a directory counts with its `/`. */
export function entriesInKeyOrder(path: string): Entry[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .map((entry) => ({ name: entry.name, directory: entry.isDirectory() }))
      .sort((a, b) => {
        const left = a.directory ? `${a.name}/` : a.name;
        const right = b.directory ? `${b.name}/` : b.name;
        return left < right ? -1 : left > right ? 1 : 0;
      });
  } catch (error) {
    if (isAbsent(error)) return [];
    throw systemFailure(error, path);
  }
}
