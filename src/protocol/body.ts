import { RegistryError } from '../oci/errors.ts';
import type { Exchange } from './exchange.ts';
import { StallWatch } from './stall-watch.ts';

/** Bytes of a refused body that are read all the same, and for how long (milliseconds). Go's server has the same amount. */
const DRAINED = 256 * 1024;
const DRAIN_TIME = 2_000;

/**
 * Reads a small body whole. The limit holds while it streams, so that a body without end costs no more memory
 * than the limit (CVE-2017-11468).
 * @throws RegistryError `MANIFEST_INVALID` with 413 above `limit` bytes
 */
export async function readLimited(
  { request, connection, settings }: Exchange,
  limit: number,
): Promise<Uint8Array> {
  if (Number(request.headers.get('content-length') ?? 0) > limit) throw tooLarge(limit);
  if (request.body === null) return new Uint8Array();
  connection.liftIdleLimit();
  const watch = new StallWatch();
  const forget = settings.writes.onCut((error) => watch.cut(error));
  const reader = request.body.getReader();
  const abort = () => void reader.cancel().catch(() => undefined);
  watch.signal.addEventListener('abort', abort, { once: true });
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.byteLength;
      if (size > limit) {
        // Read a little further, and kept no more: the end is often near, and then the answer is not lost to a reset.
        chunks.length = 0;
        if (size <= limit + DRAINED) continue;
        abort();
        throw tooLarge(limit);
      }
      chunks.push(value);
      watch.progress();
    }
    watch.signal.throwIfAborted();
    if (size > limit) throw tooLarge(limit);
  } finally {
    forget();
    watch.stop();
  }
  const [only] = chunks;
  return chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks, size);
}

function tooLarge(limit: number): RegistryError {
  return new RegistryError('MANIFEST_INVALID', `the manifest is larger than ${limit} bytes`, {
    status: 413,
    detail: { limit },
    headers: { Connection: 'close' },
  });
}

/**
 * Reads what is left of a small refused body. A connection that is closed with unread bytes is reset, and the reset can
 * overtake the answer: the client would see a broken connection and never learn why.
 * @returns whether nothing of it is left
 */
export async function drainRefused({ headers, body, bodyUsed }: Request): Promise<boolean> {
  if (body === null) return true;
  if (bodyUsed || body.locked || Number(headers.get('content-length') ?? 0) > DRAINED) return false;
  const reader = body.getReader();
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    void reader.cancel().catch(() => undefined);
  }, DRAIN_TIME);
  try {
    for (let size = 0; size <= DRAINED;) {
      const { done, value } = await reader.read();
      if (done) return !isLate;
      size += value.byteLength;
    }
    reader.releaseLock();
    return false;
  } catch {
    return true; // The client has left; there is nobody to tell.
  } finally {
    clearTimeout(timer);
  }
}

function withResolvers(): { readonly promise: Promise<undefined>; readonly resolve: () => void } {
  let resolve = (): void => undefined;
  const promise = new Promise<undefined>((done) => {
    resolve = () => done(undefined);
  });
  return { promise, resolve };
}

/** How long a client that still sends is listened to after its refusal, in milliseconds. */
const LINGER = 2_000;

/**
 * A refusal of a body that is still coming in. The answer is given at once, but ends only when the client has stopped to
 * send, or after a while: a connection that is closed under a client that writes shows it a broken pipe, and no answer.
 */
export function lingering(request: Request, answer: Response): Response {
  const { body } = request;
  if (body === null || body.locked || answer.body === null) return answer;
  const reader = body.getReader();
  const said = answer.body;
  const told = new ReadableStream<Uint8Array>({
    async start(controller) {
      // Not cancelled when it is late: that would close the connection before the answer's end is sent.
      const { promise: late, resolve } = withResolvers();
      const timer = setTimeout(resolve, LINGER);
      try {
        for await (const bytes of said) controller.enqueue(bytes);
        while ((await Promise.race([reader.read(), late]))?.done === false);
      } catch {
        // The client has left: it has heard enough.
      } finally {
        clearTimeout(timer);
        controller.close();
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
  const headers = new Headers(answer.headers);
  headers.delete('content-length');
  return new Response(told, { status: answer.status, headers });
}
