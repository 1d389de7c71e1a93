/**
 * Bytes that are not what their digest says are put aside, where nothing ever serves them: the digest counts as missing
 * from then on, so that the next push, or the next pull through the cache, brings the right ones. They are never deleted
 * here: somebody may want to look at them, or to save what can be saved.
 */
import { ObjectNotFound } from '../drivers/driver.ts';
import type { Digest } from '../oci/digest.ts';
import { blobKey, quarantineKey } from './layout.ts';
import type { Objects } from './objects.ts';

/** Copies kept of one digest; the last one is replaced by further ones. */
const MOST = 100;

/**
 * Puts a digest's bytes aside, unless they have changed since they were looked at, or turn out to be right: then they
 * are where they were.
 * @param seen what was known of them when they were found to be wrong
 * @param isWrong looks at the bytes under another key than theirs
 * @returns where they are now; undefined when nothing was put aside
 */
export async function quarantine(
  objects: Objects,
  digest: Digest,
  seen: { readonly size: number; readonly modified: number },
  isWrong: (key: string) => Promise<boolean>,
): Promise<string | undefined> {
  const key = blobKey(digest);
  const now = await objects.info(key);
  if (now?.size !== seen.size || now.modified !== seen.modified) return undefined;
  const place = await freePlace(objects, digest);
  try {
    await objects.move(key, place);
  } catch (error) {
    if (error instanceof ObjectNotFound) return undefined;
    throw error;
  }
  // A push may have replaced them between the two steps.
  let wrong = false;
  try {
    wrong = await isWrong(place);
  } finally {
    if (!wrong) await putBack(objects, place, key);
  }
  return wrong ? place : undefined;
}

async function putBack(objects: Objects, place: string, key: string): Promise<void> {
  if (await objects.exists(key)) return objects.driver.delete([place]);
  try {
    await objects.move(place, key);
  } catch (error) {
    if (!(error instanceof ObjectNotFound)) throw error; // somebody has removed it by hand
  }
}

async function freePlace(objects: Objects, digest: Digest): Promise<string> {
  for (let number = 0; number < MOST - 1; number += 1) {
    const place = quarantineKey(digest, number);
    if (!(await objects.exists(place))) return place;
  }
  return quarantineKey(digest, MOST - 1);
}
