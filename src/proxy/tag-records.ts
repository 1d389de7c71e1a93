import { type Digest, isDigest } from '../oci/digest.ts';
import type { RepositoryName, Tag } from '../oci/name.ts';
import { readState, type StateStorage, tagKey, writeState } from './cache-state.ts';

/** What the upstream last said of a tag. */
export interface TagRecord {
  readonly digest: Digest;
  /** When it was asked, in milliseconds since 1970. */
  readonly asked: number;
}

/** What is known of the upstreams' tags, in the storage: all processes serve the same digest. */
export class TagRecords {
  readonly #storage: StateStorage;

  constructor(storage: StateStorage) {
    this.#storage = storage;
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
    const present = await this.get(name, tag);
    if (present !== undefined && present.asked > record.asked) return present;
    await writeState(this.#storage, tagKey(name, tag), record);
    return record;
  }

  async forget(name: RepositoryName, tag: Tag): Promise<void> {
    await this.#storage.driver.delete([tagKey(name, tag)], { volatile: true });
  }
}
