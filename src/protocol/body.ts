import { once } from 'node:events';
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
 * How long a client is listened to after its refusal, in milliseconds: as long as it sends, and in all. nginx's
 * `lingering_timeout` and `lingering_time` are 5 and 30 seconds; but who has heard the answer and stopped, as Go's client
 * behind a proxy, waits for our end.
 */
const LINGER = { silent: 1_000, whole: 10_000 };

/** How much of a body is waited for: bytes, and milliseconds. */
interface Patience {
  readonly bytes?: number;
  readonly silent?: number;
  readonly whole: number;
}

/** What is left of a body that nobody wants. It is read on until it ends, or `stop`. */
export class UnwantedBody {
  /** Resolves at the end, also when the client has left. */
  readonly ended: Promise<void>;
  #size = 0;
  #isOver = false;
  /** Called with each piece. */
  #onPiece: () => void = () => undefined;

  constructor(body: ReadableStream<Uint8Array>) {
    this.ended = this.#read(body);
  }

  /**
   * Resolves when it has ended, or when more than `bytes` of it were read, its sender was silent for `silent` milliseconds,
   * or `whole` milliseconds have gone by. @returns whether it has ended
   */
  async endsWithin({ bytes = Number.POSITIVE_INFINITY, silent, whole }: Patience): Promise<boolean> {
    const limit = new AbortController();
    const giveUp = (): void => limit.abort();
    const latest = setTimeout(giveUp, whole);
    const silence = silent === undefined ? undefined : setTimeout(giveUp, silent);
    this.#onPiece = () => {
      silence?.refresh();
      if (this.#size > bytes) giveUp();
    };
    this.#onPiece();
    if (!limit.signal.aborted) await Promise.race([this.ended, once(limit.signal, 'abort')]);
    this.#onPiece = () => undefined;
    clearTimeout(latest);
    clearTimeout(silence);
    return this.#isOver;
  }

  /** Reads no further. It is not cancelled: that would end the connection before the answer's end is sent. */
  stop(): void {
    this.#isOver = true;
  }

  async #read(body: ReadableStream<Uint8Array>): Promise<void> {
    const reader = body.getReader();
    try {
      while (!this.#isOver) {
        const { done, value } = await reader.read();
        if (done) break;
        this.#size += value.byteLength;
        this.#onPiece();
      }
    } catch {
      // The client has left; there is nobody to tell.
    }
    this.#isOver = true;
  }
}

/**
 * Reads what is left of a small refused body. A connection that is closed with unread bytes is reset, and the reset can
 * overtake the answer: the client would see a broken connection and never learn why.
 * @returns what is still to come of it, if anything
 */
export async function drainRefused({ headers, body, bodyUsed }: Request): Promise<UnwantedBody | undefined> {
  if (body === null || body.locked) return undefined;
  const unwanted = new UnwantedBody(body);
  // One of which a part was read already, as until a quota was used up, is not small.
  if (bodyUsed || Number(headers.get('content-length') ?? 0) > DRAINED) return unwanted;
  return (await unwanted.endsWithin({ bytes: DRAINED, whole: DRAIN_TIME })) ? undefined : unwanted;
}

/**
 * A refusal of a body that is still coming in. The answer is given at once, but ends only when the client has stopped to
 * send, or after a while: a connection that is closed under a client that writes shows it a broken pipe, and no answer. It
 * ends with its connection, which may have the rest of the body before it. On Bun it has no `Content-Length` (see
 * `Handler`).
 */
export function lingering(unwanted: UnwantedBody, answer: Response): Response {
  const { body: said } = answer;
  if (said === null) return answer;
  const told = new ReadableStream<Uint8Array>({
    async start(controller) {
      for await (const bytes of said) controller.enqueue(bytes);
      await unwanted.endsWithin(LINGER);
      unwanted.stop();
      controller.close();
    },
    cancel: () => unwanted.stop(),
  });
  const headers = new Headers(answer.headers);
  headers.set('Connection', 'close');
  return new Response(told, { status: answer.status, headers });
}
