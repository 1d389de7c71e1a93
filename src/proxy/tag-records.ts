import { type Digest, isDigest } from '../oci/digest.ts';
import type { RepositoryName, Tag } from '../oci/name.ts';
import { readState, type StateStorage, tagKey, writeState } from './cache-state.ts';
import { CacheClaim } from './claims.ts';

/** What the upstream last said of a tag. */
export interface TagRecord {
  readonly digest: Digest;
  /** When it was asked, in milliseconds since 1970. */
  readonly asked: number;
}

/** Milliseconds by which clocks of machines may differ. */
const CLOCKS_DIFFER = 5_000;
/** Milliseconds that a note waits for another one of the same tag. */
const WAIT = 1_000;

/** What is known of the upstreams' tags, in the storage: all processes serve the same digest. */
export class TagRecords {
  readonly #storage: StateStorage;
  readonly #now: () => number;
  readonly #running = new Map<string, Promise<void>>();

  constructor(storage: StateStorage, now: () => number = Date.now) {
    this.#storage = storage;
    this.#now = now;
  }

  async get(name: RepositoryName, tag: Tag): Promise<TagRecord | undefined> {
    const record = (await readState(this.#storage, tagKey(name, tag))) as Partial<TagRecord> | undefined;
    const { digest, asked } = record ?? {};
    if (typeof digest !== 'string' || !isDigest(digest) || typeof asked !== 'number') return undefined;
    return { digest, asked };
  }

  /**
   * Notes an answer, unless another process has had a later one meanwhile.
   * @returns what is noted now
   */
  async note(name: RepositoryName, tag: Tag, record: TagRecord): Promise<TagRecord> {
    const key = tagKey(name, tag);
    return this.#inTurn(key, async () => {
      const present = await this.get(name, tag);
      // One from the future was noted by a clock that was wrong.
      const isLater = present !== undefined && present.asked > record.asked;
      if (isLater && present.asked <= this.#now() + CLOCKS_DIFFER) return present;
      await writeState(this.#storage, key, record);
      return record;
    });
  }

  /** Between the look and the write nobody else may write, in this process or another. */
  async #inTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#running.get(key) ?? Promise.resolve();
    const turn = before.then(async () => {
      const lock = `${key}~`; // no tag has this character
      let claim = await CacheClaim.take(this.#storage, lock);
      for (const until = Date.now() + WAIT; claim === undefined && Date.now() < until;) {
        await new Promise((resolve) => setTimeout(resolve, 2));
        claim = await CacheClaim.take(this.#storage, lock);
      }
      try {
        return await work();
      } finally {
        await claim?.release();
      }
    });
    const over = turn.then(
      () => undefined,
      () => undefined,
    );
    this.#running.set(key, over);
    void over.then(() => {
      if (this.#running.get(key) === over) this.#running.delete(key);
    });
    return turn;
  }

  async forget(name: RepositoryName, tag: Tag): Promise<void> {
    await this.#storage.driver.delete([tagKey(name, tag)], { volatile: true });
  }
}
