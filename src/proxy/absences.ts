import { Recent } from '../recent.ts';

/** What an upstream said a moment ago that it does not have. */
const REMEMBERED_FOR = 10_000;
const MAX_REMEMBERED = 10_000;

export class Absences {
  readonly #now: () => number;
  /** Until when each is taken for absent, in milliseconds since 1970. */
  readonly #until = new Recent<number>({ most: MAX_REMEMBERED });

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  has(key: string): boolean {
    return (this.#until.get(key) ?? 0) > this.#now();
  }

  note(key: string): void {
    this.#until.set(key, this.#now() + REMEMBERED_FOR);
  }

  forget(key: string): void {
    this.#until.delete(key);
  }
}
