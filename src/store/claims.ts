/**
 * One writer an upload, over all processes that share the storage.
 *
 * The right to write is the file itself: a writer renames `data` to `_data.<owner>`, and back when it is
 * done, or on to the blob's place when the upload is finished. A rename happens once, whoever tries it, so there
 * is never a second writer; and a writer that lost its claim cannot finish, because its name is gone.
 * When a writer dies, the next one renames `_data.<dead owner>` to a name of its own.
 */
import { ObjectNotFound, type ObjectInfo } from '../drivers/driver.ts';
import { RegistryError } from '../oci/errors.ts';
import { forgetCheckpoint } from './checkpoint.ts';
import type { Objects } from './objects.ts';
import { endOwner, isAlive, newOwner } from './owner.ts';

/** How long a writer waits for another one of the same upload, in milliseconds. */
const WAIT = 10_000;
const POLL = 25;

const CLAIMED = '_data.';

/** Where an upload's bytes are at the moment. */
export interface UploadFile extends ObjectInfo {
  /** Who writes it; undefined when nobody does. */
  readonly owner: string | undefined;
}

/** Finds an upload's file, claimed or not; undefined when there is no such upload. */
export async function findUploadFile(objects: Objects, prefix: string): Promise<UploadFile | undefined> {
  // Looked at twice: between the two looks of one round the file may change its name.
  for (let round = 0; round < 2; round += 1) {
    const free = await objects.info(`${prefix}data`);
    if (free !== undefined) return { ...free, owner: undefined };
    for await (const entry of objects.level(prefix, { after: `${prefix}${CLAIMED}` })) {
      const name = entry.key.slice(prefix.length);
      if (!name.startsWith(CLAIMED)) break;
      return { ...entry, owner: name.slice(CLAIMED.length) };
    }
  }
  return undefined;
}

/** The exclusive right to write an upload's bytes, which are at `key` as long as it is held. */
export class Claim {
  readonly key: string;
  readonly #objects: Objects;
  readonly #prefix: string;
  readonly #owner: string;
  #held = true;

  private constructor(objects: Objects, prefix: string, owner: string) {
    this.#objects = objects;
    this.#prefix = prefix;
    this.#owner = owner;
    this.key = `${prefix}${CLAIMED}${owner}`;
  }

  /**
   * Waits for its turn and takes the upload.
   * @throws RegistryError `BLOB_UPLOAD_UNKNOWN` when there is none (any more); `BLOB_UPLOAD_INVALID` with
   *   409 when another request keeps writing it
   */
  static async take(objects: Objects, prefix: string, signal?: AbortSignal): Promise<Claim> {
    const owner = newOwner();
    const claim = new Claim(objects, prefix, owner);
    try {
      for (const until = Date.now() + WAIT; ; await pause(POLL)) {
        if (await claim.#tryTake()) return claim;
        signal?.throwIfAborted();
        if (Date.now() > until) throw busy();
      }
    } catch (error) {
      endOwner(owner);
      throw error;
    }
  }

  async #tryTake(): Promise<boolean> {
    if (await this.#rename(`${this.#prefix}data`)) return true;
    const file = await findUploadFile(this.#objects, this.#prefix);
    if (file === undefined) {
      if (!(await this.#objects.exists(`${this.#prefix}startedat`))) throw unknownUpload();
      // Begun by `registry:2`, which makes the data file only with the first byte on some storages.
      // Or left by a crash while it was being removed: what was known of its bytes must not count for others.
      await forgetCheckpoint(this.#objects, this.#prefix);
      const writer = await this.#objects.openAppend(this.key, 0);
      await writer.close();
      return true;
    }
    if (file.owner === undefined) return false;
    return isAlive(file.owner, file.modified) ? false : this.#rename(file.key);
  }

  async #rename(from: string): Promise<boolean> {
    try {
      await this.#objects.move(from, this.key, { volatile: true });
      return true;
    } catch (error) {
      if (error instanceof ObjectNotFound) return false;
      throw error;
    }
  }

  /** Whether the claim was not ended yet. */
  get held(): boolean {
    return this.#held;
  }

  #end(): void {
    this.#held = false;
    endOwner(this.#owner);
  }

  /** Gives the upload back for the next writer. */
  async release(): Promise<void> {
    try {
      await this.#objects.move(this.key, `${this.#prefix}data`, { volatile: true });
    } catch (error) {
      if (!(error instanceof ObjectNotFound)) throw error; // cancelled or purged meanwhile
    } finally {
      this.#end();
    }
  }

  /**
   * Ends the claim with its bytes at `key`, and writes a link to them, both durably.
   * @throws RegistryError when the upload was cancelled meanwhile
   */
  async commit(key: string, link: { readonly write: string; readonly bytes: Uint8Array }): Promise<void> {
    try {
      // The link first: when the storage fails between the two, the upload is still there to be finished.
      await this.#objects.commit([link, { move: this.key, to: key }]);
    } catch (error) {
      if (error instanceof ObjectNotFound) throw unknownUpload();
      throw error;
    }
    this.#end();
  }

  /** Ends the claim and forgets the whole upload. */
  async discard(): Promise<void> {
    await this.#objects.driver.delete([this.#prefix], { volatile: true });
    this.#end();
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
  });
}

function busy(): RegistryError {
  return new RegistryError('BLOB_UPLOAD_INVALID', 'another request is writing this upload', { status: 409 });
}

/** The answer for a session that never was, or has ended. */
export function unknownUpload(): RegistryError {
  return new RegistryError('BLOB_UPLOAD_UNKNOWN', 'the upload is not known to this repository');
}
