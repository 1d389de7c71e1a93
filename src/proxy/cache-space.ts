/** How much the cache may hold, and for how long: what was not used for the longest goes first. */
import type { Logger } from '../log.ts';
import type { Digest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import { Recent } from '../recent.ts';
import {
  type CachedContent,
  lockKey,
  parseUsedKey,
  type StateStorage,
  USED,
  usedKey,
} from './cache-state.ts';
import { CacheClaim } from './claims.ts';

export interface CacheSpaceOptions {
  readonly storage: StateStorage;
  /** What all cached content may take, in bytes; undefined for no limit. */
  readonly maxBytes: number | undefined;
  /** Milliseconds after its last use at which content of a repository goes; undefined for never. */
  readonly ttlOf: (name: RepositoryName) => number | undefined;
  /** Unlinks the content from its repository. It may have gone already. */
  readonly unlink: (content: CachedContent) => Promise<void>;
  /** Removes the bytes of those to which no link is left. */
  readonly reclaim: (digests: readonly Digest[]) => Promise<void>;
  /** Told of what has come, for other processes that share the limit. */
  readonly onAdded?: ((digest: Digest, size: number) => void) | undefined;
  /** Whether nothing may be written: then uses are not noted. */
  readonly readOnly?: (() => boolean) | undefined;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** Milliseconds since 1970, by the clock of the storage. */
  readonly now?: () => number;
  /** Milliseconds after which a use is noted again. */
  readonly touchEveryMs?: number;
}

/** The end of what was admitted. */
export interface Admission {
  /** It does not come after all. */
  withdraw(): Promise<void>;
  /** It is here. */
  arrived(): void;
}

/** Content and when it was last used, in milliseconds since 1970. */
export interface UsedContent {
  readonly content: CachedContent;
  readonly usedAt: number;
}

const TOUCH_EVERY = 60_000;
const MAX_TOUCHED = 100_000;
/** Part of the limit to which it is brought down when it is reached. */
const TARGET = 0.85;
/** Above this part of it all content is counted again after `NEAR_AGAIN_AFTER` milliseconds. */
const NEAR = 0.9;
const NEAR_AGAIN_AFTER = 5_000;
/** Milliseconds for which a count of all content counts. */
const COUNT_AGAIN_AFTER = 60_000;
/** Milliseconds that a fetch waits for others to end before it goes beyond the limit: its upstream waits meanwhile. */
const LONGEST_TURN = 10_000;
/** Milliseconds that a process waits for another one that makes room. */
const WAIT = 30_000;

export class CacheSpace {
  readonly #options: CacheSpaceOptions;
  readonly #now: () => number;
  readonly #touchEvery: number;
  /** When this process last noted a use, by key. */
  readonly #touched = new Recent<number>({ most: MAX_TOUCHED });
  /** What is kept, by digest: content that several repositories share is there once. */
  #sizes = new Map<Digest, number>();
  #total = 0;
  #countedAt = Number.NEGATIVE_INFINITY;
  /** What this process is fetching: it takes up room and cannot be let go. */
  readonly #coming = new Map<string, CachedContent>();

  constructor(options: CacheSpaceOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#touchEvery = options.touchEveryMs ?? TOUCH_EVERY;
  }

  /** Notes that the content is served. Costs nothing but once in a while. */
  used(content: CachedContent): void {
    if (this.#options.readOnly?.() === true) return;
    const key = usedKey(content);
    const now = this.#now();
    if (now - (this.#touched.get(key) ?? Number.NEGATIVE_INFINITY) < this.#touchEvery) return;
    this.#write(content).catch((error: unknown) => {
      this.#options.log.warn('the use of cached content could not be noted', { error: String(error) });
    });
  }

  /**
   * Makes room for content that is about to be fetched, and counts it from now on, until `settle`, `arrived` or
   * `withdraw` tells its end.
   */
  async admit(content: CachedContent): Promise<Admission> {
    const { maxBytes } = this.#options;
    if (maxBytes !== undefined) await this.#turn(content, maxBytes);
    const key = usedKey(content);
    this.#coming.set(key, content);
    try {
      await this.#locked(async () => {
        if (maxBytes !== undefined) await this.#makeRoom(content, maxBytes);
        await this.#write(content);
      });
    } catch (error) {
      this.#coming.delete(key);
      throw error;
    }
    return {
      withdraw: () => this.withdraw(content),
      arrived: () => {
        this.#coming.delete(key);
        this.#options.onAdded?.(content.digest, content.size);
      },
    };
  }

  /** Takes back what did not come after all. */
  async withdraw(content: CachedContent): Promise<void> {
    this.#coming.delete(usedKey(content));
    this.#forget(content.digest);
    await this.#drop(content);
  }

  /** Notes that content has come. What came beside it may have to go. */
  async settle(content: CachedContent): Promise<void> {
    const { maxBytes, onAdded } = this.#options;
    this.#coming.delete(usedKey(content));
    await this.#write(content);
    onAdded?.(content.digest, content.size);
    // One that is larger than all there may be goes with the next one: others need not go for it.
    if (maxBytes === undefined || this.#total <= maxBytes || content.size > maxBytes) return;
    await this.#locked(() => this.#makeRoom(content, maxBytes));
  }

  /** Counts what another process has added. */
  noteAdded(digest: Digest, size: number): void {
    if (this.#sizes.has(digest)) return;
    this.#sizes.set(digest, size);
    this.#total += size;
  }

  /** Waits until what is being fetched leaves room. One that is larger than all there may be waits for nobody. */
  async #turn(content: CachedContent, maxBytes: number): Promise<void> {
    const { digest, size } = content;
    if (size > maxBytes) return;
    const coming = () =>
      [...this.#coming.values()].reduce((sum, one) => (one.digest === digest ? sum : sum + one.size), 0);
    for (const until = Date.now() + LONGEST_TURN; ;) {
      const others = coming();
      if (others === 0 || others + size <= maxBytes || Date.now() > until) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** All that is kept, in no order. */
  async *list(): AsyncGenerator<UsedContent, undefined> {
    for await (const { key, modified } of this.#options.storage.driver.list(USED)) {
      const content = parseUsedKey(key);
      if (content !== undefined) yield { content, usedAt: modified };
    }
    return undefined;
  }

  /** Removes what was not used for its time, and what is above the limit. One process does so at a time. */
  async sweep(): Promise<void> {
    const { storage, ttlOf, maxBytes } = this.#options;
    const claim = await CacheClaim.take(storage, lockKey('sweep'));
    if (claim === undefined) return;
    try {
      const over: CachedContent[] = [];
      const now = this.#now();
      for await (const { content, usedAt } of this.list()) {
        const ttl = ttlOf(content.name);
        if (ttl !== undefined && now - usedAt >= ttl) over.push(content);
      }
      await this.remove(over);
      if (maxBytes !== undefined) await this.#locked(() => this.#makeRoom(undefined, maxBytes));
    } finally {
      await claim.release();
    }
  }

  /** Removes content from the cache, and its bytes where nobody else has them. */
  async remove(contents: readonly CachedContent[]): Promise<void> {
    const { unlink, reclaim, log } = this.#options;
    const gone = new Set<Digest>();
    for (const content of contents) {
      try {
        // The link before the note of it: what a crash leaves is found again.
        await unlink(content);
        await this.#drop(content);
        gone.add(content.digest);
      } catch (error) {
        log.warn(`${content.name}@${content.digest} could not be removed from the cache`, {
          error: String(error),
        });
      }
    }
    if (gone.size === 0) return;
    await reclaim([...gone]);
    this.#countedAt = Number.NEGATIVE_INFINITY;
  }

  /** Evicts until there is room for `content`, which may be larger than the whole. */
  async #makeRoom(content: CachedContent | undefined, maxBytes: number): Promise<void> {
    const needed = content === undefined || this.#sizes.has(content.digest) ? 0 : content.size;
    const age = this.#now() - this.#countedAt;
    // One that is larger than all there may be is no reason to let the others go.
    if (needed > maxBytes) return;
    const isNear = this.#total + needed > maxBytes * NEAR;
    const isFull = this.#total + needed > maxBytes;
    if (!isFull && age < (isNear ? NEAR_AGAIN_AFTER : COUNT_AGAIN_AFTER)) return;
    const all = await this.#count();
    if (this.#total + needed <= maxBytes) return;
    // Some more than is needed: to look at everything for each blob would be dear.
    const target = Math.max(0, maxBytes * TARGET - needed);
    const evicted: CachedContent[] = [];
    const left = new Map<Digest, number>();
    for (const { content: one } of all) left.set(one.digest, (left.get(one.digest) ?? 0) + 1);
    let total = this.#total;
    const isComing = new Set([...this.#coming.values()].map((one) => one.digest));
    const order = ({ content: one, usedAt }: UsedContent) => (one.size > maxBytes ? 0 : usedAt);
    for (const { content: one } of all.sort((a, b) => order(a) - order(b))) {
      if (total <= target) break;
      if (one.digest === content?.digest || isComing.has(one.digest)) continue;
      evicted.push(one);
      const others = (left.get(one.digest) ?? 1) - 1;
      left.set(one.digest, others);
      if (others === 0) total -= one.size;
    }
    await this.remove(evicted);
    if (evicted.length === 0) return;
    this.#options.log.info('the cache was full: what was not used for the longest is gone', {
      evicted: evicted.length,
      bytes: this.#total - total,
    });
    await this.#count();
  }

  async #count(): Promise<UsedContent[]> {
    const all: UsedContent[] = [];
    for await (const one of this.list()) all.push(one);
    this.#sizes = new Map(all.map(({ content }) => [content.digest, content.size]));
    this.#total = [...this.#sizes.values()].reduce((sum, size) => sum + size, 0);
    this.#countedAt = this.#now();
    return all;
  }

  async #write(content: CachedContent): Promise<void> {
    const key = usedKey(content);
    this.#touched.set(key, this.#now());
    if (!this.#sizes.has(content.digest)) {
      this.#sizes.set(content.digest, content.size);
      this.#total += content.size;
    }
    await this.#options.storage.driver.write(key, new Uint8Array(), { volatile: true });
  }

  async #drop(content: CachedContent): Promise<void> {
    const key = usedKey(content);
    this.#touched.delete(key);
    await this.#options.storage.driver.delete([key], { volatile: true });
  }

  #forget(digest: Digest): void {
    this.#total -= this.#sizes.get(digest) ?? 0;
    this.#sizes.delete(digest);
  }

  /** Among all processes, where there is a limit to keep. */
  async #locked(work: () => Promise<void>): Promise<void> {
    const { storage, maxBytes } = this.#options;
    if (maxBytes === undefined) return work();
    for (const until = Date.now() + WAIT; ;) {
      const claim = await CacheClaim.take(storage, lockKey('space'));
      if (claim !== undefined) {
        try {
          return await work();
        } finally {
          await claim.release();
        }
      }
      if (Date.now() > until) return work(); // rather a little too much than nothing
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}
