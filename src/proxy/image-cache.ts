/** What is kept of other registries, image by image: looked at, fetched ahead, let go. */
import type { Logger } from '../log.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName, Tag } from '../oci/name.ts';
import type { CacheControl, Kept, KeptImage, StoredManifest } from '../oci/registry.ts';
import type { CachedContent } from './cache-state.ts';
import { CachedManifests } from './cached-manifests.ts';
import { type CachedPlace, unknownManifest } from './cached-place.ts';
import { found } from './found.ts';
import { keptTree, namedBy } from './image-tree.ts';
import { UpstreamFailure } from './upstream-failure.ts';
import { splitName } from './upstream-names.ts';

/** Blobs that are fetched at the same moment for one image. */
const AT_ONCE = 3;

export interface ImageCacheOptions {
  /** undefined for a name of our own. */
  readonly placeOf: (name: RepositoryName) => CachedPlace | undefined;
  readonly contents: () => AsyncIterable<{ readonly content: CachedContent; readonly usedAt: number }>;
  readonly remove: (contents: readonly CachedContent[]) => Promise<void>;
  /** What was done, by upstream. */
  readonly counted: () => Readonly<Record<string, object>>;
  readonly maxBytes: number | undefined;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

export class ImageCache implements CacheControl {
  readonly #options: ImageCacheOptions;

  constructor(options: ImageCacheOptions) {
    this.#options = options;
  }

  async report(): Promise<Readonly<Record<string, unknown>>> {
    const { contents, counted, maxBytes } = this.#options;
    const upstreams = new Map<string, { manifests: number; blobs: number; bytes: number }>();
    const sizes = new Map<Digest, number>();
    for await (const { content } of contents()) {
      const { name, kind, digest, size } = content;
      const upstream = upstreamOf(name);
      const kept = upstreams.get(upstream) ?? { manifests: 0, blobs: 0, bytes: 0 };
      kept[kind] += 1;
      kept.bytes += size;
      upstreams.set(upstream, kept);
      sizes.set(digest, size);
    }
    const done = counted();
    const names = [...new Set([...upstreams.keys(), ...Object.keys(done)])].sort();
    return {
      bytes: [...sizes.values()].reduce((sum, size) => sum + size, 0),
      ...(maxBytes === undefined ? {} : { maxBytes }),
      upstreams: Object.fromEntries(
        names.map((name) => [
          name,
          { kept: upstreams.get(name) ?? { manifests: 0, blobs: 0, bytes: 0 }, ...done[name] },
        ]),
      ),
    };
  }

  async describe(name: RepositoryName, reference: Tag | Digest): Promise<KeptImage> {
    const place = this.#placeOf(name);
    const digest = await lastKnown(place, reference);
    const image = digest === undefined ? undefined : await keptImage(place, digest);
    if (image !== undefined) return image;
    throw new RegistryError('MANIFEST_UNKNOWN', 'nothing of that is kept here', { detail: { reference } });
  }

  async warm(
    name: RepositoryName,
    reference: Tag | Digest,
    { platform, signal }: { readonly platform?: string; readonly signal?: AbortSignal } = {},
  ): Promise<{ readonly digest: Digest; readonly done: Promise<KeptImage> }> {
    const place = this.#placeOf(name);
    const manifests = new CachedManifests(place);
    const root = await manifests.get(reference);
    const { children } = namedBy(root);
    if (platform !== undefined && children.length > 0 && !children.some((child) => fits(child, platform))) {
      const there = children.flatMap((child) => platformOf(child) ?? []);
      throw new RegistryError(
        'MANIFEST_UNKNOWN',
        `there is no image for ${platform}; there are ${there.join(', ')}`,
      );
    }
    const done = (async () => {
      try {
        await this.#fetchAll(place, manifests, root, platform, signal);
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        this.#options.log.warn(`${name}: an image could not be fetched ahead`, { reference, reason });
        throw error;
      }
      const image = await keptImage(place, root.digest);
      if (image === undefined) throw unknownManifest(reference);
      return image;
    })();
    return { digest: root.digest, done };
  }

  async purge(name: RepositoryName, reference?: Tag | Digest): Promise<Kept> {
    const place = this.#placeOf(name);
    const { local } = place;
    const wanted = reference === undefined ? undefined : await this.#digestsOf(place, reference);
    const gone: CachedContent[] = [];
    for await (const { content } of this.#options.contents()) {
      if (content.name === local.name && (wanted?.has(content.digest) ?? true)) gone.push(content);
    }
    await this.#options.remove(gone);
    if (reference !== undefined && !isDigest(reference)) {
      await place.tools.records.forget(local.name, reference);
      await found(local.tags.delete(reference));
    }
    const count = (kind: string) => gone.filter((content) => content.kind === kind).length;
    return {
      manifests: count('manifests'),
      blobs: count('blobs'),
      bytes: gone.reduce((sum, { size }) => sum + size, 0),
    };
  }

  /**
   * Fetches one piece of content that is not here any more, or was put aside because it was damaged.
   * @returns whether it is here now; not where the upstream does not have it, or cannot be asked
   */
  async refetch(name: RepositoryName, kind: CachedContent['kind'], digest: Digest): Promise<boolean> {
    const place = this.#options.placeOf(name);
    if (place === undefined) return false;
    try {
      if (kind === 'manifests') await new CachedManifests(place).get(digest);
      else await fetchBlob(place, digest);
      const { blobs, manifests } = place.local;
      return (await found(kind === 'manifests' ? manifests.get(digest) : blobs.stat(digest))) !== undefined;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#options.log.warn(`${name}: content could not be fetched again`, { digest, reason });
      return false;
    }
  }

  async #digestsOf(place: CachedPlace, reference: Tag | Digest): Promise<ReadonlySet<Digest>> {
    const digest = await lastKnown(place, reference);
    if (digest === undefined) throw unknownManifest(reference);
    const { manifests, blobs } = await keptTree(place.local, digest);
    return new Set([digest, ...manifests.map((one) => one.digest), ...blobs.map((one) => one.digest)]);
  }

  async #fetchAll(
    place: CachedPlace,
    manifests: CachedManifests,
    root: StoredManifest,
    platform: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const blobs = new Set<Digest>();
    const queue = [root];
    for (let manifest = queue.pop(); manifest !== undefined; manifest = queue.pop()) {
      const named = namedBy(manifest);
      for (const blob of named.blobs) blobs.add(blob);
      for (const child of named.children) {
        signal?.throwIfAborted();
        if (isDigest(child.digest) && fits(child, platform)) queue.push(await manifests.get(child.digest));
      }
    }
    const left = [...blobs];
    const fetchers = Array.from({ length: AT_ONCE }, async () => {
      for (let digest = left.shift(); digest !== undefined; digest = left.shift()) {
        signal?.throwIfAborted();
        await fetchBlob(place, digest);
      }
    });
    const ends = await Promise.allSettled(fetchers);
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }

  #placeOf(name: RepositoryName): CachedPlace {
    const place = this.#options.placeOf(name);
    if (place !== undefined) return place;
    throw new RegistryError('NAME_UNKNOWN', 'this is no name of another registry’s repository', {
      status: 404,
      detail: { name },
    });
  }
}

async function fetchBlob({ local, upstream, tools }: CachedPlace, digest: Digest): Promise<void> {
  if ((await found(local.blobs.stat(digest))) !== undefined) return;
  const transfer = await tools.transfers.get(local, upstream, digest);
  // Layers that are not to be passed on are in no registry; that they are missing is told in the end.
  if (typeof transfer !== 'object') return;
  await transfer.done;
  if ((await found(local.blobs.stat(digest))) === undefined) {
    throw new UpstreamFailure(`${digest} has come and gone: there is no room for it`);
  }
}

/** Where the tag led when it was last asked for. */
async function lastKnown(
  { local, tools }: CachedPlace,
  reference: Tag | Digest,
): Promise<Digest | undefined> {
  if (isDigest(reference)) return reference;
  const record = await tools.records.get(local.name, reference);
  return record?.digest ?? found(local.tags.resolve(reference));
}

async function keptImage({ local }: CachedPlace, digest: Digest): Promise<KeptImage | undefined> {
  const { manifests, blobs, missingManifests, missingBlobs } = await keptTree(local, digest);
  if (manifests.length === 0) return undefined;
  const bytes = [...manifests, ...blobs].reduce((sum, { size }) => sum + size, 0);
  return {
    digest,
    kept: { manifests: manifests.length, blobs: blobs.length, bytes },
    missing: { manifests: missingManifests, blobs: missingBlobs },
  };
}

function fits({ platform }: Descriptor, wanted: string | undefined): boolean {
  if (wanted === undefined || platform === undefined) return true;
  const { os = '', architecture = '' } = platform;
  return platformOf({ platform }) === wanted || `${os}/${architecture}` === wanted;
}

function platformOf({ platform }: Pick<Descriptor, 'platform'>): string | undefined {
  if (platform === undefined) return undefined;
  const { os = '', architecture = '', variant } = platform;
  return `${os}/${architecture}${variant === undefined ? '' : `/${variant}`}`;
}

function upstreamOf(name: RepositoryName): string {
  return splitName(splitName(name)?.rest ?? name)?.first ?? name;
}
