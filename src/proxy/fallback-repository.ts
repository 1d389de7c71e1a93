/** A repository of our own, and behind it one of an upstream: what was pushed here wins. */
import { RegistryError } from '../oci/errors.ts';
import { isDigest } from '../oci/digest.ts';
import type {
  Blobs,
  DeletedContent,
  DeletedTags,
  Manifests,
  Referrers,
  Repository,
  StoredManifest,
  Tags,
  Uploads,
} from '../oci/registry.ts';
import type { RepositoryName } from '../oci/name.ts';
import { found } from './found.ts';
import { namedBy } from './image-tree.ts';

export interface FallbackOptions {
  readonly own: Repository;
  /** The upstream's. */
  readonly behind: () => Repository;
  /** What is kept of the upstream's. */
  readonly kept: Repository;
  /** Whether `own` can be pushed to. */
  readonly pushable: boolean;
}

export class FallbackRepository implements Repository {
  readonly name: RepositoryName;
  readonly #own: Repository;
  readonly #behind: () => Repository;
  readonly #kept: Repository;
  readonly #pushable: boolean;

  constructor({ own, behind, kept, pushable }: FallbackOptions) {
    this.name = own.name;
    this.#own = own;
    this.#behind = behind;
    this.#kept = kept;
    this.#pushable = pushable;
  }

  get blobs(): Blobs {
    const { blobs } = this.#own;
    const behind = () => this.#behind().blobs;
    return {
      stat: async (digest) => {
        const own = await found(blobs.stat(digest));
        if (own !== undefined) return own;
        // Who asks so is mostly about to push: that is not the upstream's business, and it need not answer for it.
        return this.#kept.blobs.stat(digest);
      },
      open: async (...asked) => (await found(blobs.open(...asked))) ?? behind().open(...asked),
      mount: (...asked) => this.#changing(() => blobs.mount(...asked)),
      delete: (...asked) => blobs.delete(...asked),
    };
  }

  get manifests(): Manifests {
    const { manifests } = this.#own;
    const behind = () => this.#behind().manifests;
    return {
      get: async (reference) => (await found(manifests.get(reference))) ?? behind().get(reference),
      stat: async (reference) => {
        const own = await found(manifests.get(reference));
        if (own !== undefined) return own;
        const other = behind();
        return (await other.stat?.(reference)) ?? other.get(reference);
      },
      put: (manifest) =>
        this.#changing(async () => {
          await this.#takeOver(manifest);
          return manifests.put(manifest);
        }),
      delete: (...asked) => manifests.delete(...asked),
    };
  }

  get tags(): Tags {
    const { tags } = this.#own;
    const behind = () => this.#behind().tags;
    return {
      resolve: async (tag) => (await found(tags.resolve(tag))) ?? behind().resolve(tag),
      list: async (page) => {
        const own = await found(tags.list(page));
        const other = own === undefined ? await behind().list(page) : await found(behind().list(page));
        if (own === undefined || other === undefined) return own ?? other ?? { items: [], more: false };
        const all = [...new Set([...own.items, ...other.items])].sort();
        const more = own.more || other.more || all.length > page.limit;
        return { items: all.slice(0, page.limit), more, ...(other.stale === true ? { stale: true } : {}) };
      },
      delete: (...asked) => tags.delete(...asked),
    };
  }

  get referrers(): Referrers {
    const { referrers } = this.#own;
    return {
      list: async (digest, query) => {
        const own = await referrers.list(digest, query);
        const other = await found(this.#behind().referrers.list(digest, query));
        const all = new Map([...own.items, ...(other?.items ?? [])].map((one) => [one.digest, one]));
        const digests = [...all.keys()].sort();
        return {
          items: digests.slice(0, query.limit).flatMap((one) => all.get(one) ?? []),
          more: own.more || (other?.more ?? false) || digests.length > query.limit,
          ...(other?.stale === true ? { stale: true } : {}),
        };
      },
    };
  }

  get uploads(): Uploads {
    const { uploads } = this.#own;
    return this.#pushable ? uploads : { ...refusing(this.name), status: (id) => uploads.status(id) };
  }

  /** What is ours: the upstream's shows again. */
  delete(...asked: Parameters<Repository['delete']>): Promise<DeletedContent> {
    return this.#own.delete(...asked);
  }

  deleteTags(...asked: Parameters<Repository['deleteTags']>): Promise<DeletedTags> {
    return this.#own.deleteTags(...asked);
  }

  async exists(): Promise<boolean> {
    return (await this.#own.exists()) || this.#behind().exists();
  }

  /**
   * An image that is built on one of the upstream's refers to what is kept of that one, and its client was told that it
   * is here: it becomes ours too.
   */
  async #takeOver(manifest: Pick<StoredManifest, 'bytes'>): Promise<void> {
    const { children, blobs } = namedBy(manifest);
    for (const digest of blobs) {
      if ((await found(this.#own.blobs.stat(digest))) !== undefined) continue;
      await this.#own.blobs.mount(digest, { from: this.#kept.name, mayPull: () => Promise.resolve(true) });
    }
    for (const { digest } of children) {
      if (!isDigest(digest) || (await found(this.#own.manifests.get(digest))) !== undefined) continue;
      const child = await found(this.#kept.manifests.get(digest));
      if (child === undefined) continue;
      await this.#takeOver(child);
      await this.#own.manifests.put({ bytes: child.bytes, mediaType: child.mediaType, digest, tags: [] });
    }
  }

  #changing<T>(change: () => Promise<T>): Promise<T> {
    return this.#pushable ? change() : Promise.reject(mirrorOnly(this.name));
  }
}

function refusing(name: RepositoryName): Omit<Uploads, 'status'> {
  const refuse = () => Promise.reject(mirrorOnly(name));
  return { start: refuse, append: refuse, finish: refuse, cancel: refuse };
}

/** As `registry:2` answers it. */
function mirrorOnly(name: RepositoryName): RegistryError {
  const told = 'this registry is a mirror that anybody can reach: it takes pushes when proxy.push is true';
  return new RegistryError('UNSUPPORTED', told, { detail: { name } });
}
