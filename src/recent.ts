export interface RecentOptions<T> {
  /** Entries that are kept. */
  readonly most: number;
  /** What an entry costs, in bytes or whatever `budget` is in. */
  readonly weight?: (key: string, value: T) => number;
  /** What all entries together may cost. */
  readonly budget?: number;
}

/**
 * A map that forgets what was neither asked for nor set for the longest, as soon as there are too many entries or they
 * weigh too much: what strangers can fill must have an end.
 */
export class Recent<T> {
  readonly #most: number;
  readonly #weight: (key: string, value: T) => number;
  readonly #budget: number;
  readonly #map = new Map<string, T>();
  #weighs = 0;

  constructor({ most, weight = () => 0, budget = Infinity }: RecentOptions<T>) {
    this.#most = most;
    this.#weight = weight;
    this.#budget = budget;
  }

  get(key: string): T | undefined {
    const value = this.#map.get(key);
    if (value !== undefined) {
      this.#map.delete(key);
      this.#map.set(key, value);
    }
    return value;
  }

  set(key: string, value: T): void {
    this.delete(key);
    this.#map.set(key, value);
    this.#weighs += this.#weight(key, value);
    for (const oldest of this.#map.keys()) {
      if (this.#map.size <= this.#most && this.#weighs <= this.#budget) break;
      this.delete(oldest);
    }
  }

  delete(key: string): void {
    const value = this.#map.get(key);
    if (value === undefined) return;
    this.#map.delete(key);
    this.#weighs -= this.#weight(key, value);
  }

  get size(): number {
    return this.#map.size;
  }
}
