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
import { firstAfter, ObjectNotFound } from '../drivers/driver.ts';
import { algorithmOf, type Digest, hexOf, isDigest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import { listRepositories } from './catalog.ts';
import { blobKey, type LinkKind, linksPrefix, trashedLinksPrefix, trashKey, TRASH } from './layout.ts';
import type { Objects } from './objects.ts';

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

async function restore(objects: Objects, digest: Digest): Promise<boolean> {
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
 */
export async function discardUnlinked(
  objects: Objects,
  digests: readonly Digest[],
): Promise<readonly Digest[]> {
  const linked = await linkedAmong(objects, new Set(digests));
  const moved: Digest[] = [];
  for (const digest of digests) {
    if (linked.has(digest) || !(await objects.exists(blobKey(digest)))) continue;
    await objects.driver.write(trashKey(digest) + MARK, new Uint8Array(), { volatile: true });
    try {
      await objects.move(blobKey(digest), trashKey(digest), { volatile: true });
      moved.push(digest);
    } catch (error) {
      if (!(error instanceof ObjectNotFound)) throw error;
    }
  }
  if (moved.length === 0) return [];
  const wanted = await linkedAmong(objects, new Set(moved));
  for (const digest of wanted) await restore(objects, digest);
  return moved.filter((digest) => !wanted.has(digest));
}

/** Deletes what has been in the trash for its time. */
export async function emptyTrash(objects: Objects, now: number, keptFor = TRASH_KEPT_FOR): Promise<void> {
  const old: Digest[] = [];
  for await (const { key, modified } of objects.driver.list(TRASH)) {
    const digest = key.slice(TRASH.length, -MARK.length).replace('-', ':');
    if (key.endsWith(MARK) && now - modified >= keptFor && isDigest(digest)) old.push(digest);
  }
  if (old.length === 0) return;
  // A crash may have come between a move and the second look.
  const wanted = await linkedAmong(objects, new Set(old));
  for (const digest of wanted) await restore(objects, digest);
  const gone = old.filter((digest) => !wanted.has(digest)).map((digest) => trashKey(digest));
  await objects.driver.delete(
    gone.flatMap((key) => [key, key + MARK]),
    { volatile: true },
  );
}

/** Those of the digests to which any repository has a link. */
async function linkedAmong(objects: Objects, digests: ReadonlySet<Digest>): Promise<ReadonlySet<Digest>> {
  const linked = new Set<Digest>();
  for (let last: RepositoryName | undefined; ;) {
    const page = await listRepositories(objects, { limit: PAGE, ...(last === undefined ? {} : { last }) });
    for (const name of page.items) {
      for (const kind of ['layers', 'revisions'] as const)
        await addLinked(objects, name, kind, digests, linked);
    }
    last = page.items.at(-1);
    if (!page.more || last === undefined || linked.size === digests.size) return linked;
    await new Promise((resolve) => setImmediate(resolve));
  }
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
