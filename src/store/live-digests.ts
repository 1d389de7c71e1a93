import type { RunningDigest } from './hashing.ts';

/** Uploads whose digest is kept running between two requests. Each is an open file in the hashing thread. */
const MAX_KEPT = 256;
/** How long one is kept for the next request, in milliseconds. */
const KEPT_FOR = 10 * 60_000;

/** How often it is looked whether the uploads are still there, in milliseconds: another process may have ended one. */
const LOOK_AFTER = 15_000;

interface Kept {
  readonly running: RunningDigest;
  readonly isThere: () => Promise<boolean>;
  /** When it is forgotten, in milliseconds since 1970. */
  readonly until: number;
}

/**
 * Digests of uploads that wait for their next chunk, in this process. Another process that gets the next
 * chunk does without: it leaves the digest to the closing request, which then hashes the whole once.
 */
export class LiveDigests {
  readonly #kept = new Map<string, Kept>();
  readonly #lookAfter: number;
  #timer: NodeJS.Timeout | undefined;

  constructor({ lookAfter = LOOK_AFTER }: { readonly lookAfter?: number } = {}) {
    this.#lookAfter = lookAfter;
  }

  /** `isThere` tells whether the upload still is: if not, its file must not be kept open, as it takes up the disk. */
  keep(id: string, running: RunningDigest, isThere: () => Promise<boolean>): void {
    this.drop(id);
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size < MAX_KEPT) break;
      this.drop(oldest);
    }
    this.#kept.set(id, { running, isThere, until: Date.now() + KEPT_FOR });
    this.#look();
  }

  /** Takes out the upload's digest if it covers exactly its first `offset` bytes. */
  take(id: string, offset: number): RunningDigest | undefined {
    const kept = this.#kept.get(id);
    if (kept === undefined) return undefined;
    this.#kept.delete(id);
    if (kept.running.offset === offset) return kept.running;
    kept.running.stop();
    return undefined;
  }

  drop(id: string): void {
    this.take(id, -1);
  }

  #look(): void {
    if (this.#timer !== undefined || this.#kept.size === 0) return;
    this.#timer = setTimeout(() => {
      void this.#dropOver().finally(() => {
        this.#timer = undefined;
        this.#look();
      });
    }, this.#lookAfter);
    this.#timer.unref();
  }

  async #dropOver(): Promise<void> {
    for (const [id, kept] of this.#kept) {
      const over = Date.now() > kept.until || !(await kept.isThere().catch(() => true));
      if (over && this.#kept.get(id) === kept) this.drop(id);
    }
  }
}
