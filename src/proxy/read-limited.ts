import { UpstreamFailure } from './upstream-failure.ts';

/** Milliseconds without a byte after which a small answer is given up. */
const STALLED_AFTER = 10_000;
/** The longest that one may take in all, in milliseconds, however steadily it trickles. */
const LONGEST = 30_000;

/**
 * Reads a whole answer that has to be small. `what` it was is in messages.
 * @throws UpstreamFailure when it is larger, or stalls
 */
export async function readLimited(
  answer: Response,
  most: number,
  what: string,
  stalledAfter = STALLED_AFTER,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader = answer.body?.getReader();
  const stalled = { is: false };
  const watch = setTimeout(() => {
    stalled.is = true;
    void reader?.cancel().catch(() => undefined);
  }, stalledAfter);
  const end = setTimeout(() => {
    stalled.is = true;
    void reader?.cancel().catch(() => undefined);
  }, LONGEST);
  try {
    for (let next = await reader?.read(); next?.done === false; next = await reader?.read()) {
      watch.refresh();
      size += next.value.byteLength;
      if (size > most) {
        void reader?.cancel().catch(() => undefined);
        throw new UpstreamFailure(`the upstream gave a ${what} of more than ${most} bytes`);
      }
      chunks.push(next.value);
    }
    if (stalled.is) {
      throw new UpstreamFailure(`the upstream has not come to the end of a ${what}`, { timedOut: true });
    }
    return Buffer.concat(chunks);
  } finally {
    clearTimeout(watch);
    clearTimeout(end);
  }
}
