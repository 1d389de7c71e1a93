import type { Digest } from '../oci/digest.ts';
import type { HeldBytes, Repository } from '../oci/registry.ts';
import { Recent } from '../recent.ts';

/** Bytes that are read at a time. */
const PIECE = 64 * 1024;
/** Pieces that are held for readers that are at about the same place. */
const HELD = 32;

/** A blob that is being written to an upload of this storage, by whatever process. */
export interface Followed {
  readonly local: Repository;
  readonly digest: Digest;
  /** The session. */
  readonly upload: string;
  /** Fulfilled when the blob is in the local registry; rejected when it will not be. */
  readonly done: Promise<void>;
  /** Resolves after a while, at the latest when there may be more bytes than so many, or it is over. */
  readonly more: (than: number) => Promise<void>;
}

/** What was written of a blob so far, for any number of readers: of those that are close together one reads. */
export class WrittenBytes {
  readonly #followed: Followed;
  /** Of the held file; or else of the upload, and then of the blob. */
  readonly #held: Pieces;
  readonly #coming: Pieces;
  readonly #kept: Pieces;
  #readers = 0;
  #file: Promise<HeldBytes | undefined> | undefined;

  constructor(followed: Followed) {
    const { local, digest, upload } = followed;
    this.#followed = followed;
    this.#held = new Pieces(async (start, most) => (await this.#file)?.read(start, most));
    this.#coming = new Pieces((start, most) => local.uploads.peek?.(upload, start, most));
    this.#kept = new Pieces(async (start, most) => {
      const select = ({ size }: { readonly size: number }) => ({ start, end: Math.min(size, start + most) });
      const { body } = await local.blobs.open(digest, select);
      return body instanceof Blob ? body.bytes() : new Response(body).bytes();
    });
  }

  /**
   * The bytes from `start` up to `end`, as they come. The last of them are given only when the whole was found right, so
   * that a client never takes wrong bytes for complete. Who reads is not cut when the cache lets the blob go.
   * @throws whatever ended the writing
   */
  async *read(start: number, end: number): AsyncGenerator<Uint8Array, undefined> {
    const { done, more } = this.#followed;
    this.#begin();
    try {
      const isHeld = (await this.#file?.catch(() => undefined)) !== undefined;
      const coming = isHeld ? this.#held : this.#coming;
      let at = start;
      while (at < end) {
        const bytes = await coming.get(at, end);
        if (bytes === undefined) break;
        if (bytes.byteLength === 0) await more(at);
        else {
          if (at + bytes.byteLength >= end) break;
          yield bytes;
          at += bytes.byteLength;
        }
      }
      await done;
      // Piece by piece as well: a file's stream reads ahead of a slow client (Bun 1.4), and there may be many of those.
      const kept = isHeld ? this.#held : this.#kept;
      while (at < end) {
        const bytes = await kept.get(at, end);
        if (bytes === undefined || bytes.byteLength === 0) throw new Error('the blob is shorter than it was');
        yield bytes;
        at += bytes.byteLength;
      }
      return undefined;
    } finally {
      await this.#end();
    }
  }

  /** Holds the file for as long as `body` is read, which may come to need it when the upload is over. */
  async *during(body: AsyncGenerator<Uint8Array, undefined>): AsyncGenerator<Uint8Array, undefined> {
    this.#begin();
    try {
      return yield* body;
    } finally {
      await this.#end();
    }
  }

  #begin(): void {
    const { local, upload } = this.#followed;
    this.#readers += 1;
    this.#file ??= local.uploads.hold?.(upload) ?? Promise.resolve(undefined);
    this.#file.catch(() => undefined);
  }

  async #end(): Promise<void> {
    this.#readers -= 1;
    if (this.#readers === 0) await this.#letGo();
  }

  async #letGo(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    const held = await file?.catch(() => undefined);
    await held?.close().catch(() => undefined);
  }
}

type Read = (start: number, most: number) => Promise<Uint8Array | undefined> | undefined;

/** Whole pieces that were read lately, and those that are being read. */
class Pieces {
  readonly #read: Read;
  readonly #pieces = new Recent<Promise<Uint8Array | undefined>>({ most: HELD });

  constructor(read: Read) {
    this.#read = read;
  }

  /** The rest of the piece that `at` is in, up to `end`; none when there is none yet, undefined when it is over. */
  async get(at: number, end: number): Promise<Uint8Array | undefined> {
    const first = at - (at % PIECE);
    let piece = this.#pieces.get(String(first));
    if (piece === undefined) {
      piece = Promise.resolve(this.#read(first, PIECE));
      this.#pieces.set(String(first), piece);
    }
    try {
      const bytes = await piece;
      // What is not whole yet is looked for again.
      if (bytes === undefined || bytes.byteLength < PIECE) this.#forget(first, piece);
      return bytes?.subarray(at - first, end - first);
    } catch (error) {
      this.#forget(first, piece);
      throw error;
    }
  }

  #forget(first: number, piece: Promise<Uint8Array | undefined>): void {
    if (this.#pieces.get(String(first)) === piece) this.#pieces.delete(String(first));
  }
}

/** A body that is produced as it is read. `onLeave` is called when its reader leaves before the end. */
export function streamOf(
  body: AsyncGenerator<Uint8Array, undefined>,
  onLeave: () => void = () => undefined,
): ReadableStream<Uint8Array> {
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
        onLeave();
        await body.return(undefined);
      },
    },
    { highWaterMark: 0 },
  );
}
