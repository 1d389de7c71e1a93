/** How a finished file gets its name. */
import { linkSync, renameSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { ObjectExists } from '../driver.ts';
import { makeDirectory } from './durability.ts';
import { codeOf, isAbsent } from './failures.ts';

/** How often a directory that another process prunes under a writer's feet is made again. */
const ATTEMPTS = 100;

/**
 * Renames a file, and makes the folder that it goes to if that is missing.
 * @returns the directories that must be synced for the name to last
 * @throws the system's error; ENOENT when it is the source that is missing
 */
export function placeFile(source: string, target: string, sourceExists: () => boolean): string[] {
  return inFolder(target, () => renameSync(source, target), sourceExists);
}

/** The same, unless there is something at the target. @throws ObjectExists */
export function placeNewFile(source: string, target: string, key: string): string[] {
  const link = () => {
    try {
      linkSync(source, target);
    } catch (error) {
      throw codeOf(error) === 'EEXIST' ? new ObjectExists(key) : error;
    }
  };
  const changed = inFolder(target, link, () => true);
  unlinkSync(source);
  return changed;
}

/** The folder is usually there, and asking for it first would cost more than the rename. */
function inFolder(target: string, work: () => void, sourceExists: () => boolean): string[] {
  const folder = dirname(target);
  let changed = [folder];
  for (let attempt = 0; ; attempt += 1) {
    try {
      work();
      return changed;
    } catch (error) {
      if (!isAbsent(error) || attempt >= ATTEMPTS || !sourceExists()) throw error;
    }
    try {
      changed = makeDirectory(folder);
    } catch (error) {
      // Its own parent may be pruned at the same moment.
      if (!isAbsent(error) || attempt >= ATTEMPTS) throw error;
    }
  }
}

/** @throws Error where it is known how many bytes there should be, and there are others */
export function checkSize(size: number, expected: number | undefined): void {
  if (expected !== undefined && expected !== size)
    throw new Error(`expected ${expected} bytes to store, got ${size}`);
}
