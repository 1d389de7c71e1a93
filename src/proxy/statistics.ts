/** What the cache has done since the server was started, by upstream. */
import type { UpstreamQuota } from './rate-limit.ts';

export const COUNTERS = [
  /** Answered from what is kept: manifests and blobs. */
  'hits',
  /** Had to be fetched. */
  'misses',
  /** Bytes of the hits: what was not fetched again. */
  'bytesSaved',
  'bytesFetched',
  /** Served although the upstream did not confirm it. */
  'stale',
  /** Requests that the upstream did not answer as it should. */
  'failures',
  /** What the upstream does not let us have. */
  'refused',
  /** Tags that were asked for again and had not changed. */
  'revalidated',
] as const;

export type Counter = (typeof COUNTERS)[number];
export type Counters = Record<Counter, number>;

/** What another process of this server has done. */
export interface StatisticsShare {
  readonly subject: 'cache statistics';
  readonly counts: Readonly<Record<string, Partial<Counters>>>;
  readonly quotas: Readonly<Record<string, UpstreamQuota>>;
}

/** Milliseconds for which counts are gathered before the other processes are told. */
const TELL_AFTER = 1_000;

export class CacheStatistics {
  readonly #counts = new Map<string, Counters>();
  readonly #quotas = new Map<string, UpstreamQuota>();
  readonly #tell: ((share: StatisticsShare) => void) | undefined;
  #untold: { counts: Record<string, Partial<Counters>>; quotas: Record<string, UpstreamQuota> } | undefined;

  /** @param tell hands what was counted to the other processes (`take`) */
  constructor(tell?: (share: StatisticsShare) => void) {
    this.#tell = tell;
  }

  count(upstream: string, counter: Counter, by = 1): void {
    const present = this.#counts.get(upstream);
    if (present === undefined) this.#add(upstream, { [counter]: by });
    else present[counter] += by;
    if (this.#tell === undefined) return;
    const { counts } = this.#gather();
    const told = (counts[upstream] ??= {});
    told[counter] = (told[counter] ?? 0) + by;
  }

  /** An answer from what is kept. */
  hit(upstream: string, bytes: number): void {
    this.count(upstream, 'hits');
    this.count(upstream, 'bytesSaved', bytes);
  }

  /** What the upstream said is left of its own limit. */
  quota(upstream: string, quota: UpstreamQuota): void {
    this.#quotas.set(upstream, quota);
    if (this.#tell !== undefined) this.#gather().quotas[upstream] = quota;
  }

  take({ counts, quotas }: StatisticsShare): void {
    for (const [upstream, some] of Object.entries(counts)) this.#add(upstream, some);
    for (const [upstream, quota] of Object.entries(quotas)) this.#quotas.set(upstream, quota);
  }

  /** By upstream, in the order of their names. */
  read(): Readonly<Record<string, Counters & { readonly quota?: UpstreamQuota }>> {
    const names = [...new Set([...this.#counts.keys(), ...this.#quotas.keys()])].sort();
    return Object.fromEntries(
      names.map((name) => {
        const quota = this.#quotas.get(name);
        return [name, { ...(this.#counts.get(name) ?? none()), ...(quota === undefined ? {} : { quota }) }];
      }),
    );
  }

  #add(upstream: string, some: Partial<Counters>): void {
    const counts = this.#counts.get(upstream) ?? none();
    for (const counter of COUNTERS) counts[counter] += some[counter] ?? 0;
    this.#counts.set(upstream, counts);
  }

  #gather() {
    if (this.#untold === undefined) {
      this.#untold = { counts: {}, quotas: {} };
      const timer = setTimeout(() => {
        const untold = this.#untold;
        this.#untold = undefined;
        if (untold !== undefined) this.#tell?.({ subject: 'cache statistics', ...untold });
      }, TELL_AFTER);
      timer.unref();
    }
    return this.#untold;
  }
}

function none(): Counters {
  return Object.fromEntries(COUNTERS.map((counter) => [counter, 0])) as Counters;
}
