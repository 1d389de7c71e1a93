/**
 * Links, and what lies between a link and its end. The collector never deletes a live link: it moves it to the trash of
 * its repository, from which everybody who needs it brings it back, and deletes it there when it has looked again.
 *
 *     collector:  1. nothing refers to it    2. moves it to the trash    3. later looks again: brings it back, or deletes it
 *     push:       1. finds what the manifest refers to    2. writes the manifest's link    3. finds all of it again, or fails
 *
 * Either the collector's second look sees the manifest, or the push's second look sees what the collector did.
 * A deletion that somebody asks for goes a similar way, without waiting (delete-links.ts).
 * docs/decisions/0008 has the whole argument.
 */
import { ObjectNotFound, StorageFailure } from '../drivers/driver.ts';
import type { Digest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import { referencesOf } from '../oci/references.ts';
import { Recent } from '../recent.ts';
import { blobKey, type LinkKind, linkKey, trashedLinkKey } from './layout.ts';
import type { Objects } from './objects.ts';
import { presentSize } from './trash.ts';

/** How often somebody else may be faster at bringing a link back, or at taking it away again. */
const MAX_ATTEMPTS = 50;

/**
 * The digest that a repository's link names, undefined when there is no such link. One that lies in the trash is brought
 * back and counts as new; a manifest only with all that it refers to, else it is gone. Where it cannot be, as in a storage
 * that is not to be written to, it is found all the same unless `mustStay`, for who relies on its being there later.
 * @throws StorageFailure with `mustStay`
 */
export async function presentLink(
  objects: Objects,
  name: RepositoryName,
  kind: LinkKind,
  digest: Digest,
  { mustStay = false, sparse = false }: { readonly mustStay?: boolean; readonly sparse?: boolean } = {},
): Promise<Digest | undefined> {
  const key = linkKey(name, kind, digest);
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    const live = await objects.link(key);
    if (live !== undefined) return live;
    const target = await objects.link(trashedLinkKey(name, kind, digest));
    // Somebody else may have brought it back in between.
    if (target === undefined) break;
    try {
      const depth = sparse ? 1 : 0;
      if (kind === 'revisions' && !(await isWhole(objects, name, target, { depth }))) return undefined;
      if (await restoreLink(objects, name, kind, digest)) {
        // Looked at again: a collector that did not see the manifest may have set aside, or deleted, what was there before.
        if (kind === 'layers' || (await isWhole(objects, name, target, { depth }))) return target;
        await withdrawManifest(objects, name, digest);
        continue;
      }
    } catch (error) {
      if (mustStay || !(error instanceof StorageFailure)) throw error;
      return target;
    }
    await new Promise((resolve) => setTimeout(resolve, attempt));
  }
  return objects.link(key);
}

/**
 * Brings back a link that lies in the trash and is needed; a manifest only with all that it refers to, else it stays there.
 * @param options.sparse that of an index children may be missing that perhaps always were: for who knows that nobody is about
 *   to delete it, and that it is better there without them than not at all
 * @returns whether the link is there
 */
export async function bringBackLink(
  objects: Objects,
  name: RepositoryName,
  kind: LinkKind,
  digest: Digest,
  { sparse = false }: { readonly sparse?: boolean } = {},
): Promise<boolean> {
  if ((await presentLink(objects, name, kind, digest, { mustStay: true, sparse })) === undefined)
    return false;
  // Where there was a live one as well nothing has taken it from the trash.
  await restoreLink(objects, name, kind, digest);
  return true;
}

/**
 * Puts a link that lies in the trash back in its place, as a new one. It is moved: written, it could come back when somebody
 * has just deleted it for good. @returns false where somebody was faster, at either
 */
async function restoreLink(
  objects: Objects,
  name: RepositoryName,
  kind: LinkKind,
  digest: Digest,
): Promise<boolean> {
  const key = linkKey(name, kind, digest);
  try {
    await objects.move(trashedLinkKey(name, kind, digest), key);
    await objects.touch(key);
    return true;
  } catch (error) {
    if (error instanceof ObjectNotFound) return false;
    throw error;
  }
}

/** Of an index with very many children no more than so many digests are looked for, nor deeper than this below it. */
const MOST_LOOKED_FOR = 20_000;
const DEEPEST = 3;

/**
 * Whether all that a manifest refers to is in the repository, brought back from the trash if need be; of its children also
 * what those refer to, except for children of theirs: an index may be kept without all of them. That a manifest is here says
 * not yet that it stays: its push may be about to take it back for want of a layer.
 */
export async function isWhole(
  objects: Objects,
  name: RepositoryName,
  manifest: Digest,
  { seen = new Set(), depth = 0 }: { readonly seen?: Set<Digest>; readonly depth?: number } = {},
): Promise<boolean> {
  if ((await presentSize(objects, manifest)) === undefined) return false;
  const bytes = await objects.bytes(blobKey(manifest));
  if (bytes === undefined) return false;
  const references = referencesOf(bytes);
  const children = new Set(references.children);
  for (const digest of references.required) {
    if (seen.has(digest)) continue;
    if (seen.size >= MOST_LOOKED_FOR) return true;
    seen.add(digest);
    const kinds = children.has(digest)
      ? (['revisions', 'layers'] as const)
      : (['layers', 'revisions'] as const);
    let isThere = depth > 0 && children.has(digest);
    for (const kind of kinds) {
      const target = await presentLink(objects, name, kind, digest, { mustStay: true });
      if (target === undefined) continue;
      isThere =
        kind === 'revisions' && children.has(digest) && depth < DEEPEST
          ? await isWhole(objects, name, target, { seen, depth: depth + 1 })
          : (await presentSize(objects, target)) !== undefined;
      break;
    }
    if (!isThere) return false;
  }
  return true;
}

/**
 * Takes back the link of a manifest that a push has written and cannot stand by. Another push of the same may have been told
 * meanwhile that it is here: then all that it refers to is here as well, and it stays. Else it is left to the collector.
 * @returns whether it is gone
 */
export async function withdrawManifest(
  objects: Objects,
  name: RepositoryName,
  digest: Digest,
): Promise<boolean> {
  try {
    await objects.move(linkKey(name, 'revisions', digest), trashedLinkKey(name, 'revisions', digest));
  } catch (error) {
    if (!(error instanceof ObjectNotFound)) throw error;
  }
  return (await presentLink(objects, name, 'revisions', digest, { mustStay: true })) === undefined;
}

/** Links whose last touch this process remembers. */
const MAX_REMEMBERED = 100_000;

/**
 * Notes when a link was last asked for by who may be about to push what refers to it: who was told that a blob is there
 * does not send it. The note is the link's own time of change.
 */
export class LinkTouches {
  readonly #objects: Objects;
  readonly #everyMs: () => number;
  readonly #remembered = new Recent<number>({ most: MAX_REMEMBERED });

  /**
   * @param everyMs milliseconds for which a touch counts, well below the time that the collector leaves untouched links
   *   alone; infinite where nothing is to be noted
   */
  constructor(objects: Objects, everyMs: () => number) {
    this.#objects = objects;
    this.#everyMs = everyMs;
  }

  /**
   * Costs a look at the link once in a while, and nothing in between. A link that is on its way out is brought back. What
   * cannot be noted is no reason to fail, unless the link `mustStay`. @throws StorageFailure with `mustStay`
   */
  async touch(
    name: RepositoryName,
    kind: LinkKind,
    digest: Digest,
    { mustStay = false }: { readonly mustStay?: boolean } = {},
  ): Promise<void> {
    const key = linkKey(name, kind, digest);
    const now = Date.now();
    if (now - (this.#remembered.get(key) ?? 0) < this.#everyMs()) return;
    try {
      this.#remembered.set(key, await this.#refresh(name, kind, digest, now));
    } catch (error) {
      if (mustStay) throw error;
    }
  }

  /** @returns when the link was last touched, in milliseconds since 1970 */
  async #refresh(name: RepositoryName, kind: LinkKind, digest: Digest, now: number): Promise<number> {
    const key = linkKey(name, kind, digest);
    const modified = (await this.#objects.info(key))?.modified;
    if (modified !== undefined && now - modified < this.#everyMs()) return modified;
    try {
      await this.#objects.touch(key);
    } catch (error) {
      if (!(error instanceof ObjectNotFound)) throw error;
      // Moved in between: from the trash it comes back as new.
      await presentLink(this.#objects, name, kind, digest, { mustStay: true });
    }
    return now;
  }
}
