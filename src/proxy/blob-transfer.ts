/**
 * One blob on its way from an upstream into the local registry, with any number of readers. What arrives goes to the upload
 * and to the readers that keep up; one that falls behind, or comes late, waits for the end and reads the rest of it from
 * the local registry. So memory is bounded by the readers' windows, and no reader holds up the others.
 */
import type { Digest } from '../oci/digest.ts';
import type { Repository } from '../oci/registry.ts';
import type { FetchedBlob } from './upstream-content.ts';
import { UpstreamFailure } from './upstream-failure.ts';

/** Bytes that a reader may be behind. */
const WINDOW = 4 * 1024 * 1024;
/** Milliseconds without a byte after which an upstream is given up. */
const STALLED_AFTER = 60_000;

export class BlobTransfer {
  /** The size that the upstream told. */
  readonly size: number | undefined;
  /** Fulfilled when the blob is in the local registry; rejected when it will not be. */
  readonly done: Promise<void>;
  readonly #local: Repository;
  readonly #digest: Digest;
  readonly #readers = new Set<Reader>();
  #received = 0;

  constructor(local: Repository, digest: Digest, { size, body }: FetchedBlob) {
    this.#local = local;
    this.#digest = digest;
    this.size = size;
    this.done = this.#run(body);
    this.done.catch(() => undefined); // told to the readers
  }

  /**
   * The bytes from `start` up to `end`. The last of them are given only when the whole was found right, so that a client
   * never takes wrong bytes for complete; a transfer that fails ends it with an error.
   */
  read(start: number, end: number): ReadableStream<Uint8Array> {
    const reader = new Reader(start, end, this.#received);
    this.#readers.add(reader);
    const body = this.#bytesFor(reader, end);
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          try {
            const { done, value } = await body.next();
            if (done === true) controller.close();
            else controller.enqueue(value);
          } catch (error) {
            controller.error(error);
          }
        },
        cancel: async () => {
          reader.fail(new Error('the client has left'));
          await body.return(undefined);
        },
      },
      { highWaterMark: 0 },
    );
  }

  async *#bytesFor(reader: Reader, end: number): AsyncGenerator<Uint8Array, undefined> {
    try {
      for (let chunk = await reader.next(); chunk !== undefined; chunk = await reader.next()) {
        if (reader.at >= end) await this.done;
        yield chunk;
      }
      if (reader.at >= end) return;
      await this.done;
      const { body } = await this.#local.blobs.open(this.#digest, () => ({ start: reader.at, end }));
      for await (const chunk of body instanceof Blob ? body.stream() : body) yield chunk;
    } finally {
      this.#readers.delete(reader);
    }
  }

  async #run(body: ReadableStream<Uint8Array>): Promise<void> {
    const { uploads } = this.#local;
    const { id } = await uploads.start();
    try {
      const passed = body.pipeThrough(
        new TransformStream<Uint8Array, Uint8Array>({
          transform: (chunk, controller) => {
            this.#received += chunk.byteLength;
            watch.refresh();
            for (const reader of this.#readers) reader.take(chunk, this.#received);
            controller.enqueue(chunk);
          },
        }),
      );
      const stalled = new AbortController();
      const watch = setTimeout(
        () => stalled.abort(new UpstreamFailure('the upstream has stopped sending')),
        STALLED_AFTER,
      );
      try {
        await uploads.finish(id, this.#digest, {
          body: passed,
          signal: stalled.signal,
          ...(this.size === undefined ? {} : { size: this.size }),
        });
      } finally {
        clearTimeout(watch);
      }
      for (const reader of this.#readers) reader.end();
    } catch (error) {
      await uploads.cancel(id).catch(() => undefined);
      for (const reader of this.#readers) reader.fail(error);
      throw error;
    }
  }
}

/** One client of a transfer. */
class Reader {
  /** The place of the next byte that it has not been given. */
  at: number;
  readonly #end: number;
  /** Whether it gets what arrives; else it waits for the end. */
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

  /** Takes a chunk that ends at `received`. */
  take(chunk: Uint8Array, received: number): void {
    if (!this.#follows) return;
    const next = this.at + this.#queued;
    const from = received - chunk.byteLength;
    const part = chunk.subarray(Math.max(0, next - from), Math.max(0, this.#end - from));
    if (part.byteLength === 0) return;
    if (this.#queued + part.byteLength > WINDOW) this.#follows = false;
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

  /** The next bytes that arrived; undefined when there are no more to follow. @throws what it was failed with */
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
