/**
 * Links, and what lies between a link and its end. The collector never deletes a live link: it moves it to the trash of
 * its repository, from which everybody who needs it brings it back, and deletes it there when it has looked again.
 *
 *     collector:  1. nothing refers to it    2. moves it to the trash    3. later looks again: brings it back, or deletes it
 *     push:       1. finds what the manifest refers to    2. writes the manifest's link    3. finds all of it again, or fails
 *
 * Either the collector's second look sees the manifest, or the push's second look sees what the collector did.
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

/**
 * The digest that a repository's link names, undefined when there is no such link. One that lies in the trash is brought
 * back and counts as new; a manifest only with all that it refers to, else it is gone. Where it cannot be, as in a storage that is not to be written to, it is found all the same unless
 * `mustStay`, for who relies on its being there later. @throws StorageFailure with `mustStay`
 */
export async function presentLink(
  objects: Objects,
  name: RepositoryName,
  kind: LinkKind,
  digest: Digest,
  { mustStay = false }: { readonly mustStay?: boolean } = {},
): Promise<Digest | undefined> {
  const key = linkKey(name, kind, digest);
  const live = await objects.link(key);
  if (live !== undefined) return live;
  const trashed = trashedLinkKey(name, kind, digest);
  const target = await objects.link(trashed);
  // Somebody else may have brought it back in between.
  if (target === undefined) return objects.link(key);
  try {
    if (kind === 'revisions' && !(await bringBackReferences(objects, name, target))) return undefined;
    await restoreLink(objects, name, kind, digest, target);
  } catch (error) {
    if (mustStay || !(error instanceof StorageFailure)) throw error;
  }
  return target;
}

/** Puts a link that lies in the trash back in its place, as a new one. */
export async function restoreLink(
  objects: Objects,
  name: RepositoryName,
  kind: LinkKind,
  digest: Digest,
  target: Digest,
): Promise<void> {
  await objects.writeLink(linkKey(name, kind, digest), target);
  await objects.driver.delete([trashedLinkKey(name, kind, digest)]);
}

/** What a manifest refers to may be in the trash like itself, or have left it already. @returns whether all of it is there */
async function bringBackReferences(
  objects: Objects,
  name: RepositoryName,
  manifest: Digest,
): Promise<boolean> {
  if ((await presentSize(objects, manifest)) === undefined) return false;
  const bytes = await objects.bytes(blobKey(manifest));
  if (bytes === undefined) return false;
  for (const digest of referencesOf(bytes).required) {
    const target =
      (await presentLink(objects, name, 'layers', digest, { mustStay: true })) ??
      (await presentLink(objects, name, 'revisions', digest, { mustStay: true }));
    if (target === undefined || (await presentSize(objects, target)) === undefined) return false;
  }
  return true;
}

/** Deletes a link, also one that lies in the trash. Visible at once to everybody. */
export async function deleteLink(
  objects: Objects,
  name: RepositoryName,
  kind: LinkKind,
  digest: Digest,
): Promise<void> {
  await objects.driver.delete([trashedLinkKey(name, kind, digest), linkKey(name, kind, digest)]);
}

/** Links whose last touch this process remembers. */
const MAX_REMEMBERED = 100_000;

/**
 * Notes when a link was last asked for by who may be about to push what refers to it: who was told that a blob is there
 * does not send it. The note is the link's own time of change.
 */
export class LinkTouches {
  readonly #objects: Objects;
  readonly #everyMs: number;
  readonly #remembered = new Recent<number>({ most: MAX_REMEMBERED });

  /**
   * @param everyMs milliseconds for which a touch counts, well below the time that the collector leaves untouched links
   *   alone; infinite where nothing is to be noted
   */
  constructor(objects: Objects, everyMs: number) {
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
    if (now - (this.#remembered.get(key) ?? 0) < this.#everyMs) return;
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
    if (modified !== undefined && now - modified < this.#everyMs) return modified;
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
