/** A storage in which chance, or a test, says whose step is next: for every order of the steps of several processes. */
import type {
  ListOptions,
  Moves,
  ObjectBody,
  ReadOptions,
  StorageDriver,
  Touches,
  WriteOptions,
} from '../../src/drivers/driver.ts';
import type { MemoryDriver } from '../../src/drivers/memory.ts';

/** Lets one step of all that wait go on, as the numbers say, until nobody waits any more. */
export class Turns {
  readonly #waiting: (() => void)[] = [];
  readonly #choices: readonly number[];
  #next = 0;
  isFree = false;

  constructor(choices: readonly number[]) {
    this.#choices = choices;
  }

  take(): Promise<void> {
    if (this.isFree) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  /** @returns when all of the work has ended */
  async run(work: readonly Promise<unknown>[]): Promise<void> {
    const state = { ended: false };
    void Promise.allSettled(work).then(() => (state.ended = true));
    while (!state.ended) {
      await new Promise((resolve) => setImmediate(resolve));
      const choice = this.#choices[this.#next % this.#choices.length] ?? 0;
      this.#next += 1;
      const [chosen] = this.#waiting.splice(choice % Math.max(1, this.#waiting.length), 1);
      chosen?.();
    }
    this.isFree = true;
  }
}

/** A process that ends at a step of its own: from then on nothing that it does happens. */
interface Life {
  stepsLeft: number;
}

/** A storage in which each step waits for its turn. */
export class StepByStep implements StorageDriver, Moves, Touches {
  readonly #inner: MemoryDriver;
  readonly #turns: Turns;
  readonly #life: Life;

  constructor(inner: MemoryDriver, turns: Turns, life: Life = { stepsLeft: Number.POSITIVE_INFINITY }) {
    this.#inner = inner;
    this.#turns = turns;
    this.#life = life;
  }

  async #step(): Promise<void> {
    await this.#turns.take();
    this.#life.stepsLeft -= 1;
    if (this.#life.stepsLeft < 0) throw new Killed();
  }

  async stat(key: string) {
    await this.#step();
    return this.#inner.stat(key);
  }

  async read(key: string, options?: ReadOptions) {
    await this.#step();
    return this.#inner.read(key, options);
  }

  async write(key: string, body: ObjectBody, options?: WriteOptions) {
    await this.#step();
    return this.#inner.write(key, body, options);
  }

  async *list(prefix: string, options?: ListOptions) {
    await this.#step();
    yield* this.#inner.list(prefix, options);
  }

  /** One after the other, as a crash can come between any two. */
  async delete(keys: readonly string[]) {
    for (const key of keys) {
      await this.#step();
      await this.#inner.delete([key]);
    }
  }

  async move(from: string, to: string) {
    await this.#step();
    return this.#inner.move(from, to);
  }

  async touch(key: string) {
    await this.#step();
    return this.#inner.touch(key);
  }
}

/** What a process that has died would do next. */
export class Killed extends Error {
  override readonly name = 'Killed';
}
