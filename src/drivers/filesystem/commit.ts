/**
 * Several changes made durable together. One after the other each would wait for the disk twice; in phases all
 * of them wait twice: the bytes are synced side by side, then everything gets its name, then the folders
 * are synced side by side. (On ext4 a push of a small blob takes two journal commits instead of five.)
 */
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import type { Change } from '../driver.ts';
import { ObjectNotFound } from '../driver.ts';
import { syncData, syncDirectories, syncFile } from './durability.ts';
import { codeOf, isAbsent, storageError, systemFailure } from './failures.ts';
import { placeFile } from './placing.ts';

/** A change whose bytes lie in a file already. */
interface Prepared {
  readonly key: string;
  readonly source: string;
  readonly target: string;
  readonly temporary: boolean;
  fd: number | undefined;
}

/** Where a key's file is, and where a temporary one may be made. */
export interface Paths {
  of(key: string): string;
  openTemporary(): { readonly path: string; readonly fd: number };
}

/** See `Commits.commit`. */
export async function commitChanges(changes: readonly Change[], paths: Paths): Promise<void> {
  const prepared: Prepared[] = [];
  try {
    for (const change of changes) prepared.push(prepare(change, paths));
    await Promise.all(prepared.map(sync));
    for (const one of prepared) close(one);
    const changed = prepared.flatMap(place);
    await syncDirectories(changed);
  } catch (error) {
    for (const one of prepared) {
      close(one);
      if (one.temporary) rmSync(one.source, { force: true });
    }
    const last = prepared.at(-1);
    throw storageError(error, last?.key ?? '', last?.target ?? '');
  }
}

function prepare(change: Change, paths: Paths): Prepared {
  if ('move' in change) {
    const source = paths.of(change.move);
    try {
      return {
        key: change.move,
        source,
        target: paths.of(change.to),
        temporary: false,
        fd: openSync(source, 'r'),
      };
    } catch (error) {
      throw isAbsent(error) ? new ObjectNotFound(change.move) : error;
    }
  }
  const target = paths.of(change.write);
  const { path, fd } = openTemporary(paths, target);
  try {
    for (let at = 0; at < change.bytes.byteLength;) at += writeSync(fd, change.bytes, at);
  } catch (error) {
    closeSync(fd);
    rmSync(path, { force: true });
    throw storageError(error, change.write, target);
  }
  return { key: change.write, source: path, target, temporary: true, fd };
}

function openTemporary(paths: Paths, target: string): ReturnType<Paths['openTemporary']> {
  try {
    return paths.openTemporary();
  } catch (error) {
    throw systemFailure(error, target);
  }
}

function place(one: Prepared): string[] {
  try {
    return placeFile(one.source, one.target, () => true);
  } catch (error) {
    // What is moved can be deleted between the opening and the renaming.
    if (!one.temporary && codeOf(error) === 'ENOENT') throw new ObjectNotFound(one.key);
    throw systemFailure(error, one.target);
  }
}

async function sync({ fd, temporary }: Prepared): Promise<void> {
  if (fd !== undefined) await (temporary ? syncFile(fd) : syncData(fd));
}

function close(one: Prepared): void {
  if (one.fd === undefined) return;
  closeSync(one.fd);
  one.fd = undefined;
}
