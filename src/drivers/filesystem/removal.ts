import { rmdirSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isAbsent } from './failures.ts';

/** Removes a half-written file. What cannot be removed is swept later; that must not hide why the write failed. */
export function discard(temporary: string): void {
  try {
    rmSync(temporary, { force: true });
  } catch {
    // See above.
  }
}

/**
 * Removes the directories below `root` that are empty, level by level.
 * @returns for each the first above it that stays
 */
export function pruneFolders(root: string, directories: Iterable<string>): ReadonlySet<string> {
  const stay = new Set<string>();
  let level = new Set(directories);
  while (level.size > 0) {
    const above = new Set<string>();
    for (const at of level) {
      try {
        if (at.length <= root.length) stay.add(at);
        else {
          rmdirSync(at);
          stay.delete(at);
          above.add(dirname(at));
        }
      } catch {
        stay.add(at);
      }
    }
    level = above;
  }
  return stay;
}

/** An empty folder, which is what most sessions leave, goes at once. */
export async function removeTree(path: string): Promise<void> {
  try {
    rmdirSync(path);
  } catch (error) {
    if (isAbsent(error)) return;
    await rm(path, { recursive: true, force: true });
  }
}
