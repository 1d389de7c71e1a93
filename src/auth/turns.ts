/** Waits that are bounded: how many of a kind go on at once, and how many may wait for that. */
interface Line {
  busy: number;
  readonly waiting: (() => void)[];
}

export class Turns {
  readonly #atOnce: number;
  readonly #mostWaiting: number;
  readonly #lines = new Map<string, Line>();

  /** @param atOnce of the same key @param mostWaiting of the same key */
  constructor(atOnce: number, mostWaiting: number) {
    this.#atOnce = atOnce;
    this.#mostWaiting = mostWaiting;
  }

  /**
   * Runs `work` when fewer than `atOnce` of the same key run, in the order of the calls.
   * @throws whatever `refuse` makes, when too many wait already
   */
  async take<T>(key: string, work: () => Promise<T>, refuse: () => Error): Promise<T> {
    const line = this.#lines.get(key) ?? { busy: 0, waiting: [] };
    this.#lines.set(key, line);
    if (line.busy < this.#atOnce) line.busy += 1;
    else if (line.waiting.length >= this.#mostWaiting) throw refuse();
    // Whoever ends hands its turn over: `busy` stays as it is.
    else await new Promise<void>((resolve) => line.waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = line.waiting.shift();
      if (next !== undefined) next();
      else {
        line.busy -= 1;
        if (line.busy === 0) this.#lines.delete(key);
      }
    }
  }
}
