/**
 * Removing bytes while others push. No lock is held: who removes and who needs the bytes each do two things, in such an
 * order that one of them sees the other.
 *
 *     removes:  1. there is no link    2. moves the bytes to the trash    3. looks for links again; if any, moves back
 *     pushes:   1. finds the bytes     2. writes the link               3. looks for the bytes again; if gone, moves back
 *
 * What is in the trash is deleted after a while.
 *
 *     docker/registry/v2/_entrepot/trash/<alg>-<hex>       the bytes
 *     docker/registry/v2/_entrepot/trash/<alg>-<hex>.at    empty; its time is when they were put there
 */
import { firstAfter, isFull, ObjectNotFound } from '../drivers/driver.ts';
import { algorithmOf, type Digest, hexOf, isDigest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import { allRepositories } from './catalog.ts';
import { blobKey, type LinkKind, linksPrefix, trashedLinksPrefix, trashKey, TRASH } from './layout.ts';
import type { Objects } from './objects.ts';
import { failIfUnknown } from './repository-alias.ts';

/**
 * Milliseconds that bytes stay in the trash, so that who has opened them by their path and not begun to read finds them
 * (Bun opens files late). No push depends on it: its last step finds them, or brings its own.
 */
export const TRASH_KEPT_FOR = 30_000;
const MARK = '.at';
/** Repositories that are looked at between two pauses for other work. */
const PAGE = 100;

/**
 * The size of a blob's bytes, in bytes, brought back from the trash if they are there; undefined when there are none.
 */
export async function presentSize(objects: Objects, digest: Digest): Promise<number | undefined> {
  const size = await objects.size(blobKey(digest));
  if (size !== undefined) return size;
  return (await restore(objects, digest)) ? objects.size(blobKey(digest)) : undefined;
}

/**
 * Brings bytes back from the trash, also where somebody has pushed them anew meanwhile: they are the same, and to move them
 * is the one way to take them from the trash that cannot lose them to who discards at the same moment.
 * @returns whether the bytes are there
 */
export async function restore(objects: Objects, digest: Digest): Promise<boolean> {
  const key = trashKey(digest);
  try {
    if (!(await objects.exists(key))) return await objects.exists(blobKey(digest));
    await objects.move(key, blobKey(digest));
  } catch (error) {
    if (!(error instanceof ObjectNotFound)) throw error; // somebody else was faster
    return objects.exists(blobKey(digest));
  }
  await objects.driver.delete([key + MARK], { volatile: true });
  return true;
}

/**
 * Puts the bytes of those digests into the trash to which no repository has a link. It costs a look at every repository,
 * so it is asked for many at once.
 * @returns the digests that went
 * @throws StorageFailure where a repository cannot be read; what had been moved by then stays in the trash
 */
export async function discardUnlinked(
  objects: Objects,
  digests: readonly Digest[],
): Promise<readonly Digest[]> {
  const linked = await linkedAmong(objects, new Set(digests));
  const moved: Digest[] = [];
  for (const digest of digests) {
    if (!linked.has(digest) && (await moveToTrash(objects, digest))) moved.push(digest);
  }
  if (moved.length === 0) return [];
  const wanted = await linkedAmong(objects, new Set(moved));
  for (const digest of wanted) await restore(objects, digest);
  return moved.filter((digest) => !wanted.has(digest));
}

/** Where there is no room for it the bytes go without: `trashed` gives them one later. */
async function writeMark(objects: Objects, digest: Digest): Promise<void> {
  try {
    await objects.driver.write(trashKey(digest) + MARK, new Uint8Array(), { volatile: true });
  } catch (error) {
    if (!isFull(error)) throw error;
  }
}

/** The first half of discarding: links have to be looked for again afterwards. @returns whether there was anything */
export async function moveToTrash(objects: Objects, digest: Digest): Promise<boolean> {
  if (!(await objects.exists(blobKey(digest)))) return false;
  await writeMark(objects, digest);
  try {
    await objects.move(blobKey(digest), trashKey(digest), { volatile: true });
    return true;
  } catch (error) {
    if (error instanceof ObjectNotFound) return false;
    throw error;
  }
}

/**
 * What lies in the trash, and since when (milliseconds since 1970). Marks without bytes, as bytes that are brought back can
 * leave them, go when they are older than `TRASH_KEPT_FOR`; bytes without a mark get one.
 */
export async function* trashed(
  objects: Objects,
  now: number,
): AsyncGenerator<{ readonly digest: Digest; readonly since: number }, undefined> {
  let bytesAt = '';
  for await (const { key, modified } of objects.driver.list(TRASH)) {
    const isMark = key.endsWith(MARK);
    const entry = isMark ? key.slice(0, -MARK.length) : key;
    const digest = entry.slice(TRASH.length).replace('-', ':');
    if (!isDigest(digest)) continue;
    if (!isMark) {
      bytesAt = entry;
      if (!(await objects.exists(entry + MARK))) {
        await writeMark(objects, digest);
      }
    } else if (bytesAt === entry) yield { digest, since: modified };
    // The mark alone: somebody may be about to move bytes here, with a younger one.
    else if (now - modified >= TRASH_KEPT_FOR) await objects.driver.delete([key]);
  }
  return undefined;
}

/** Deletes bytes in the trash for good. */
export async function deleteTrashed(objects: Objects, digests: readonly Digest[]): Promise<void> {
  await objects.driver.delete(digests.flatMap((digest) => [trashKey(digest), trashKey(digest) + MARK]));
}

/** Deletes what has been in the trash for its time. @throws StorageFailure where a repository cannot be read: then all stays */
export async function emptyTrash(objects: Objects, now: number, keptFor = TRASH_KEPT_FOR): Promise<void> {
  const old: Digest[] = [];
  for await (const { digest, since } of trashed(objects, now)) if (now - since >= keptFor) old.push(digest);
  if (old.length === 0) return;
  // A crash may have come between a move and the second look.
  const wanted = await linkedAmong(objects, new Set(old));
  for (const digest of wanted) await restore(objects, digest);
  await deleteTrashed(
    objects,
    old.filter((digest) => !wanted.has(digest)),
  );
}

/** Those of the digests to which any repository has a link. @throws StorageFailure where that is not to be known */
async function linkedAmong(storage: Objects, digests: ReadonlySet<Digest>): Promise<ReadonlySet<Digest>> {
  const objects = storage.strict();
  const linked = new Set<Digest>();
  let looked = 0;
  for await (const name of allRepositories(objects, { onLeftOut: failIfUnknown })) {
    for (const kind of ['layers', 'revisions'] as const)
      await addLinked(objects, name, kind, digests, linked);
    if (linked.size === digests.size) break;
    looked += 1;
    if (looked % PAGE === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  return linked;
}

async function addLinked(
  objects: Objects,
  name: RepositoryName,
  kind: LinkKind,
  digests: ReadonlySet<Digest>,
  linked: Set<Digest>,
): Promise<void> {
  const prefix = linksPrefix(name, kind);
  for (const algorithm of await objects.names(prefix)) {
    if (algorithm.startsWith('_')) continue;
    const names = await objects.names(`${prefix}${algorithm}/`);
    for (const hex of candidates(names, algorithm, digests)) {
      const target = await objects.link(`${prefix}${algorithm}/${hex}/link`);
      if (target !== undefined && digests.has(target)) linked.add(target);
    }
  }
  // What is on its way out may come back (links.ts).
  const trashed = trashedLinksPrefix(name, kind);
  for (const entry of await objects.names(trashed)) {
    const target = await objects.link(trashed + entry);
    if (target !== undefined && digests.has(target)) linked.add(target);
  }
}

/** Those of the names that may be links to one of the digests. */
function candidates(names: readonly string[], algorithm: string, digests: ReadonlySet<Digest>): string[] {
  // A link may name bytes of another algorithm than its own path (layout.ts): those of sha512 are all read.
  if (algorithm !== 'sha256') return [...names];
  if (digests.size > names.length) return names.filter((hex) => digests.has(`sha256:${hex}` as Digest));
  return [...digests].flatMap((digest) => {
    const hex = hexOf(digest);
    return algorithmOf(digest) === 'sha256' && names[firstAfter(names, hex) - 1] === hex ? [hex] : [];
  });
}
