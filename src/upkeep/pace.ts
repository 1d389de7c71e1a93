/** How fast a piece of upkeep may go. */

export interface PaceLimits {
  /** Objects that may be looked at in a second; undefined for no limit. */
  readonly objectsPerSecond?: number | undefined;
  /** Bytes that may be read in a second; undefined for no limit. */
  readonly bytesPerSecond?: number | undefined;
}

/** Milliseconds of work without a pause in which signals and timers are heard. */
const SLICE = 10;
/** Milliseconds that a wait is worth: shorter ones are saved up. */
const LEAST_WAIT = 5;
/** Milliseconds of unused time that may be made up for. */
const BURST = 100;

/**
 * Keeps work at its rate, and lets other work of the process have its turn now and then.
 * @returns the function that is called before each piece of work; undefined from it means that nothing has to be waited for
 */
export function pacer(
  { objectsPerSecond, bytesPerSecond }: PaceLimits,
  signal: AbortSignal,
): (objects: number, bytes?: number) => Promise<void> | undefined {
  let turn = performance.now();
  /** When the work that was allowed so far would be over at exactly its rate. */
  let due = turn;
  return (objects, bytes = 0) => {
    const now = performance.now();
    const costs = Math.max(
      objectsPerSecond === undefined ? 0 : (objects * 1000) / objectsPerSecond,
      bytesPerSecond === undefined ? 0 : (bytes * 1000) / bytesPerSecond,
    );
    due = Math.max(due, now - BURST) + costs;
    const wait = due - now;
    if (wait < LEAST_WAIT && now - turn < SLICE) return undefined;
    return new Promise((resolve, reject) => {
      const go = (): void => {
        signal.removeEventListener('abort', go);
        clearTimeout(timer);
        turn = performance.now();
        if (signal.aborted) reject(signal.reason as Error);
        else resolve();
      };
      const timer = setTimeout(go, wait < LEAST_WAIT ? 0 : wait);
      signal.addEventListener('abort', go);
      if (signal.aborted) go();
    });
  };
}
