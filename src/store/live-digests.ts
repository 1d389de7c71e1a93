import type { RunningDigest } from './hashing.ts';

/** Uploads whose digest is kept running between two requests. Each is an open file in the hashing thread. */
const MAX_KEPT = 256;
/** How long one is kept for the next request, in milliseconds. */
const KEPT_FOR = 10 * 60_000;

/**
 * Digests of uploads that wait for their next chunk, in this process. Another process that gets the next
 * chunk does without: it leaves the digest to the closing request, which then hashes the whole once.
 */
export class LiveDigests {
  readonly #kept = new Map<string, { readonly running: RunningDigest; readonly timer: NodeJS.Timeout }>();

  keep(id: string, running: RunningDigest): void {
    this.drop(id);
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size < MAX_KEPT) break;
      this.drop(oldest);
    }
    const timer = setTimeout(() => this.drop(id), KEPT_FOR);
    timer.unref();
    this.#kept.set(id, { running, timer });
  }

  /** Takes out the upload's digest if it covers exactly its first `offset` bytes. */
  take(id: string, offset: number): RunningDigest | undefined {
    const kept = this.#kept.get(id);
    if (kept === undefined) return undefined;
    this.#kept.delete(id);
    clearTimeout(kept.timer);
    if (kept.running.offset === offset) return kept.running;
    kept.running.stop();
    return undefined;
  }

  drop(id: string): void {
    this.take(id, -1);
  }
}
