/** How many manifests are fetched from an upstream in a time, so that its own limit is not used up. */
export interface RateLimitOptions {
  readonly count: number;
  readonly perMs: number;
}

export class RateLimit {
  readonly #options: RateLimitOptions;
  readonly #now: () => number;
  readonly #onTaken: () => void;
  /** When each fetch of the last `perMs` was, in milliseconds since 1970. */
  #taken: number[] = [];

  /** @param onTaken told of each fetch, for other processes that share the limit (`note`) */
  constructor(
    options: RateLimitOptions,
    now: () => number = Date.now,
    onTaken: () => void = () => undefined,
  ) {
    this.#options = options;
    this.#now = now;
    this.#onTaken = onTaken;
  }

  /** Takes one; undefined when that is within the limit, else the seconds until it will be. */
  take(): number | undefined {
    const { count, perMs } = this.#options;
    const now = this.#now();
    this.#taken = this.#taken.filter((at) => now - at < perMs);
    const oldest = this.#taken.at(-count);
    if (oldest !== undefined) return Math.max(1, Math.ceil((oldest + perMs - now) / 1000));
    this.note();
    this.#onTaken();
    return undefined;
  }

  /** Counts a fetch of another process. */
  note(): void {
    this.#taken.push(this.#now());
  }
}

/** What an upstream says of its own limit: Docker Hub's `RateLimit-Limit: 100;w=21600` and `RateLimit-Remaining`. */
export interface UpstreamQuota {
  readonly limit: number;
  readonly remaining: number;
  /** Seconds. */
  readonly window: number | undefined;
}

export function quotaOf(headers: Headers): UpstreamQuota | undefined {
  const limit = read(headers.get('ratelimit-limit'));
  const remaining = read(headers.get('ratelimit-remaining'));
  if (limit === undefined || remaining === undefined) return undefined;
  return { limit: limit.value, remaining: remaining.value, window: limit.window ?? remaining.window };
}

function read(header: string | null): { value: number; window: number | undefined } | undefined {
  const [, value, window] = /^\s*(\d{1,12})(?:\s*;\s*w=(\d{1,12}))?/.exec(header ?? '') ?? [];
  if (value === undefined) return undefined;
  return { value: Number(value), window: window === undefined ? undefined : Number(window) };
}
