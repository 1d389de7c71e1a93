/**
 * Which manifest of a repository refers to some content of it. There is no index of that: all manifests are asked. What each
 * of them refers to cannot change, and is remembered in a few bytes.
 */
import { type Digest, digestOf, hexOf, isDigest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/name.ts';
import { referencesOf } from '../oci/references.ts';
import { Recent } from '../recent.ts';
import { blobKey, linkKey, linksPrefix, trashedLinkKey, trashedLinksPrefix } from './layout.ts';
import type { ManifestCache } from './manifest-cache.ts';
import type { Objects } from './objects.ts';
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
   * A manifest of the repository, also one on its way out, that has the digest as its config, a layer or a child. A subject is
   * not referred to in this sense: it may be missing.
   * @param except manifests that are not asked
   */
  async to(
    name: RepositoryName,
    digest: Digest,
    except: ReadonlySet<Digest> = new Set(),
  ): Promise<Digest | undefined> {
    const beginning = beginningOf(digest);
    let asked = 0;
    for (const manifest of await revisionsOf(this.#objects, name)) {
      if (manifest === digest || except.has(manifest)) continue;
      asked += 1;
      if (asked % PAGE === 0) await new Promise((resolve) => setImmediate(resolve));
      const known = this.#known.get(manifest) ?? (await this.#learn(name, manifest));
      if (known?.includes(beginning) !== true) continue;
      if ((await this.of(name, manifest)).includes(digest)) return manifest;
    }
    return undefined;
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
    const target =
      (await this.#objects.link(linkKey(name, 'revisions', digest))) ??
      (await this.#objects.link(trashedLinkKey(name, 'revisions', digest)));
    if (target === undefined) return undefined;
    const cached = this.#cache.get(target)?.bytes;
    if (cached === undefined && (await presentSize(this.#objects, target)) === undefined) return undefined;
    const bytes = cached ?? (await this.#objects.bytes(blobKey(target)));
    return bytes === undefined ? undefined : referencesOf(bytes).content;
  }
}

function beginningOf(digest: Digest): number {
  return Number.parseInt(hexOf(digest).slice(0, 8), 16);
}

/** The digests of the repository's manifests, also of those on their way out. Some may just have gone: nothing is opened. */
async function revisionsOf(objects: Objects, name: RepositoryName): Promise<ReadonlySet<Digest>> {
  const prefix = linksPrefix(name, 'revisions');
  const found = new Set<Digest>();
  for (const algorithm of await objects.names(prefix)) {
    if (algorithm !== 'sha256' && algorithm !== 'sha512') continue;
    for (const hex of await objects.names(`${prefix}${algorithm}/`)) {
      const digest = digestOf(algorithm, hex);
      if (isDigest(digest)) found.add(digest);
    }
  }
  for (const entry of await objects.names(trashedLinksPrefix(name, 'revisions'))) {
    const digest = entry.replace('-', ':');
    if (isDigest(digest)) found.add(digest);
  }
  return found;
}

/** The answer where what is to be deleted is still referred to; the status is zot's, and one that conformance tests take. */
export function isReferenced(digest: Digest, by: Digest): RegistryError {
  return new RegistryError('DENIED', 'a manifest of this repository refers to it: delete that one first', {
    status: 405,
    detail: { digest, manifest: by },
  });
}
