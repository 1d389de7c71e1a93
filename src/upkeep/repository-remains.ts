/** What belonged to manifests and repositories that are gone, and is of no use without them. */
import { type Digest, isDigest } from '../oci/digest.ts';
import { isTag, type RepositoryName } from '../oci/name.ts';
import { removeEmptyRepositoryFolders } from '../store/empty-folders.ts';
import {
  layersPrefix,
  locksPrefix,
  repositoryMarkKey,
  repositoryPrefix,
  revisionLinkKey,
  tagCurrentKey,
  tagIndexKey,
  tagPrefix,
  tagsPrefix,
  trashedLinkKey,
} from '../store/layout.ts';
import { removeDeadLocks } from '../store/locks.ts';
import type { Objects } from '../store/objects.ts';
import { repositoryLinks } from '../store/repository-links.ts';

/**
 * Removes the history and the index entries of manifests that are gone, and where no manifest is left all that is no content.
 * Nothing that was written after `before` (milliseconds since 1970) is touched.
 */
export async function removeRemains(
  objects: Objects,
  name: RepositoryName,
  { manifests, before }: { readonly manifests: readonly Digest[]; readonly before: number },
): Promise<void> {
  if (manifests.length > 0) {
    await removeHistory(objects, name, new Set(manifests));
    await removeReferrers(objects, name, before);
  }
  const revisions = repositoryLinks(objects, name, 'revisions');
  const anyRevision = (await revisions.next()).done !== true;
  await revisions.return(undefined);
  const layers = await objects.names(layersPrefix(name));
  if (anyRevision) {
    // `registry:2` lists only repositories that have this folder (layout.ts).
    if (layers.length === 0) await objects.driver.write(repositoryMarkKey(name), new Uint8Array());
    return;
  }
  if (layers.includes('_repository')) await objects.driver.delete([repositoryMarkKey(name)]);
  await removeEmptyTags(objects, name, before);
  await removeDeadLocks(objects, locksPrefix(name));
  await removeEmptyRepositoryFolders(objects, name);
}

/** That a tag once pointed at them. */
async function removeHistory(
  objects: Objects,
  name: RepositoryName,
  manifests: ReadonlySet<Digest>,
): Promise<void> {
  for (const tag of await objects.names(tagsPrefix(name))) {
    if (!isTag(tag)) continue;
    const keys: string[] = [];
    for (const digest of await tagHistory(objects, name, tag)) {
      if (manifests.has(digest)) keys.push(tagIndexKey(name, tag, digest));
    }
    await objects.driver.delete(keys);
  }
}

async function tagHistory(objects: Objects, name: RepositoryName, tag: string): Promise<Digest[]> {
  const digests: Digest[] = [];
  if (!isTag(tag)) return digests;
  const index = `${tagPrefix(name, tag)}index/`;
  for (const algorithm of await objects.names(index)) {
    for (const hex of await objects.names(`${index}${algorithm}/`)) {
      const digest = `${algorithm}:${hex}`;
      if (isDigest(digest)) digests.push(digest);
    }
  }
  return digests;
}

/** Entries of the referrers index whose manifest is gone. */
async function removeReferrers(objects: Objects, name: RepositoryName, before: number): Promise<void> {
  const root = `${repositoryPrefix(name)}_referrers/`;
  for (const algorithm of await objects.names(root)) {
    for (const subject of await objects.names(`${root}${algorithm}/`)) {
      const prefix = `${root}${algorithm}/${subject}/`;
      const gone: string[] = [];
      for (const entry of await objects.names(prefix)) {
        const digest = entry.replace('-', ':');
        if (!isDigest(digest)) continue;
        if (await objects.exists(revisionLinkKey(name, digest))) continue;
        if (await objects.exists(trashedLinkKey(name, 'revisions', digest))) continue;
        const modified = (await objects.info(prefix + entry))?.modified;
        if (modified !== undefined && modified <= before) gone.push(prefix + entry);
      }
      await objects.driver.delete(gone);
    }
  }
}

/** The history of tags that are deleted: `registry:2` leaves it. */
async function removeEmptyTags(objects: Objects, name: RepositoryName, before: number): Promise<void> {
  for (const tag of await objects.names(tagsPrefix(name))) {
    if (!isTag(tag) || (await objects.exists(tagCurrentKey(name, tag)))) continue;
    const keys: string[] = [];
    for (const digest of await tagHistory(objects, name, tag)) {
      const key = tagIndexKey(name, tag, digest);
      const modified = (await objects.info(key))?.modified;
      if (modified !== undefined && modified <= before) keys.push(key);
    }
    await objects.driver.delete(keys);
  }
}
