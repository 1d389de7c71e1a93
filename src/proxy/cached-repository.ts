/** A repository of an upstream: what is kept here is served from here, all else is fetched, checked, kept and served. */
import type { Digest } from '../oci/digest.ts';
import { isDigest } from '../oci/digest.ts';
import { MEDIA_TYPE } from '../oci/descriptor.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName, Tag } from '../oci/name.ts';
import type {
  Blobs,
  Content,
  Manifests,
  Referrers,
  Repository,
  StoredManifest,
  Tags,
  Uploads,
} from '../oci/registry.ts';
import { BlobTransfer } from './blob-transfer.ts';
import type { TagFreshness } from './tag-freshness.ts';
import type { UpstreamContent } from './upstream-content.ts';
import { UpstreamFailure } from './upstream-failure.ts';

export interface CacheTools {
  readonly freshness: TagFreshness;
  /** Transfers under way, by repository and digest. */
  readonly transfers: Map<string, Promise<BlobTransfer | undefined>>;
  /** Questions about tags under way, by repository and tag. */
  readonly resolving: Map<string, Promise<Digest>>;
  /** How long a tag is good without asking for it again, in milliseconds. */
  readonly tagTtlMs: number;
  /** Told when what is kept is served because the upstream does not answer. */
  readonly onStale: (name: RepositoryName, reason: string) => void;
}

export class CachedRepository implements Repository {
  readonly name: RepositoryName;
  readonly #local: Repository;
  readonly #upstream: UpstreamContent;
  readonly #tools: CacheTools;

  /** `local` is where the content is kept: a repository that checks no references, as they may come later. */
  constructor(local: Repository, upstream: UpstreamContent, tools: CacheTools) {
    this.name = local.name;
    this.#local = local;
    this.#upstream = upstream;
    this.#tools = tools;
  }

  get blobs(): Blobs {
    const { blobs } = this.#local;
    return {
      stat: (digest) => this.#statBlob(digest),
      open: (digest, select, signal) => this.#openBlob(digest, select, signal),
      mount: () => Promise.reject(this.#notPushable()),
      delete: (digest) => blobs.delete(digest),
    };
  }

  get manifests(): Manifests {
    const { manifests } = this.#local;
    return {
      get: (reference) => (isDigest(reference) ? this.#byDigest(reference) : this.#byTag(reference)),
      put: () => Promise.reject(this.#notPushable()),
      delete: (digest) => manifests.delete(digest),
    };
  }

  get tags(): Tags {
    const { tags } = this.#local;
    return {
      resolve: async (tag) => (await this.#byTag(tag)).digest,
      list: (page) => tags.list(page),
      delete: (tag) => tags.delete(tag),
    };
  }

  get referrers(): Referrers {
    return this.#local.referrers;
  }

  get uploads(): Uploads {
    const refuse = () => Promise.reject(this.#notPushable());
    return { start: refuse, status: refuse, append: refuse, finish: refuse, cancel: refuse };
  }

  exists(): Promise<boolean> {
    return this.#local.exists();
  }

  #notPushable(): RegistryError {
    return new RegistryError('DENIED', 'this name is a cache of another registry and cannot be pushed to', {
      detail: { name: this.name },
    });
  }

  async #byDigest(digest: Digest): Promise<StoredManifest> {
    const kept = await found(this.#local.manifests.get(digest));
    return kept ?? (await this.#fetchManifest(digest, []));
  }

  async #byTag(tag: Tag): Promise<StoredManifest> {
    return this.#byDigest(await this.#resolve(tag));
  }

  /** Those who ask for a tag at the same moment share the question. */
  #resolve(tag: Tag): Promise<Digest> {
    const { freshness, resolving, tagTtlMs } = this.#tools;
    const key = `${this.name}:${tag}`;
    const fresh = freshness.fresh(key, tagTtlMs);
    if (fresh !== undefined) return Promise.resolve(fresh);
    const running = resolving.get(key) ?? this.#ask(tag, key).finally(() => resolving.delete(key));
    resolving.set(key, running);
    return running;
  }

  async #ask(tag: Tag, key: string): Promise<Digest> {
    const { freshness, onStale } = this.#tools;
    const kept = await found(this.#local.tags.resolve(tag));
    let digest: Digest | undefined;
    try {
      digest = await this.#upstream.resolve(tag);
    } catch (error) {
      if (kept === undefined || !(error instanceof UpstreamFailure)) throw error;
      onStale(this.name, error.message);
      return kept;
    }
    if (digest === undefined) throw unknownManifest(tag);
    // The tag moves only when the manifest that it leads to is here.
    if (digest !== kept) {
      const manifest = await found(this.#local.manifests.get(digest));
      if (manifest === undefined) await this.#fetchManifest(digest, [tag]);
      else await this.#keep(manifest.bytes, manifest.mediaType, digest, [tag]);
    }
    freshness.note(key, digest);
    return digest;
  }

  async #fetchManifest(digest: Digest, tags: readonly Tag[]): Promise<StoredManifest> {
    const fetched = await this.#upstream.manifest(digest);
    if (fetched === undefined) throw unknownManifest(digest);
    return this.#keep(fetched.bytes, fetched.mediaType, digest, tags);
  }

  async #keep(
    bytes: Uint8Array,
    mediaType: string | undefined,
    digest: Digest,
    tags: readonly Tag[],
  ): Promise<StoredManifest> {
    const { content } = await this.#local.manifests.put({ bytes, mediaType, digest, tags });
    return { ...content, bytes };
  }

  async #statBlob(digest: Digest): Promise<Content> {
    const kept = await found(this.#local.blobs.stat(digest));
    if (kept !== undefined) return kept;
    const size = await this.#upstream.blobSize(digest);
    if (size === undefined) throw unknownBlob(digest);
    return { digest, size, mediaType: MEDIA_TYPE.octetStream };
  }

  async #openBlob(...[digest, select, signal]: Parameters<Blobs['open']>): ReturnType<Blobs['open']> {
    const kept = await found(this.#local.blobs.open(digest, select, signal));
    if (kept !== undefined) return kept;
    const transfer = await this.#transfer(digest);
    if (transfer === undefined) throw unknownBlob(digest);
    // Without a size there is no length to promise, and no range to choose.
    if (transfer.size === undefined) {
      await transfer.done;
      return this.#local.blobs.open(digest, select, signal);
    }
    const content = { digest, size: transfer.size, mediaType: MEDIA_TYPE.octetStream };
    const range = select?.(content);
    return { content, range, body: transfer.read(range?.start ?? 0, range?.end ?? content.size) };
  }

  /** The one transfer of that blob. It goes on when its first client leaves: the next one will want it. */
  #transfer(digest: Digest): Promise<BlobTransfer | undefined> {
    const { transfers } = this.#tools;
    const key = `${this.name}@${digest}`;
    const running = transfers.get(key);
    if (running !== undefined) return running;
    const started = this.#startTransfer(digest, () => transfers.delete(key));
    transfers.set(key, started);
    return started;
  }

  async #startTransfer(digest: Digest, forget: () => void): Promise<BlobTransfer | undefined> {
    try {
      const fetched = await this.#upstream.blob(digest);
      if (fetched === undefined) {
        forget();
        return undefined;
      }
      const transfer = new BlobTransfer(this.#local, digest, fetched);
      transfer.done.then(forget, forget);
      return transfer;
    } catch (error) {
      forget();
      throw error;
    }
  }
}

/** What there is, or undefined where the registry says that there is nothing. */
async function found<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof RegistryError && UNKNOWN.has(error.code)) return undefined;
    throw error;
  }
}

const UNKNOWN: ReadonlySet<string> = new Set(['BLOB_UNKNOWN', 'MANIFEST_UNKNOWN', 'NAME_UNKNOWN']);

function unknownManifest(reference: string): RegistryError {
  return new RegistryError('MANIFEST_UNKNOWN', 'the manifest is not known to the upstream', {
    detail: { reference },
  });
}

function unknownBlob(digest: Digest): RegistryError {
  return new RegistryError('BLOB_UNKNOWN', 'the blob is not known to the upstream', { detail: { digest } });
}
