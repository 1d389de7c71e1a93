import type { Digest } from '../oci/digest.ts';

const MAX_REMEMBERED = 100_000;

interface Seen {
  readonly digest: Digest;
  /** When the upstream last said so, in milliseconds since 1970. */
  readonly at: number;
}

/** When each tag was last asked for at its upstream, by this process. What it does not know is asked for again. */
export class TagFreshness {
  readonly #seen = new Map<string, Seen>();
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  note(key: string, digest: Digest): void {
    this.#seen.delete(key);
    this.#seen.set(key, { digest, at: this.#now() });
    for (const oldest of this.#seen.keys()) {
      if (this.#seen.size <= MAX_REMEMBERED) break;
      this.#seen.delete(oldest);
    }
  }

  /** The tag's digest, if the upstream said so at most `ttlMs` ago. */
  fresh(key: string, ttlMs: number): Digest | undefined {
    const seen = this.#seen.get(key);
    return seen !== undefined && this.#now() - seen.at < ttlMs ? seen.digest : undefined;
  }
}
