import { createHash } from 'node:crypto';
import type { Algorithm } from '../oci/digest.ts';
import type { Hashing } from './hashing.ts';
import { type Objects, streamOf } from './objects.ts';

/** Content of up to so many bytes is read at once: it takes less than waking a thread does. */
const AT_ONCE = 256 * 1024;
/** Bytes of a larger one that are asked for at a time where it is no file: a request that is paced must not stay open. */
const PART = 8 * 1024 * 1024;

/** What is read of a stored object, and how fast. */
export interface Reading {
  readonly algorithm: Algorithm;
  /** Bytes that the object had when it was looked at. */
  readonly size: number;
  /** Waits as long as reading so many bytes more shall take. */
  readonly pace: (bytes: number) => Promise<void> | undefined;
  readonly signal: AbortSignal;
}

/**
 * The hexadecimal digest of an object's bytes as they are in the storage now, read whole and in constant memory.
 * @returns undefined when there is no object (any more)
 * @throws what the storage fails with; the signal's reason
 */
export async function contentDigest(
  objects: Objects,
  hashing: Hashing,
  key: string,
  { algorithm, size, pace, signal }: Reading,
): Promise<string | undefined> {
  const paced = (bytes: number) => {
    signal.throwIfAborted();
    return pace(bytes);
  };
  const path = objects.localPath(key);
  try {
    if (size <= AT_ONCE) {
      await paced(size);
      const bytes = await objects.bytes(key);
      return bytes === undefined ? undefined : createHash(algorithm).update(bytes).digest('hex');
    }
    if (path !== undefined) return await hashing.ofFile(algorithm, path, size, paced);
    const hash = createHash(algorithm);
    for (let start = 0; start < size; start += PART) {
      const end = Math.min(size, start + PART);
      await paced(end - start);
      for await (const chunk of streamOf(await objects.driver.read(key, { start, end, signal })))
        hash.update(chunk);
    }
    return hash.digest('hex');
  } catch (error) {
    signal.throwIfAborted();
    if (!(await objects.exists(key))) return undefined;
    throw error;
  }
}
