/**
 * The contracts that the HTTP protocol speaks to and that the local store, and everything that wraps it,
 * implements. A behaviour (cache, notify, measure) is a `Registry` around a `Registry`.
 *
 * All methods throw `RegistryError` for what is the client's to know; its code is named at each of them.
 */
import type { Descriptor } from './descriptor.ts';
import type { Algorithm, Digest } from './digest.ts';
import type { RepositoryName, Tag } from './name.ts';

export interface Registry {
  /** The repository of that name, whether or not anything is in it. Costs nothing. */
  repository(name: RepositoryName): Repository;
  /**
   * Names of the repositories that hold something, in component-wise order (`compareRepositoryNames`).
   * Costs what the page costs, not what the registry holds.
   */
  repositories(page: PageRequest): Promise<Page<RepositoryName>>;
  /**
   * The name here of a repository that a client calls by its name in another registry (`?ns=`, "Registry Proxying");
   * undefined where that one is not cached.
   */
  mirrorOf?(namespace: string, name: RepositoryName): RepositoryName | undefined;
  /** The one name of a repository that has several. Rights are asked for that one. */
  canonicalName?(name: RepositoryName): RepositoryName;
  /** Present where content of other registries is kept. */
  readonly cache?: CacheControl;
}

/** What is kept of other registries: to be looked at, fetched ahead, and let go. */
export interface CacheControl {
  /** What is kept and what was done, by upstream; plain JSON. It costs a look at all that is kept. */
  report(): Promise<Readonly<Record<string, unknown>>>;
  /** What is kept of an image. @throws RegistryError `MANIFEST_UNKNOWN` when nothing is; `NAME_UNKNOWN` for a name of ours */
  describe(name: RepositoryName, reference: Tag | Digest): Promise<KeptImage>;
  /**
   * Fetches a whole image, or of an index the images of one platform (`linux/arm64`, `linux/arm/v7`).
   * @returns when its manifest is here; `done` is fulfilled when all of it is
   * @throws RegistryError `MANIFEST_UNKNOWN`; `NAME_UNKNOWN` for a name of ours
   */
  warm(
    name: RepositoryName,
    reference: Tag | Digest,
    options?: { readonly platform?: string; readonly signal?: AbortSignal },
  ): Promise<{ readonly digest: Digest; readonly done: Promise<KeptImage> }>;
  /** Lets an image go, or without a reference all of the repository. @returns what was let go */
  purge(name: RepositoryName, reference?: Tag | Digest): Promise<Kept>;
}

export interface Kept {
  readonly manifests: number;
  readonly blobs: number;
  readonly bytes: number;
}

export interface KeptImage {
  readonly digest: Digest;
  readonly kept: Kept;
  /** What the kept manifests name and is not here. */
  readonly missing: { readonly manifests: number; readonly blobs: number };
}

export interface Repository {
  readonly name: RepositoryName;
  readonly blobs: Blobs;
  readonly uploads: Uploads;
  readonly manifests: Manifests;
  readonly tags: Tags;
  readonly referrers: Referrers;
  /** Whether the repository holds anything (a layer or a manifest, not merely an upload). */
  exists(): Promise<boolean>;
  /**
   * Deletes all that is in the repository, not what is in those below its name. What is pushed at the same
   * moment and acknowledged stays whole, or goes as a whole.
   * @throws RegistryError `NAME_UNKNOWN` when there is nothing; what `options.keeps` throws for any tag, before anything goes
   */
  delete(options?: Pick<DeleteOptions, 'dryRun' | 'keeps' | 'going'>): Promise<DeletedContent>;
  /**
   * Deletes the tags of the page that match; their manifests stay. The page is of all tags, so that a call costs
   * what a page costs: few or none of them may match.
   * @throws RegistryError `NAME_UNKNOWN` when there is nothing
   */
  deleteTags(
    match: (tag: Tag) => boolean,
    page: PageRequest,
    options?: Pick<DeleteOptions, 'dryRun' | 'keeps'>,
  ): Promise<DeletedTags>;
}

/** How something is deleted. */
export interface DeleteOptions {
  /** Does nothing but throw what a deletion would throw, and tell what would go. */
  readonly dryRun?: boolean;
  /** Throws for a tag that must stay, and with it what it points at. */
  readonly keeps?: ((tag: Tag) => void) | undefined;
  /** Told, before anything goes, of the blobs and manifests, and of the uploads by their ids, that are to go with a repository. */
  readonly going?: ((digests: readonly Digest[], uploads: readonly string[]) => void) | undefined;
  /** Whether what a manifest of the repository refers to stays. */
  readonly unlessReferenced?: boolean;
}

/** How much went with a repository. */
export interface DeletedContent {
  readonly tags: number;
  readonly manifests: number;
  /** Links to blobs: their bytes may be other repositories' too. */
  readonly blobs: number;
  readonly uploads: number;
}

export interface DeletedTags {
  /** The tags of the page that match, in byte order. One that stayed has the reason. */
  readonly tags: readonly { readonly tag: Tag; readonly digest: Digest; readonly kept?: string }[];
  /** The last tag that was looked at, where there are more. */
  readonly next?: Tag;
}

export interface PageRequest {
  /** Only items after this one; it need not exist (any more). */
  readonly last?: string;
  /** At most so many items; at least 1. */
  readonly limit: number;
  readonly signal?: AbortSignal;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** Whether there is a next page, which begins after the last of `items`. */
  readonly more: boolean;
  /** Set when the list could not be confirmed by the registry that it is a copy of. */
  readonly stale?: boolean;
}

/** Content and what is known of it without reading it. */
export interface Content {
  readonly digest: Digest;
  /** Size of the whole content in bytes. */
  readonly size: number;
  readonly mediaType: string;
}

/** Half-open range of bytes `[start, end)` within a blob. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

export interface Blobs {
  /** @throws RegistryError `BLOB_UNKNOWN` when this repository has no link to it, or its bytes are gone. */
  stat(digest: Digest): Promise<Content>;
  /**
   * The blob, or the part of it that `select` chooses once the size is known (`undefined` for all of it;
   * `select` may throw, e.g. for a range that cannot be satisfied).
   * @throws RegistryError `BLOB_UNKNOWN`
   */
  open(
    digest: Digest,
    select?: (content: Content) => ByteRange | undefined,
    signal?: AbortSignal,
  ): Promise<{ content: Content; range: ByteRange | undefined; body: Blob | ReadableStream<Uint8Array> }>;
  /**
   * Links a blob of another repository into this one. Without `from` it is looked for in the repositories
   * for which `mayPull` says yes, as far as that is cheap.
   * @returns undefined when it was not found, or where `mayPull` said no; the caller cannot tell which
   */
  mount(
    digest: Digest,
    options: {
      from?: RepositoryName;
      mayPull: (name: RepositoryName) => Promise<boolean>;
      signal?: AbortSignal;
    },
  ): Promise<Content | undefined>;
  /**
   * Unlinks it from this repository, visibly at once.
   * @throws RegistryError `BLOB_UNKNOWN`; `DENIED` (405) where a manifest refers to it and `unlessReferenced` is set
   */
  delete(digest: Digest, options?: Pick<DeleteOptions, 'unlessReferenced'>): Promise<void>;
}

export interface Uploads {
  /** Begins an upload session. `algorithm` is what the closing request is expected to name. */
  start(options?: { algorithm?: Algorithm }): Promise<UploadStatus>;
  /** @throws RegistryError `BLOB_UPLOAD_UNKNOWN` */
  status(id: string): Promise<UploadStatus>;
  /**
   * Appends the body. What arrived before the body failed or was aborted stays and counts.
   * Writers of one session take turns; one that waits too long gets `BLOB_UPLOAD_INVALID` (409).
   * @throws RegistryError `BLOB_UPLOAD_UNKNOWN`; `BLOB_UPLOAD_INVALID` (416) when `chunk.offset` is not the
   *   session's offset; `SIZE_INVALID` when `chunk.size` is not what arrived
   */
  append(id: string, chunk: Chunk): Promise<UploadStatus>;
  /**
   * Appends the final chunk if there is one, compares the whole with `digest`, and makes it a blob of this
   * repository, durable on return. After a wrong digest the session is gone; after any other refusal it stays.
   * @throws RegistryError as `append`, and `DIGEST_INVALID`
   */
  finish(id: string, digest: Digest, chunk?: Chunk): Promise<Content>;
  /** Ends a session and forgets its bytes. @throws RegistryError `BLOB_UPLOAD_UNKNOWN` */
  cancel(id: string): Promise<void>;
  /**
   * Optional: bytes that have arrived, from `start` on and at most `most` of them, also while another process writes
   * them. Empty when there are none yet; undefined when there is no such session (any more).
   */
  peek?(id: string, start: number, most: number): Promise<Uint8Array | undefined>;
  /**
   * Optional: the bytes of a session as they arrive, for a reader that goes on when the session has become a blob, also
   * one that is deleted. undefined when there is no such session (any more), or its bytes cannot be held so.
   */
  hold?(id: string): Promise<HeldBytes | undefined>;
}

export interface UploadStatus {
  readonly id: string;
  /** Bytes received so far. */
  readonly offset: number;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
}

/** Bytes that stay readable until `close`. */
export interface HeldBytes {
  /** Bytes from `start` on, at most `most`; none when there are none yet. */
  read(start: number, most: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** A piece of a blob on its way in. */
export interface Chunk {
  readonly body: ReadableStream<Uint8Array> | null;
  /** Where the client says the piece begins; unchecked when it does not say. */
  readonly offset?: number;
  /** How many bytes the client says it has; unchecked when it does not say. */
  readonly size?: number;
  readonly signal?: AbortSignal;
  /** Called with each piece that arrives, so that the caller can tell a slow client from a stalled one. */
  readonly onProgress?: (piece: Uint8Array) => void;
  /** Called by `finish` when the whole has its digest, before it is made durable. */
  readonly onVerified?: () => void;
}

/** A manifest's exact bytes and what the registry knows of them. */
export interface StoredManifest extends Content {
  readonly bytes: Uint8Array;
  /** Set when the tag could not be confirmed by the registry that it is a copy of. */
  readonly stale?: boolean;
}

export interface Manifests {
  /** @throws RegistryError `MANIFEST_UNKNOWN` */
  get(reference: Tag | Digest): Promise<StoredManifest>;
  /** Optional: the same without the bytes, where that is cheaper. @throws RegistryError `MANIFEST_UNKNOWN` */
  stat?(reference: Tag | Digest): Promise<Omit<StoredManifest, 'bytes'>>;
  /**
   * Checks and stores a manifest and points the tags at it, all or none.
   * @throws RegistryError `MANIFEST_INVALID`, `MANIFEST_BLOB_UNKNOWN` (one entry for each missing
   *   descriptor), `DIGEST_INVALID` when `digest` is not the bytes' own
   */
  put(manifest: {
    readonly bytes: Uint8Array;
    /** The client's media type without parameters; undefined when it sent none. */
    readonly mediaType: string | undefined;
    /** What the client says the digest is; else sha256 is computed. */
    readonly digest?: Digest;
    readonly tags: readonly Tag[];
    /** Conditions on the first tag's present digest, as of `If-Match` and `If-None-Match`; null means no tag. */
    readonly precondition?: (current: Digest | null) => void;
    /**
     * Asked for each of the tags, with the digest that it has and the one that it would get, while nobody else can change
     * any of them. What it throws keeps all of them where they are.
     */
    readonly guard?: ((tag: Tag, current: Digest | null, next: Digest) => void) | undefined;
  }): Promise<{ content: Content; subject: Digest | undefined }>;
  /**
   * Deletes a manifest and every tag of this repository that points at it, visibly at once.
   * @returns those tags, in byte order
   * @throws RegistryError `MANIFEST_UNKNOWN`; `DENIED` (405) where an index refers to it and `unlessReferenced` is set; what
   *   `keeps` throws for any of the tags. Then nothing has gone.
   */
  delete(digest: Digest, options?: DeleteOptions): Promise<readonly Tag[]>;
}

export interface Tags {
  /** The digest a tag points at. @throws RegistryError `MANIFEST_UNKNOWN` */
  resolve(tag: Tag): Promise<Digest>;
  /** Tags in byte order. @throws RegistryError `NAME_UNKNOWN` when the repository does not exist. */
  list(page: PageRequest): Promise<Page<Tag>>;
  /**
   * Removes the tag and leaves its manifest.
   * @returns the digest that it pointed at
   * @throws RegistryError `MANIFEST_UNKNOWN`; what `keeps` throws
   */
  delete(tag: Tag, options?: Pick<DeleteOptions, 'dryRun' | 'keeps'>): Promise<Digest>;
}

export interface Referrers {
  /**
   * Descriptors of the manifests whose `subject` is `digest`, in order of their digests; empty when there
   * is none or nothing is known of the subject. `last` is the digest of the last one seen.
   */
  list(
    digest: Digest,
    page: PageRequest & { readonly artifactTypes?: readonly string[] },
  ): Promise<Page<Descriptor>>;
}
