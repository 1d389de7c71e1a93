/**
 * Which manifest of a repository refers to some content of it. There is no index of that: all manifests are asked. What each
 * of them refers to cannot change, and is remembered in a few bytes.
 */
import { type Digest, hexOf } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/name.ts';
import { referencesOf } from '../oci/references.ts';
import { Recent } from '../recent.ts';
import { blobKey, linkKey, trashedLinkKey } from './layout.ts';
import type { Needs } from './delete-links.ts';
import type { ManifestCache } from './manifest-cache.ts';
import type { Objects } from './objects.ts';
import { liveLinks, trashedLinks } from './repository-links.ts';
import { presentSize } from './trash.ts';

/** What is remembered, in bytes: 100 000 images of ten layers. */
const MAX_REMEMBERED = 16 * 1024 * 1024;
/** What an entry costs beside its numbers. */
const OVERHEAD = 120;
/** Manifests that are asked between two pauses for other work. */
const PAGE = 200;

export class KnownReferences {
  readonly #objects: Objects;
  readonly #cache: Pick<ManifestCache, 'get'>;
  /** The beginnings of the digests that a manifest refers to. */
  readonly #known = new Recent<Uint32Array>({
    most: Number.POSITIVE_INFINITY,
    weight: (_, beginnings) => beginnings.byteLength + OVERHEAD,
    budget: MAX_REMEMBERED,
  });

  constructor(objects: Objects, cache: Pick<ManifestCache, 'get'>) {
    this.#objects = objects;
    this.#cache = cache;
  }

  /**
   * Of the digests those that a manifest of the repository, also one on its way out, has as its config, a layer or a child,
   * each with such a manifest. A subject is not referred to in this sense: it may be missing.
   * @param except manifests that are not asked
   */
  async to(
    name: RepositoryName,
    digests: readonly Digest[],
    except: ReadonlySet<Digest> = new Set(),
  ): Promise<Map<Digest, Digest>> {
    const wanted = new Set(digests);
    const beginnings = new Set(digests.map(beginningOf));
    const found = new Map<Digest, Digest>();
    let asked = 0;
    for (const manifest of await manifestsOf(this.#objects, name)) {
      if (found.size === wanted.size) break;
      if (except.has(manifest)) continue;
      asked += 1;
      if (asked % PAGE === 0) await new Promise((resolve) => setImmediate(resolve));
      const known = this.#known.get(manifest) ?? (await this.#learn(name, manifest));
      if (known?.some((beginning) => beginnings.has(beginning)) !== true) continue;
      for (const digest of await this.of(name, manifest)) {
        if (digest !== manifest && wanted.has(digest) && !found.has(digest)) found.set(digest, manifest);
      }
    }
    return found;
  }

  /** What a manifest of the repository refers to; nothing where it or its bytes are gone. */
  async of(name: RepositoryName, digest: Digest): Promise<readonly Digest[]> {
    return (await this.#read(name, digest)) ?? [];
  }

  async #learn(name: RepositoryName, digest: Digest): Promise<Uint32Array | undefined> {
    const content = await this.#read(name, digest);
    if (content === undefined) return undefined; // its bytes may come back
    const beginnings = Uint32Array.from(content.map(beginningOf));
    this.#known.set(digest, beginnings);
    return beginnings;
  }

  async #read(name: RepositoryName, digest: Digest): Promise<readonly Digest[] | undefined> {
    const target = await this.#targetOf(name, digest);
    if (target === undefined) return undefined;
    const cached = this.#cache.get(target)?.bytes;
    if (cached === undefined && (await presentSize(this.#objects, target)) === undefined) return undefined;
    const bytes = cached ?? (await this.#objects.bytes(blobKey(target)));
    return bytes === undefined ? undefined : referencesOf(bytes).content;
  }

  /**
   * The bytes that the link of a manifest names, also of one that is on its way out and may come back; undefined of one that
   * has no link, such as an empty folder that `registry:2` leaves of each manifest that it deletes. One that is moved
   * between two looks is met on its way there or back.
   */
  async #targetOf(name: RepositoryName, digest: Digest): Promise<Digest | undefined> {
    // A damaged one can be repaired: it has its name from its path.
    const named = async (key: string): Promise<Digest | undefined> =>
      (await this.#objects.link(key)) ?? ((await this.#objects.exists(key)) ? digest : undefined);
    const live = () => named(linkKey(name, 'revisions', digest));
    const trashed = () => named(trashedLinkKey(name, 'revisions', digest));
    return (
      (await live()) ??
      (await trashed()) ??
      (await this.#taken(name, digest)) ??
      (await trashed()) ??
      (await live())
    );
  }

  async #taken(name: RepositoryName, digest: Digest): Promise<Digest | undefined> {
    for await (const link of trashedLinks(this.#objects, name, 'revisions', true))
      if (link.digest === digest && link.taken === 'alive')
        return (await this.#objects.link(link.key)) ?? digest;
    return undefined;
  }
}

function beginningOf(digest: Digest): number {
  return Number.parseInt(hexOf(digest).slice(0, 8), 16);
}

/**
 * The digests of the repository's manifests, also of those that are on their way out and may come back (links.ts,
 * delete-links.ts). Some may just have gone: nothing is opened. What was there all the time is found wherever it was moved.
 */
export async function manifestsOf(objects: Objects, name: RepositoryName): Promise<ReadonlySet<Digest>> {
  const found = new Set<Digest>();
  const live = async () => {
    for await (const { digest } of liveLinks(objects, name, 'revisions', true)) found.add(digest);
  };
  await live();
  for await (const { digest, taken } of trashedLinks(objects, name, 'revisions', true))
    if (taken !== 'dead') found.add(digest);
  await live();
  return found;
}

/** For who deletes links: those that are referred to stay. */
export function needsOf(references: KnownReferences, name: RepositoryName): Needs {
  return async (digests) => {
    const errors = new Map<Digest, unknown>();
    for (const [digest, by] of await references.to(name, digests))
      errors.set(digest, isReferenced(digest, by));
    return errors;
  };
}

/** The answer where what is to be deleted is still referred to; the status is zot's, and one that conformance tests take. */
export function isReferenced(digest: Digest, by: Digest): RegistryError {
  return new RegistryError('DENIED', 'a manifest of this repository refers to it: delete that one first', {
    status: 405,
    detail: { digest, manifest: by },
  });
}

/** The manifest that keeps something, by the error that says so. */
export function keeperIn(error: unknown): Digest | undefined {
  if (!(error instanceof RegistryError) || typeof error.detail !== 'object' || error.detail === null)
    return undefined;
  return 'manifest' in error.detail ? (error.detail.manifest as Digest) : undefined;
}
