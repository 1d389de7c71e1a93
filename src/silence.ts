/** Whether something was left alone for so long, by the time it bears: also where a clock that was wrong has given it. */
import { isOfAnotherClock } from './process-identity.ts';
import { Recent } from './recent.ts';

/** The clocks of machines that share a storage may differ by so much, in milliseconds. */
const CLOCKS_DIFFER = 60_000;

/** Whether a time (milliseconds since 1970) lies further in the future than clocks differ: then one of them was wrong. */
export function isFuture(time: number, now = Date.now()): boolean {
  return time > now + CLOCKS_DIFFER;
}

/** Names with a time that lies in the future, and since when (by the clock that nobody sets) they are seen to have it. */
const watched = new Recent<number>({ most: 10_000 });

/** Whether something was left alone; `unsure` while it is watched, because its time tells nothing. */
export type Silence = 'silent' | 'not silent' | 'unsure';

/**
 * Whether what has this name, and was last touched at `touched` (milliseconds since 1970), has been left alone for `forMs`
 * milliseconds. A time further in the future than clocks differ was given by a clock that was wrong, or ours is: then it is
 * silent once this process has seen it with that same time for so long. Who asks only once has to wait and ask again.
 */
export function silenceOf(name: string, touched: number, forMs: number): Silence {
  const time = Date.now();
  if (!isFuture(touched, time)) return time - touched >= forMs ? 'silent' : 'not silent';
  const now = performance.now();
  // With the time: several things may have one name, as the locks of one owner.
  const key = `${name} ${touched}`;
  const since = watched.get(key);
  if (since === undefined) watched.set(key, now);
  return now - (since ?? now) >= forMs ? 'silent' : 'unsure';
}

/** See `silenceOf`. */
export function isSilent(name: string, touched: number, forMs: number): boolean {
  return silenceOf(name, touched, forMs) === 'silent';
}

/** `forMs`, and for what somebody on another machine keeps as many milliseconds more as clocks differ. */
export function patienceWith(owner: string, forMs: number): number {
  return isOfAnotherClock(owner) ? forMs + CLOCKS_DIFFER : forMs;
}
