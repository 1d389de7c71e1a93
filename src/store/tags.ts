import { type Change, firstAfter } from '../drivers/driver.ts';
import type { Digest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import { isTag, type RepositoryName, type Tag } from '../oci/name.ts';
import type { DeleteOptions, Page, PageRequest, Tags } from '../oci/registry.ts';
import { holdsAnything } from './catalog.ts';
import { revisionLinkKey, tagCurrentKey, tagIndexKey, tagLockKey, tagPrefix, tagsPrefix } from './layout.ts';
import { withLocks } from './locks.ts';
import { linkBytes, type Objects } from './objects.ts';
import { unknownManifest } from './linked-manifests.ts';

export class StoredTags implements Tags {
  readonly #objects: Objects;
  readonly #name: RepositoryName;

  constructor(objects: Objects, name: RepositoryName) {
    this.#objects = objects;
    this.#name = name;
  }

  async resolve(tag: Tag): Promise<Digest> {
    const digest = await resolveTag(this.#objects, this.#name, tag);
    if (digest === undefined) throw unknownManifest(tag);
    return digest;
  }

  async list({ last, limit }: PageRequest): Promise<Page<Tag>> {
    const listed = new TagNames(this.#objects, this.#name, await this.#objects.names(tagsPrefix(this.#name)));
    const items: Tag[] = [];
    for (
      let index = last === undefined ? 0 : firstAfter(listed.names, last);
      index < listed.names.length;
      index += 1
    ) {
      const checked = listed.tagAt(index);
      const tag = checked instanceof Promise ? await checked : checked;
      if (tag === undefined) continue;
      if (items.length === limit) return { items, more: true };
      items.push(tag);
    }
    if (items.length === 0 && !(await holdsAnything(this.#objects, this.#name))) {
      throw new RegistryError('NAME_UNKNOWN', 'the repository is not known to this registry', {
        detail: { name: this.#name },
      });
    }
    return { items, more: false };
  }

  async delete(
    tag: Tag,
    { dryRun = false, keeps }: Pick<DeleteOptions, 'dryRun' | 'keeps'> = {},
  ): Promise<Digest> {
    let target = await this.resolve(tag);
    keeps?.(tag);
    if (dryRun) return target;
    const deleted = await deleteTagWhere(this.#objects, this.#name, tag, (present) => {
      target = present;
      return true;
    });
    if (!deleted) throw unknownManifest(tag);
    return target;
  }
}

/** The digest a tag points at; undefined when there is no such tag. */
export function resolveTag(objects: Objects, name: RepositoryName, tag: Tag): Promise<Digest | undefined> {
  return objects.link(tagCurrentKey(name, tag));
}

/** All of the repository's tags in byte order. */
export async function* tagsOf(objects: Objects, name: RepositoryName): AsyncIterable<Tag> {
  const listed = new TagNames(objects, name, await objects.names(tagsPrefix(name)));
  for (let index = 0; index < listed.names.length; index += 1) {
    const tag = await listed.tagAt(index);
    if (tag !== undefined) yield tag;
  }
}

/**
 * Which names of a listing were seen to be tags. That stays so until the tag's folder goes, which makes another
 * listing; so a page costs what is new on it.
 */
const seen = new WeakMap<readonly string[], Uint8Array>();

/** The names in a repository's folder of tags. One without a current link is what a crash can leave. */
class TagNames {
  readonly names: readonly string[];
  readonly #objects: Objects;
  readonly #name: RepositoryName;
  readonly #seen: Uint8Array;

  constructor(objects: Objects, name: RepositoryName, names: readonly string[]) {
    this.#objects = objects;
    this.#name = name;
    this.names = names;
    this.#seen = seen.get(names) ?? new Uint8Array(names.length);
    seen.set(names, this.#seen);
  }

  /** The name if it is a tag's. */
  tagAt(index: number): Tag | undefined | Promise<Tag | undefined> {
    const tag = this.names[index] ?? '';
    if (this.#seen[index] === 1) return tag as Tag;
    return isTag(tag) ? this.#check(index, tag) : undefined;
  }

  async #check(index: number, tag: Tag): Promise<Tag | undefined> {
    if (!(await this.#objects.exists(tagCurrentKey(this.#name, tag)))) return undefined;
    this.#seen[index] = 1;
    return tag;
  }
}

/**
 * Removes a tag with its history if what it points at is to go, which is asked while nobody else can change the tag. Works
 * on a full disk too (locks.ts).
 * @returns whether it was removed
 */
export async function deleteTagWhere(
  objects: Objects,
  name: RepositoryName,
  tag: Tag,
  isToGo: (digest: Digest) => boolean | Promise<boolean>,
): Promise<boolean> {
  const before = await resolveTag(objects, name, tag);
  if (before === undefined || !(await isToGo(before))) return false; // without making a lock for it
  const work = async () => {
    const digest = await resolveTag(objects, name, tag);
    if (digest === undefined || !(await isToGo(digest))) return false;
    await deleteTag(objects, name, tag);
    return true;
  };
  return withLocks(objects, [tagLockKey(name, tag)], work, { frees: true });
}

/** Removes the history of a tag that is not there, as a deletion leaves it that was killed, or `registry:2`'s. */
export async function deleteTagRemains(objects: Objects, name: RepositoryName, tag: Tag): Promise<void> {
  if ((await resolveTag(objects, name, tag)) !== undefined) return;
  const work = async () => {
    if ((await resolveTag(objects, name, tag)) === undefined) await deleteTag(objects, name, tag);
  };
  await withLocks(objects, [tagLockKey(name, tag)], work, { frees: true });
}

/** The current link goes first: with it the tag is gone for everybody, also for a server that knows no locks. */
async function deleteTag(objects: Objects, name: RepositoryName, tag: Tag): Promise<void> {
  await objects.driver.delete([tagCurrentKey(name, tag)]);
  const history: string[] = [];
  for await (const { key } of objects.driver.list(`${tagPrefix(name, tag)}index/`)) history.push(key);
  await objects.driver.delete(history);
}

/**
 * Makes the changes that store a manifest, and then points all of the tags at it. The first are durable before any
 * tag moves, so that no crash leaves a tag without its manifest. When the storage fails at one of the tags, those
 * before it are put back. `missing` tells what is (still) to be written for the manifest: it is asked again once the
 * tags have moved, as the manifest may have been deleted at the same moment.
 * @throws RegistryError what `precondition` throws for the first tag's present digest, and `guard` for any of them,
 *   before anything is stored
 */
export async function writeTags(
  objects: Objects,
  name: RepositoryName,
  change: {
    readonly tags: readonly Tag[];
    readonly digest: Digest;
    readonly missing: () => Promise<readonly Change[]>;
    /** Called when those changes are durable; what it throws keeps the tags where they are. */
    readonly confirm: () => Promise<void>;
    readonly precondition: ((current: Digest | null) => void) | undefined;
    readonly guard: ((tag: Tag, current: Digest | null, next: Digest) => void) | undefined;
  },
): Promise<void> {
  const { tags, digest, missing, confirm, precondition, guard } = change;
  if (tags.length === 0) {
    await objects.commit(await missing());
    return confirm();
  }
  const locks = tags.map((tag) => tagLockKey(name, tag));
  await withLocks(objects, locks, async () => {
    const current = await Promise.all(tags.map((tag) => resolveTag(objects, name, tag)));
    precondition?.(current[0] ?? null);
    for (const [index, tag] of tags.entries()) guard?.(tag, current[index] ?? null, digest);
    const bytes = linkBytes(digest);
    const fresh: string[] = [];
    const history = await Promise.all(
      tags.map(async (tag): Promise<Change | undefined> => {
        const key = tagIndexKey(name, tag, digest);
        if (await objects.hasSettledLink(key, digest)) return undefined;
        if (!(await objects.exists(key))) fresh.push(key);
        return { write: key, bytes };
      }),
    );
    try {
      await objects.commit([...(await missing()), ...history.filter((entry) => entry !== undefined)]);
      await confirm();
    } catch (error) {
      // Of a tag that is not there its history alone would keep the repository in the catalog.
      await objects.driver.delete(fresh, { small: true }).catch(() => undefined);
      throw error;
    }
    const settled = await Promise.all(
      tags.map((tag) => objects.hasSettledLink(tagCurrentKey(name, tag), digest)),
    );
    const moved = tags.filter((_, index) => settled[index] !== true);
    // A tag's age counts from its last push (upkeep/retention.ts), also of what it points at already.
    const stayed = tags.filter((_, index) => settled[index] === true);
    for (const tag of stayed) await objects.touch(tagCurrentKey(name, tag)).catch(() => undefined);
    try {
      await objects.commit(moved.map((tag) => ({ write: tagCurrentKey(name, tag), bytes })));
    } catch (error) {
      await putBack(objects, name, tags, current);
      throw error;
    }
    // Whoever deletes the manifest from here on sees the tags, and waits for us before it removes them.
    if (await objects.exists(revisionLinkKey(name, digest))) return;
    await objects.commit(await missing());
    try {
      await confirm();
    } catch (error) {
      // What it refers to went with it: nobody has been told that it is here.
      await putBack(objects, name, tags, current);
      throw error;
    }
  });
}

/** As far as the storage lets us: what made the change fail may make this fail too. */
async function putBack(
  objects: Objects,
  name: RepositoryName,
  tags: readonly Tag[],
  before: readonly (Digest | undefined)[],
): Promise<void> {
  for (const [index, tag] of tags.entries()) {
    const previous = before[index];
    const now = await resolveTag(objects, name, tag);
    if (now === previous) continue;
    const work =
      previous === undefined
        ? deleteTag(objects, name, tag)
        : objects.writeLink(tagCurrentKey(name, tag), previous);
    await work.catch(() => undefined);
  }
}
