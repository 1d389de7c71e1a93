import { readFileSync, statSync } from 'node:fs';
import type { Logger } from '../log.ts';

/** How often files are looked at, in milliseconds. */
const LOOK_EVERY = 1_000;

/**
 * What was made of a few files, made anew when one of them changes. When that fails, what there was stays and the log is
 * told, once for each change.
 */
export class WatchedFiles<T> {
  readonly #paths: readonly string[];
  readonly #make: (texts: readonly string[]) => T;
  readonly #log: Pick<Logger, 'error' | 'info'>;
  #value: T;
  #signature: string;
  #lookedAt = Date.now();

  /** @throws what `make` throws, or that a file cannot be read */
  constructor(
    paths: readonly string[],
    make: (texts: readonly string[]) => T,
    log: Pick<Logger, 'error' | 'info'>,
  ) {
    this.#paths = paths;
    this.#make = make;
    this.#log = log;
    this.#signature = signatureOf(paths);
    this.#value = make(paths.map((path) => readFileSync(path, 'utf8')));
  }

  /** As of the last second. */
  get value(): T {
    if (Math.abs(Date.now() - this.#lookedAt) < LOOK_EVERY) return this.#value;
    this.#lookedAt = Date.now();
    const signature = signatureOf(this.#paths);
    if (signature === this.#signature) return this.#value;
    this.#signature = signature;
    try {
      this.#value = this.#make(this.#paths.map((path) => readFileSync(path, 'utf8')));
      this.#log.info(`${this.#paths.join(', ')}: read again`);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#log.error(`${this.#paths.join(', ')}: cannot be used, what was in it before still counts`, {
        error: reason,
      });
    }
    return this.#value;
  }
}

function signatureOf(paths: readonly string[]): string {
  return paths
    .map((path) => {
      const stats = statSync(path, { throwIfNoEntry: false });
      return stats === undefined ? 'absent' : `${stats.mtimeMs} ${stats.size} ${stats.ino}`;
    })
    .join();
}
