import { ObjectNotFound, StorageFailure } from '../drivers/driver.ts';
import { isRepositoryName, type RepositoryName } from '../oci/name.ts';
import { isFuture } from '../silence.ts';
import { findUploadFile } from './claims.ts';
import { REPOSITORIES, uploadsPrefix } from './layout.ts';
import type { Objects } from './objects.ts';
import { leftOut } from './repository-alias.ts';

/**
 * Prefixes of the uploads that were begun and last written to before `before` (milliseconds since 1970), in
 * all repositories, also in those that hold nothing else.
 * @param onUnreadable is told why a folder cannot be read, which is then passed over; without it that ends the walk
 */
export async function* abandonedUploads(
  objects: Objects,
  before: number,
  { signal, onUnreadable, onFuture }: UploadWalk = {},
): AsyncGenerator<string, undefined> {
  for await (const prefix of uploadFolders(objects, REPOSITORIES, { signal, onUnreadable })) {
    yield* passingOver(onUnreadable, async function* () {
      for await (const { key } of objects.level(prefix)) {
        if (!key.endsWith('/')) continue;
        const touched = await lastTouched(objects, key);
        if (touched < before) yield key;
        else if (isFuture(touched)) await onFuture?.(key);
      }
    });
  }
}

interface UploadWalk {
  readonly signal?: AbortSignal | undefined;
  readonly onUnreadable?: ((error: StorageFailure) => void) | undefined;
  /** Told of uploads that a clock which was wrong has left in the future. */
  readonly onFuture?: ((prefix: string) => Promise<void>) | undefined;
}

/** Walks to the end, or to what cannot be read. */
async function* passingOver<T>(
  onUnreadable: UploadWalk['onUnreadable'],
  walk: () => AsyncGenerator<T, void>,
): AsyncGenerator<T, void> {
  try {
    yield* walk();
  } catch (error) {
    if (onUnreadable === undefined || !(error instanceof StorageFailure)) throw error;
    onUnreadable(error);
  }
}

/** When an upload to the repository was last begun or written to, in milliseconds since 1970; 0 where there is none. */
export async function lastUpload(objects: Objects, name: RepositoryName): Promise<number> {
  let last = 0;
  for await (const { key } of objects.level(uploadsPrefix(name))) {
    if (key.endsWith('/')) last = Math.max(last, await lastTouched(objects, key));
  }
  return last;
}

async function* uploadFolders(
  objects: Objects,
  parent: string,
  walk: UploadWalk,
): AsyncGenerator<string, void> {
  const { signal, onUnreadable } = walk;
  yield* passingOver(onUnreadable, async function* () {
    for await (const { key } of objects.level(parent, signal === undefined ? {} : { signal })) {
      const name = key.slice(REPOSITORIES.length, -1);
      if (parent !== REPOSITORIES && key === `${parent}_uploads/`) yield key;
      if (!key.endsWith('/') || !isRepositoryName(name) || leftOut(objects, name) !== undefined) continue;
      yield* uploadFolders(objects, key, walk);
    }
  });
}

/**
 * The later of an upload's begin and its last write, in milliseconds since 1970; 0 when it has neither. A begin in the future
 * counts by when it was noted, which `touchUpload` can mend.
 */
export async function lastTouched(objects: Objects, prefix: string): Promise<number> {
  const started = await objects.bytes(`${prefix}startedat`);
  let time = started === undefined ? Number.NaN : Date.parse(Buffer.from(started).toString());
  if (isFuture(time)) time = (await objects.info(`${prefix}startedat`))?.modified ?? Number.NaN;
  const written = (await findUploadFile(objects, prefix))?.modified ?? 0;
  return Number.isNaN(time) ? written : Math.max(time, written);
}

/** Makes an upload of the future one that was written to now. */
export async function touchUpload(objects: Objects, prefix: string): Promise<void> {
  const file = await findUploadFile(objects, prefix);
  for (const key of [`${prefix}startedat`, ...(file === undefined ? [] : [file.key])]) {
    await objects.touch(key).catch((error: unknown) => {
      if (!(error instanceof ObjectNotFound)) throw error; // it has ended meanwhile
    });
  }
}
