import { isRepositoryName, type RepositoryName } from '../oci/name.ts';
import { findUploadFile } from './claims.ts';
import { REPOSITORIES, uploadsPrefix } from './layout.ts';
import type { Objects } from './objects.ts';

/**
 * Prefixes of the uploads that were begun and last written to before `before` (milliseconds since 1970), in
 * all repositories, also in those that hold nothing else.
 */
export async function* abandonedUploads(
  objects: Objects,
  before: number,
  signal?: AbortSignal,
): AsyncIterable<string> {
  for await (const prefix of uploadFolders(objects, REPOSITORIES, signal)) {
    for await (const { key } of objects.level(prefix)) {
      if (key.endsWith('/') && (await lastTouched(objects, key)) < before) yield key;
    }
  }
}

/** Whether something is being uploaded to the repository: begun or written to after `since` (milliseconds since 1970). */
export async function pushUnderWay(objects: Objects, name: RepositoryName, since: number): Promise<boolean> {
  for await (const { key } of objects.level(uploadsPrefix(name))) {
    if (key.endsWith('/') && (await lastTouched(objects, key)) > since) return true;
  }
  return false;
}

async function* uploadFolders(
  objects: Objects,
  parent: string,
  signal: AbortSignal | undefined,
): AsyncIterable<string> {
  for await (const { key } of objects.level(parent, signal === undefined ? {} : { signal })) {
    const name = key.slice(REPOSITORIES.length, -1);
    if (!key.endsWith('/') || !isRepositoryName(name)) continue;
    yield uploadsPrefix(name);
    yield* uploadFolders(objects, key, signal);
  }
}

/** The later of an upload's begin and its last write, in milliseconds since 1970; 0 when it has neither. */
export async function lastTouched(objects: Objects, prefix: string): Promise<number> {
  const started = await objects.bytes(`${prefix}startedat`);
  const time = started === undefined ? Number.NaN : Date.parse(Buffer.from(started).toString());
  const written = (await findUploadFile(objects, prefix))?.modified ?? 0;
  return Number.isNaN(time) ? written : Math.max(time, written);
}
