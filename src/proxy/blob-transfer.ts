/**
 * One blob on its way from an upstream into the local registry, with any number of readers. What arrives goes to the
 * upload and at once to the readers that keep up. One that comes late or falls behind reads what was written. So memory
 * is bounded by the readers' windows, no reader holds up the others, and one that leaves stops nothing.
 */
import type { Digest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { Repository } from '../oci/registry.ts';
import { streamOf, WrittenBytes } from './follow-upload.ts';
import type { FetchedBlob } from './upstream-content.ts';
import { UpstreamFailure } from './upstream-failure.ts';

/** Bytes that all readers together may be behind and still be given what arrives; and each of them in any case. */
const WINDOWS = 16 * 1024 * 1024;
const LEAST_WINDOW = 256 * 1024;
/** How often it is looked how far a transfer has come, in milliseconds. */
const LOOK_EVERY = 15_000;
/** Bytes a second below which it is given up: whoever joins it would wait with the others. */
const LEAST_RATE = 1024;

export interface TransferOptions {
  readonly local: Repository;
  readonly digest: Digest;
  readonly fetched: FetchedBlob;
  /** The session that the bytes go to. */
  readonly upload: string;
  /** Told of bytes as they arrive. */
  readonly onBytes: (count: number) => void;
  readonly lookEveryMs?: number | undefined;
}

export class BlobTransfer {
  /** The size that the upstream told; undefined where it told none. */
  readonly size: number | undefined;
  /** Fulfilled when what came has the digest; rejected when it will not. */
  readonly verified: Promise<void>;
  /** Fulfilled when the blob is in the local registry; rejected when it will not be. */
  readonly done: Promise<void>;
  #verify: () => void = () => undefined;
  readonly #options: TransferOptions;
  readonly #readers = new Set<Reader>();
  readonly #written: WrittenBytes;
  #received = 0;
  #wake: (() => void)[] = [];

  constructor(options: TransferOptions) {
    this.#options = options;
    this.size = options.fetched.size;
    const verified = new Promise<void>((resolve) => (this.#verify = resolve));
    this.done = this.#run();
    this.verified = Promise.race([verified, this.done]);
    this.verified.catch(() => undefined);
    const { local, digest, upload } = options;
    const more = (than: number) => this.#more(than);
    this.#written = new WrittenBytes({ local, digest, upload, done: this.done, more });
    this.done.catch(() => undefined); // told to the readers
  }

  /** The bytes from `start` up to `end`; see `WrittenBytes`. @throws Error where the size is not known */
  read(start: number, end: number): ReadableStream<Uint8Array> {
    if (this.size === undefined) throw new Error('a transfer without a size cannot be read while it runs');
    const reader = new Reader(start, end, this.#received);
    this.#readers.add(reader);
    const leave = () => reader.fail(new Error('the client has left'));
    return streamOf(this.#written.during(this.#bytesFor(reader, end)), leave);
  }

  async *#bytesFor(reader: Reader, end: number): AsyncGenerator<Uint8Array, undefined> {
    try {
      for (let chunk = await reader.next(); chunk !== undefined; chunk = await reader.next()) {
        if (reader.at >= end) await this.verified;
        yield chunk;
      }
    } finally {
      this.#readers.delete(reader);
    }
    yield* this.#written.read(reader.at, end);
    return undefined;
  }

  /** Bytes are given to readers before they are written: so there may be a little to wait for after they arrived. */
  #more(than: number): Promise<void> {
    if (this.#received > than) return new Promise((resolve) => setTimeout(resolve, WRITTEN_AFTER_MS));
    return new Promise((resolve) => {
      this.#wake.push(resolve);
      this.done.then(resolve, () => resolve());
    });
  }

  async #run(): Promise<void> {
    const { local, digest, fetched, upload, onBytes, lookEveryMs = LOOK_EVERY } = this.#options;
    const stalled = new AbortController();
    let seen = 0;
    const watch = setInterval(() => {
      const came = this.#received - seen;
      seen = this.#received;
      if (came >= (LEAST_RATE * lookEveryMs) / 1000 || this.#received === this.size) return;
      stalled.abort(new UpstreamFailure(`the upstream has sent ${came} bytes in ${lookEveryMs} ms`));
    }, lookEveryMs);
    try {
      await local.uploads.finish(upload, digest, {
        body: fetched.body,
        signal: stalled.signal,
        onProgress: (piece) => {
          onBytes(piece.byteLength);
          this.#pass(piece);
        },
        // What is right can be given away; that it is durable matters to us alone.
        onVerified: () => this.#verify(),
        ...(this.size === undefined ? {} : { size: this.size }),
      });
      for (const reader of this.#readers) reader.end();
    } catch (reason) {
      await local.uploads.cancel(upload).catch(() => undefined);
      // Of ours it says that the bytes are not those of the digest, or not as many as were announced.
      const error =
        reason instanceof RegistryError ? new UpstreamFailure(`${digest}: ${reason.message}`) : reason;
      for (const reader of this.#readers) reader.fail(error);
      throw error;
    } finally {
      clearInterval(watch);
    }
  }

  #pass(chunk: Uint8Array): void {
    this.#received += chunk.byteLength;
    const window = Math.max(LEAST_WINDOW, WINDOWS / Math.max(1, this.#readers.size));
    for (const reader of this.#readers) reader.take(chunk, this.#received, window);
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }
}

/** Milliseconds after which bytes that arrived are looked for in the upload again. */
const WRITTEN_AFTER_MS = 10;

/** One client of a transfer, as long as it is given what arrives. */
class Reader {
  /** The place of the next byte that it has not been given. */
  at: number;
  readonly #end: number;
  /** Whether it gets what arrives; else it has to read what was written. */
  #follows: boolean;
  readonly #queue: Uint8Array[] = [];
  #queued = 0;
  #over: { readonly error?: unknown } | undefined;
  #wake: () => void = () => undefined;

  constructor(start: number, end: number, received: number) {
    this.at = start;
    this.#end = end;
    this.#follows = received <= start;
  }

  /** Takes a chunk that ends at `received`. One that is further behind than `window` is given no more. */
  take(chunk: Uint8Array, received: number, window: number): void {
    if (!this.#follows) return;
    const next = this.at + this.#queued;
    const from = received - chunk.byteLength;
    const part = chunk.subarray(Math.max(0, next - from), Math.max(0, this.#end - from));
    if (part.byteLength === 0) return;
    if (this.#queued + part.byteLength > window) this.#follows = false;
    else {
      this.#queue.push(part);
      this.#queued += part.byteLength;
    }
    this.#wake();
  }

  end(): void {
    this.#over = {};
    this.#wake();
  }

  fail(error: unknown): void {
    this.#over = { error };
    this.#wake();
  }

  /** The next bytes that arrived; undefined when there are no more to be given. @throws what it was failed with */
  async next(): Promise<Uint8Array | undefined> {
    for (;;) {
      if (this.#over !== undefined && 'error' in this.#over) throw this.#over.error;
      const chunk = this.#queue.shift();
      if (chunk !== undefined) {
        this.#queued -= chunk.byteLength;
        this.at += chunk.byteLength;
        return chunk;
      }
      if (this.at >= this.#end || !this.#follows || this.#over !== undefined) return undefined;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}
