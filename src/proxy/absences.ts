/** What an upstream said a moment ago that it does not have. */
const REMEMBERED_FOR = 10_000;
const MAX_REMEMBERED = 10_000;

export class Absences {
  readonly #now: () => number;
  /** Until when each is taken for absent, in milliseconds since 1970. */
  readonly #until = new Map<string, number>();

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  has(key: string): boolean {
    return (this.#until.get(key) ?? 0) > this.#now();
  }

  note(key: string): void {
    this.#until.delete(key);
    this.#until.set(key, this.#now() + REMEMBERED_FOR);
    for (const oldest of this.#until.keys()) {
      if (this.#until.size <= MAX_REMEMBERED) break;
      this.#until.delete(oldest);
    }
  }

  forget(key: string): void {
    this.#until.delete(key);
  }
}
