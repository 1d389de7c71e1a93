import type { Digest } from '../oci/digest.ts';
import type { RepositoryName, Tag } from '../oci/name.ts';
import { readStoredManifest } from '../oci/stored-manifest.ts';
import { revisionLinkKey } from './layout.ts';
import { deleteLink, deleteLinksUnless, presentLink } from './links.ts';
import { type ManifestTools, readLinkedManifest, subjectOf, unknownManifest } from './linked-manifests.ts';
import { deleteReferrer, referrerChange } from './referrers.ts';
import { deleteTagWhere, resolveTag, tagsOf } from './tags.ts';

/**
 * Deletes a manifest with every tag that points at it, and its entry in the index of referrers. `check` throws when it must
 * stay, and is asked twice (links.ts); without it nothing is asked.
 * @returns the tags that went
 * @throws RegistryError `MANIFEST_UNKNOWN`; what `check` throws
 */
export async function deleteManifest(
  tools: ManifestTools,
  name: RepositoryName,
  digest: Digest,
  check?: (digest: Digest) => Promise<void>,
): Promise<readonly Tag[]> {
  const { objects } = tools;
  if ((await presentLink(objects, name, 'revisions', digest)) === undefined) throw unknownManifest(digest);
  // Damaged bytes must not keep a manifest from being deleted.
  const manifest = await readLinkedManifest(tools, name, digest).catch(() => undefined);
  // The link first: from then on no request, by digest or by tag, reaches the manifest. Whoever pushes it anew at
  // the same moment keeps what belongs to it.
  if (check === undefined) await deleteLink(objects, name, 'revisions', digest);
  else {
    const stayed = await deleteLinksUnless(objects, name, 'revisions', [digest], check);
    if (stayed.has(digest)) throw stayed.get(digest);
  }
  const link = revisionLinkKey(name, digest);
  const isGone = async () => !(await objects.exists(link));
  const gone: Tag[] = [];
  for await (const tag of tagsOf(objects, name)) {
    const isToGo = async (target: Digest) => target === digest && (await isGone());
    if (await deleteTagWhere(objects, name, tag, isToGo)) gone.push(tag);
  }
  const parsed = manifest === undefined ? undefined : readStoredManifest(manifest.bytes);
  const subject = parsed === undefined ? undefined : subjectOf(parsed);
  if (manifest === undefined || parsed === undefined || subject === undefined) return gone;
  await deleteReferrer(objects, name, subject, digest);
  if (await isGone()) return gone;
  const change = await referrerChange(objects, name, subject, {
    digest,
    manifest: parsed,
    size: manifest.size,
  });
  if (change !== undefined) await objects.commit([change]);
  return gone;
}

/** The tags of the repository that point at a manifest, in byte order. */
export async function tagsAt(
  { objects }: Pick<ManifestTools, 'objects'>,
  name: RepositoryName,
  digest: Digest,
): Promise<readonly Tag[]> {
  const tags: Tag[] = [];
  for await (const tag of tagsOf(objects, name)) {
    if ((await resolveTag(objects, name, tag)) === digest) tags.push(tag);
  }
  return tags;
}
