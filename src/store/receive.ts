import type { AppendWriter } from '../drivers/driver.ts';
import { RegistryError } from '../oci/errors.ts';
import type { Chunk } from '../oci/registry.ts';
import type { RunningDigest } from './hashing.ts';

/** Bytes gathered before they are written: the runtimes give 64 KiB at a time, at which writing costs 1.6 ×. */
const BLOCK = 512 * 1024;
/** A slow client's bytes are not held back longer than this, in milliseconds: many that stall would hold much. */
const MAX_HELD = 50;
/** Bytes after which what was written is synced beside the writing, so that the last sync has little to do. */
const SYNC_EVERY = 64 * 1024 * 1024;

/**
 * Writes a request's body to an upload and to its running digest. While one block is written the next is
 * gathered; memory is bounded by two blocks. On any failure what had arrived is written all the same.
 * Nothing is synced on return but what was synced on the way; see `AppendWriter.sync`.
 * @returns the running digest if it still covers all that was written, else undefined
 * @throws RegistryError `SIZE_INVALID` when more or less arrives than `chunk.size`
 */
export async function receive(
  chunk: Chunk & { body: ReadableStream<Uint8Array> },
  writer: AppendWriter,
  running: RunningDigest | undefined,
): Promise<RunningDigest | undefined> {
  const sink = new Sink(writer, running);
  const { signal } = chunk;
  const reader = chunk.body.getReader();
  const abort = () => void reader.cancel(signal?.reason).catch(() => undefined);
  signal?.addEventListener('abort', abort, { once: true });
  let received = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      received += value.byteLength;
      if (chunk.size !== undefined && received > chunk.size) {
        await sink.add(value.subarray(0, value.byteLength - (received - chunk.size)));
        throw wrongSize(chunk.size);
      }
      chunk.onProgress?.(value);
      const full = sink.add(value);
      if (full !== undefined) await full;
    }
    signal?.throwIfAborted();
    if (chunk.size !== undefined && received < chunk.size) throw wrongSize(chunk.size);
  } finally {
    signal?.removeEventListener('abort', abort);
    await sink.end();
  }
  return sink.running;
}

function wrongSize(size: number): RegistryError {
  return new RegistryError('SIZE_INVALID', `the body does not have the ${size} bytes that were announced`);
}

/** Gathers blocks and writes them one after the other. */
class Sink {
  running: RunningDigest | undefined;
  readonly #writer: AppendWriter;
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  /** Whether a block is being written, or could not be. */
  #busy = false;
  #sinceSync = 0;
  #syncing: Promise<void> | undefined;

  constructor(writer: AppendWriter, running: RunningDigest | undefined) {
    this.#writer = writer;
    this.running = running;
  }

  /** A promise, where given, must be awaited before more is added. */
  add(bytes: Uint8Array): Promise<void> | undefined {
    this.#held.push(bytes);
    this.#heldBytes += bytes.byteLength;
    if (this.#heldBytes >= BLOCK) return this.#turnOver();
    this.#timer ??= setTimeout(() => this.#overdue(), MAX_HELD);
    return undefined;
  }

  #overdue(): void {
    this.#timer = this.#busy ? setTimeout(() => this.#overdue(), MAX_HELD) : undefined;
    if (!this.#busy) this.#startBlock();
  }

  /** Waits for the block that is being written and starts on the one that was gathered. */
  async #turnOver(): Promise<void> {
    await this.#writing;
    this.#startBlock();
  }

  #startBlock(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const block = this.#held;
    const size = this.#heldBytes;
    this.#held = [];
    this.#heldBytes = 0;
    if (size === 0) return;
    this.#busy = true;
    this.#writing = this.#write(block, size).then(() => void (this.#busy = false));
    // A failure is seen where the promise is awaited next; until then it must not count as unhandled.
    this.#writing.catch(() => undefined);
  }

  async #write(block: readonly Uint8Array[], size: number): Promise<void> {
    await this.#writer.write(block);
    this.#sinceSync += size;
    if (this.#sinceSync >= SYNC_EVERY && this.#syncing === undefined) {
      this.#sinceSync = 0;
      this.#syncing = this.#writer.sync();
      this.#syncing.then(
        () => (this.#syncing = undefined),
        () => undefined,
      );
    }
    try {
      const behind = this.running?.add(block);
      if (behind !== undefined) await behind;
    } catch {
      this.running?.stop(); // the thread died; the whole is hashed again when the upload is finished
      this.running = undefined;
    }
  }

  /** Writes what is held and waits for all that runs, also a sync beside the writing: its failure is the upload's. */
  async end(): Promise<void> {
    try {
      await this.#turnOver();
      await this.#writing;
    } catch (error) {
      this.running?.stop();
      this.running = undefined;
      throw error;
    } finally {
      clearTimeout(this.#timer);
      await this.#syncing;
    }
  }
}
