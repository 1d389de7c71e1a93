/**
 * Names for files that are being written. They live in one folder of the root, so that what a crash leaves
 * behind is found at once. A name tells its maker (process-identity.ts): `<host>-<pid>-<start>-<counter>`.
 */
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isRunning, PROCESS } from '../../process-identity.ts';

/** Where files are written before they get their names, below the driver's own folder. */
export const TEMPORARY = 'tmp';

/** Older leftovers of other machines are removed; in milliseconds. A file still written to is younger. */
const ABANDONED_AFTER = 3600_000;

let counter = 0;

/** A name that no other process and no other call gives. */
export function temporaryName(): string {
  counter += 1;
  return `${PROCESS}-${counter}`;
}

/** Removes what processes that are no more left in the folder, which is made if it is missing. */
export function sweepTemporary(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (isAbandoned(name, path)) rmSync(path, { force: true, recursive: true });
  }
}

function isAbandoned(name: string, path: string): boolean {
  const running = isRunning(name);
  if (running !== undefined) return !running;
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats !== undefined && Date.now() - stats.mtimeMs > ABANDONED_AFTER;
}
