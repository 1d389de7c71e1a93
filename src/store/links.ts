/**
 * Links, and what lies between a link and its end. The collector never deletes a live link: it moves it to the trash of
 * its repository, from which everybody who needs it brings it back, and deletes it there when it has looked again.
 *
 *     collector:  1. nothing refers to it    2. moves it to the trash    3. later looks again: brings it back, or deletes it
 *     push:       1. finds what the manifest refers to    2. writes the manifest's link    3. finds all of it again, or fails
 *
 * Either the collector's second look sees the manifest, or the push's second look sees what the collector did.
 * A deletion that somebody asks for goes the same way where something may need the link (`deleteLinksUnless`), without waiting.
 * docs/decisions/0008 has the whole argument.
 */
import { isFull, ObjectNotFound, StorageFailure } from '../drivers/driver.ts';
import type { Digest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/name.ts';
import { referencesOf } from '../oci/references.ts';
import { Recent } from '../recent.ts';
import { blobKey, type LinkKind, linkKey, trashedLinkKey } from './layout.ts';
import { linkBytes, type Objects } from './objects.ts';
import { presentSize } from './trash.ts';

/** How often somebody else may be faster at bringing a link back, or at taking it away again. */
const MAX_ATTEMPTS = 50;

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
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    const live = await objects.link(key);
    if (live !== undefined) return live;
    const target = await objects.link(trashedLinkKey(name, kind, digest));
    // Somebody else may have brought it back in between.
    if (target === undefined) break;
    try {
      if (kind === 'revisions' && !(await bringBackReferences(objects, name, target))) return undefined;
      if (await restoreLink(objects, name, kind, digest)) return target;
    } catch (error) {
      if (mustStay || !(error instanceof StorageFailure)) throw error;
      return target;
    }
    await new Promise((resolve) => setTimeout(resolve, attempt));
  }
  return objects.link(key);
}

/**
 * Puts a link that lies in the trash back in its place, as a new one. It is moved: written, it could come back when somebody
 * has just deleted it for good. @returns false where somebody was faster, at either
 */
export async function restoreLink(
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

/** Rounds in which a link may come back, because somebody asks for it, before its deletion is given up. */
const MAX_ROUNDS = 20;

/**
 * Deletes links that nothing needs, while others push: the collector's way (see above), at once. `check` throws for a digest
 * that is needed; it is asked before its link goes, and again while the link is where who needs it brings it back from.
 * @returns what `check` threw, by the digests that stayed
 * @throws RegistryError 429 when a link is brought back each time
 */
export async function deleteLinksUnless(
  objects: Objects,
  name: RepositoryName,
  kind: LinkKind,
  digests: readonly Digest[],
  check: (digest: Digest) => Promise<void>,
): Promise<ReadonlyMap<Digest, unknown>> {
  const stayed = new Map<Digest, unknown>();
  const isNeeded = (digest: Digest) =>
    check(digest).then(
      () => false,
      (error: unknown) => {
        stayed.set(digest, error);
        return true;
      },
    );
  let left = digests;
  for (let round = 0; left.length > 0; round += 1) {
    if (round === MAX_ROUNDS) {
      throw new RegistryError('TOOMANYREQUESTS', 'too many requests ask for this at the same moment', {
        headers: { 'Retry-After': '1' },
      });
    }
    const going: Digest[] = [];
    for (const digest of left) {
      const target = (await isNeeded(digest)) ? undefined : await objects.link(linkKey(name, kind, digest));
      if (stayed.has(digest)) continue;
      // Written before the live one goes, so that there is no moment without either.
      if (target !== undefined) {
        try {
          await objects.driver.write(trashedLinkKey(name, kind, digest), linkBytes(target), {
            volatile: true,
          });
        } catch (error) {
          // On a full disk nobody pushes what may need it, and what frees space has to work.
          if (!isFull(error)) throw error;
        }
      }
      going.push(digest);
    }
    await objects.driver.delete(going.map((digest) => linkKey(name, kind, digest)));
    const gone: Digest[] = [];
    for (const digest of going) {
      if (await isNeeded(digest)) await restoreLink(objects, name, kind, digest);
      else gone.push(digest);
    }
    await objects.driver.delete(gone.map((digest) => trashedLinkKey(name, kind, digest)));
    const back: Digest[] = [];
    for (const digest of gone) if (await objects.exists(linkKey(name, kind, digest))) back.push(digest);
    left = back;
  }
  return stayed;
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
