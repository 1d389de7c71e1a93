import type { Digest } from '../oci/digest.ts';
import type { Repository } from '../oci/registry.ts';

/** Bytes that are read at a time. */
const PIECE = 1024 * 1024;

/** A blob that is being written to an upload of this storage, by whatever process. */
export interface Followed {
  readonly local: Repository;
  readonly digest: Digest;
  /** The session. */
  readonly upload: string;
  /** Bytes of the whole. */
  readonly size: number;
  /** Fulfilled when the blob is in the local registry; rejected when it will not be. */
  readonly done: Promise<void>;
  /** Resolves after a while, at the latest when there may be more bytes than so many, or it is over. */
  more(than: number): Promise<void>;
}

/**
 * The bytes from `start` up to `end` of what is being written, as they come. The last bytes of the blob are given only
 * when the whole was found right, so that a client never takes wrong bytes for complete.
 * @throws whatever ended the writing
 */
export async function* followUpload(
  followed: Followed,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array, undefined> {
  const { local, digest, upload, size, done } = followed;
  let at = start;
  while (at < end) {
    const bytes = await local.uploads.peek?.(upload, at, Math.min(PIECE, end - at));
    if (bytes === undefined) break;
    if (bytes.byteLength === 0) await followed.more(at);
    else {
      if (at + bytes.byteLength >= size) break;
      yield bytes;
      at += bytes.byteLength;
    }
  }
  if (at >= end) return undefined;
  await done;
  const { body } = await local.blobs.open(digest, () => ({ start: at, end }));
  for await (const chunk of body instanceof Blob ? body.stream() : body) yield chunk;
  return undefined;
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
