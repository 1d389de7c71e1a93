/** Folders that are there for who made them, and cannot be come to: symbolic links whose target is away. */
import { lstatSync, readlinkSync, type Stats, statSync } from 'node:fs';
import { StorageFailure } from '../driver.ts';
import { codeOf, isAbsent, systemFailure } from './failures.ts';

/**
 * Why the folder `path` below `root`, in which nothing is found, is not simply absent: on the way to it is a link that leads
 * nowhere or in a circle, or a folder that this user may not look into. undefined where it is absent or empty.
 */
export function lostFolder(root: string, path: string): StorageFailure | undefined {
  for (let at = path; at.length > root.length; at = at.slice(0, at.lastIndexOf('/'))) {
    try {
      const stats = lstatSync(at, { throwIfNoEntry: false });
      if (stats !== undefined) return stats.isSymbolicLink() ? lostTarget(at) : undefined;
    } catch (error) {
      if (codeOf(error) !== 'ELOOP' && !isAbsent(error)) return failure(error, at);
    }
  }
  return undefined;
}

function lostTarget(path: string): StorageFailure | undefined {
  let stats: Stats | undefined;
  let code = 'ENOENT';
  try {
    stats = statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    code = codeOf(error) ?? code;
    if (code !== 'ELOOP' && !isAbsent(error)) return failure(error, path);
  }
  if (stats !== undefined) return undefined;
  const why =
    code === 'ELOOP'
      ? 'a symbolic link that leads in a circle: remove it'
      : `a symbolic link to ${targetOf(path)}, which is not there: mount or bring back what it leads to, or remove the link`;
  return new StorageFailure(`${path}: ${why} (${code})`, code);
}

function targetOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return 'something else'; // it is gone by now
  }
}

/** What is none of the system's errors cannot come from a look at a path that is well-formed. */
function failure(error: unknown, path: string): StorageFailure {
  const found = systemFailure(error, path);
  return found instanceof StorageFailure
    ? found
    : new StorageFailure(`${path}: ${String(error)}`, 'EIO', error);
}
