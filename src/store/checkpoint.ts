/**
 * What an upload knows of its digest between two requests: plain JSON beside its bytes, so that the closing
 * request of any process only compares. It counts only while the file has exactly `offset` bytes.
 */
import type { Algorithm } from '../oci/digest.ts';
import type { Objects } from './objects.ts';

export interface Checkpoint {
  /** The algorithm that the session was begun with, or whose digest this is. */
  readonly algorithm: Algorithm;
  /** Bytes covered; -1 when none are and only the algorithm is meant. */
  readonly offset: number;
  /** Hexadecimal digest of those bytes. */
  readonly hex: string;
}

function keyOf(prefix: string): string {
  return `${prefix}_checkpoint`;
}

/** The upload's checkpoint; undefined when there is none or it is damaged. */
export async function readCheckpoint(objects: Objects, prefix: string): Promise<Checkpoint | undefined> {
  const bytes = await objects.bytes(keyOf(prefix));
  if (bytes === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString());
    return isCheckpoint(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The bytes covered must be durable already: else a power cut leaves a digest of bytes that are no more. */
export async function writeCheckpoint(
  objects: Objects,
  prefix: string,
  checkpoint: Checkpoint,
): Promise<void> {
  await objects.driver.write(keyOf(prefix), Buffer.from(JSON.stringify(checkpoint)), { volatile: true });
}

/** To be called before an upload's bytes begin anew. */
export async function forgetCheckpoint(objects: Objects, prefix: string): Promise<void> {
  await objects.driver.delete([keyOf(prefix)], { volatile: true });
}

function isCheckpoint(value: unknown): value is Checkpoint {
  if (typeof value !== 'object' || value === null) return false;
  const { algorithm, offset, hex } = value as Partial<Record<keyof Checkpoint, unknown>>;
  return (
    (algorithm === 'sha256' || algorithm === 'sha512') &&
    Number.isSafeInteger(offset) &&
    typeof hex === 'string'
  );
}
