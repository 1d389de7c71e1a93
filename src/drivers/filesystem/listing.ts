/**
 * Sorted directory listings that cost what is taken from them. A directory's names are read and sorted once
 * and kept for as long as the directory's modification time stays the same.
 */
import { readdirSync, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { isAbsent } from './failures.ts';

/** Names kept over all directories; about 64 bytes each. */
const MAX_NAMES = 250_000;

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
  #names = 0;

  /** The names in a directory in byte order; empty when there is no such directory. */
  async names(path: string): Promise<readonly string[]> {
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats === undefined) {
      this.#forget(path);
      return [];
    }
    const kept = this.#kept.get(path);
    if (kept !== undefined && kept.modified === stats.mtimeMs && kept.inode === stats.ino) return kept.names;
    this.#forget(path);
    const readAt = Date.now();
    const names = await sortedNames(path);
    if (readAt - stats.mtimeMs > SETTLED_AFTER)
      this.#keep(path, { modified: stats.mtimeMs, inode: stats.ino, names });
    return names;
  }

  #keep(path: string, kept: Kept): void {
    if (kept.names.length > MAX_NAMES || kept.names.length < 64) return;
    for (const oldest of this.#kept.keys()) {
      if (this.#names + kept.names.length <= MAX_NAMES) break;
      this.#forget(oldest);
    }
    this.#kept.set(path, kept);
    this.#names += kept.names.length;
  }

  #forget(path: string): void {
    const kept = this.#kept.get(path);
    if (kept === undefined) return;
    this.#kept.delete(path);
    this.#names -= kept.names.length;
  }
}

async function sortedNames(path: string): Promise<string[]> {
  try {
    return (await readdir(path)).sort();
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}

/** Index of the first name greater than `after`. */
export function firstAfter(names: readonly string[], after: string): number {
  let low = 0;
  let high = names.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((names[middle] ?? '') > after) high = middle;
    else low = middle + 1;
  }
  return low;
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
    throw error;
  }
}
