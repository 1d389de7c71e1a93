/**
 * Uploads that are held to a quota: room is set aside before a body is read, where its size is known; else while it comes
 * in, and what grows past the room is cut. An upload that is refused is gone with its bytes.
 */
import type { Digest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { Chunk, Content, Uploads, UploadStatus } from '../oci/registry.ts';
import type { Allowance } from './allowance.ts';

const MIB = 1024 * 1024;
/** Bytes that are set aside ahead of a body whose size is not known: so many at first, and at most. */
const AHEAD = { first: MIB, most: 64 * MIB };

export class MeteredUploads implements Uploads {
  readonly #inner: Uploads;
  readonly #allowance: Allowance;

  constructor(inner: Uploads, allowance: Allowance) {
    this.#inner = inner;
    this.#allowance = allowance;
  }

  async start(options?: Parameters<Uploads['start']>[0]): Promise<UploadStatus> {
    // Before there is a session: what is refused here leaves nothing.
    await this.#allowance.look();
    return this.#inner.start(options);
  }

  status(id: string): Promise<UploadStatus> {
    return this.#inner.status(id);
  }

  async append(id: string, chunk: Chunk): Promise<UploadStatus> {
    return this.#metered(id, chunk, undefined, (body) => this.#inner.append(id, { ...chunk, body }));
  }

  async finish(id: string, digest: Digest, chunk: Chunk = { body: null }): Promise<Content> {
    const content = await this.#metered(id, chunk, digest, (body) =>
      this.#inner.finish(id, digest, { ...chunk, body }),
    );
    await this.#allowance.settle({ key: id, ...content });
    return content;
  }

  async cancel(id: string): Promise<void> {
    await this.#inner.cancel(id);
    await this.#allowance.release([id]);
  }

  async #metered<T>(
    id: string,
    { body, size, offset: said }: Chunk,
    digest: Digest | undefined,
    work: (body: Chunk['body']) => Promise<T>,
  ): Promise<T> {
    const { offset } = await this.#inner.status(id);
    // Out of order: it is refused without being read.
    if (said !== undefined && said !== offset) return work(body);
    const take = (bytes: number, ahead?: number) =>
      this.#allowance.take({
        key: id,
        bytes,
        ...(ahead === undefined ? {} : { ahead }),
        ...(digest === undefined ? {} : { digest }),
      });
    try {
      const granted = await take(offset + (size ?? 0));
      const isMeasured = body === null || size !== undefined;
      return await work(isMeasured ? body : metered(body, offset, granted, take));
    } catch (error) {
      if (isRefusal(error)) await this.#inner.cancel(id).catch(() => undefined);
      // What a broken upload has left is not counted; when it goes on, it is.
      await this.#allowance.release([id]);
      if (digest !== undefined && !isRefusal(error)) await this.#allowance.unsure({ key: id, digest });
      throw error;
    }
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof RegistryError && error.code === 'DENIED';
}

/**
 * The body, for which `take` sets room aside before it is passed on: little at first, then more at a time.
 * @param granted bytes that there is room for, those before the body included
 */
function metered(
  body: ReadableStream<Uint8Array>,
  offset: number,
  granted: number,
  take: (bytes: number, ahead: number) => Promise<number>,
): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  let received = offset;
  let room = granted;
  let step = AHEAD.first;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await reader.read();
        if (done) {
          controller.close();
          return;
        }
        received += value.byteLength;
        if (received > room) {
          try {
            room = await take(received, received + step);
          } catch (error) {
            reader.releaseLock(); // for who lets the client finish its sentence
            throw error;
          }
          step = Math.min(step * 2, AHEAD.most);
        }
        controller.enqueue(value);
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}
