/** When a server that ends stops waiting for clients that have connected and asked nothing. */

/** How long such a client may take to ask in a drain, in milliseconds. */
export const LAST_CALL_MS = 1_000;

/** So many looks are taken in that time. */
const LOOKS = 10;

/**
 * Calls `end` once, when no request has been under way for `LAST_CALL_MS`, unless `drained` resolves before. It is
 * counted by looks, and not by the clock: between two of them the runtime reads what has come, also on a machine that
 * stood still.
 * @param pending requests under way
 */
export function endWhenQuiet(pending: () => number, drained: Promise<unknown>, end: () => void): void {
  let quiet = 0;
  const timer = setInterval(() => {
    quiet = pending() === 0 ? quiet + 1 : 0;
    if (quiet < LOOKS) return;
    clearInterval(timer);
    end();
  }, LAST_CALL_MS / LOOKS);
  const stop = (): void => clearInterval(timer);
  drained.then(stop, stop);
}
