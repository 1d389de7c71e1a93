import { RegistryError } from '../oci/errors.ts';
import type { Digest } from '../oci/digest.ts';
import { MAX_MANIFEST_BYTES } from '../oci/manifest.ts';
import type { RepositoryName, Tag } from '../oci/name.ts';
import { readStoredManifest } from '../oci/stored-manifest.ts';
import { deleteLink, deleteLinksUnless, type Needs, returnTaken } from './delete-links.ts';
import { blobKey, referrerKey, revisionLinkKey, trashedLinkKey } from './layout.ts';
import { presentLink } from './links.ts';
import { type ManifestTools, readLinkedManifest, subjectOf, unknownManifest } from './linked-manifests.ts';
import { deleteReferrer, referrerChange } from './referrers.ts';
import { deleteTagWhere, resolveTag, tagsOf } from './tags.ts';

/** What became of manifests that were to be deleted. Those that were not there are in neither. */
export interface DeletedManifests {
  /** How many went. */
  readonly manifests: number;
  /** The tags that went with them, in byte order. */
  readonly tags: readonly Tag[];
  /** Why the others stayed. */
  readonly stayed: ReadonlyMap<Digest, unknown>;
}

/**
 * Deletes a manifest with every tag that points at it, and its entry in the index of referrers. `needs` tells whether it must
 * stay, and is asked several times (delete-links.ts); without it nothing is asked. What a deletion that failed or was killed
 * has left of one, tags and entry, goes too.
 * @returns the tags that went
 * @throws RegistryError `MANIFEST_UNKNOWN` when nothing of it is here; why it stayed
 */
export async function deleteManifest(
  tools: ManifestTools,
  name: RepositoryName,
  digest: Digest,
  needs?: Needs,
): Promise<readonly Tag[]> {
  const { manifests, tags, stayed } = await deleteManifests(tools, name, [digest], needs);
  if (stayed.has(digest)) throw stayed.get(digest);
  if (manifests + tags.length > 0) return tags;
  const left = await deleteRemains(tools, name, digest, needs);
  if (left === undefined) throw unknownManifest(digest);
  return left;
}

/**
 * Finishes a deletion that came no further than the link. A push that is under way has written the link before its tags.
 * @returns the tags that went; undefined where nothing was left
 */
async function deleteRemains(
  tools: ManifestTools,
  name: RepositoryName,
  digest: Digest,
  needs: Needs | undefined,
): Promise<readonly Tag[] | undefined> {
  const { objects } = tools;
  const isGone = async () =>
    !(await objects.exists(revisionLinkKey(name, digest))) &&
    !(await objects.exists(trashedLinkKey(name, 'revisions', digest)));
  if (!(await isGone())) return undefined;
  const dead = await tagsAt(tools, name, digest);
  // Without the manifest only a tag can have a reason to stay.
  const needed = dead.length === 0 ? undefined : await needs?.([digest]);
  if (needed?.has(digest) === true) throw needed.get(digest);
  const tags: Tag[] = [];
  for (const tag of dead) {
    const isToGo = async (target: Digest) => target === digest && (await isGone());
    if (await deleteTagWhere(objects, name, tag, isToGo)) tags.push(tag);
  }
  const subject = await unlinkedSubject(tools, digest);
  const hasEntry = subject !== undefined && (await objects.exists(referrerKey(name, subject, digest)));
  if (hasEntry) {
    await deleteReferrer(objects, name, subject, digest);
    if (!(await isGone())) await enterAgain(tools, name, digest);
  }
  return hasEntry || tags.length > 0 ? tags : undefined;
}

/** Deletes manifests as `deleteManifest` does, at the cost of one look at all tags, and of what `needs` costs a few times. */
export async function deleteManifests(
  tools: ManifestTools,
  name: RepositoryName,
  digests: readonly Digest[],
  needs?: Needs,
): Promise<DeletedManifests> {
  const { objects } = tools;
  const subjects = new Map<Digest, Digest | undefined>();
  /** In the trash, and without what they refer to: nobody can ask for them, and they do not count. */
  const hollow = new Set<Digest>();
  const isHere = async (digest: Digest) =>
    (await presentLink(objects, name, 'revisions', digest)) !== undefined;
  const absent = new Set<Digest>();
  for (const digest of digests) if (!(await isHere(digest))) absent.add(digest);
  // A deletion of them that was killed is finished.
  if (absent.size > 0) await returnTaken(objects, name, 'revisions', absent);
  for (const digest of digests) {
    if (!absent.has(digest) || (await isHere(digest)))
      subjects.set(digest, await readSubject(tools, name, digest));
    else if (await objects.exists(trashedLinkKey(name, 'revisions', digest))) {
      hollow.add(digest);
      subjects.set(digest, await unlinkedSubject(tools, digest));
    }
  }
  // The link first: from then on no request, by digest or by tag, reaches the manifest. Whoever pushes it anew at
  // the same moment keeps what belongs to it.
  let stayed: ReadonlyMap<Digest, unknown> = new Map();
  const isGone = async (digest: Digest) => !(await objects.exists(revisionLinkKey(name, digest)));
  let givenUp: RegistryError | undefined;
  try {
    if (needs === undefined)
      for (const digest of subjects.keys()) await deleteLink(objects, name, 'revisions', digest);
    else stayed = await deleteLinksUnless(objects, name, 'revisions', [...subjects.keys()], needs);
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    // Some are brought back each time. Those that went leave no tags.
    givenUp = error;
    const here = new Map<Digest, unknown>();
    for (const digest of subjects.keys()) if (!(await isGone(digest))) here.set(digest, error);
    stayed = here;
  }
  for (const digest of stayed.keys()) {
    // While it was set aside another deletion may have taken it for gone.
    if (subjects.get(digest) !== undefined) await enterAgain(tools, name, digest);
    subjects.delete(digest);
  }
  const tags = subjects.size === 0 ? [] : await deleteTagsAt(tools, name, subjects);
  for (const [digest, subject] of subjects) {
    if (subject === undefined) continue;
    await deleteReferrer(objects, name, subject, digest);
    if (!(await isGone(digest))) await enterAgain(tools, name, digest);
  }
  if (givenUp !== undefined) throw givenUp;
  for (const digest of hollow) subjects.delete(digest);
  return { manifests: subjects.size, tags, stayed };
}

/** Deletes the tags that point at some manifests, as far as these are gone. @returns them, in byte order */
export async function deleteTagsAt(
  { objects }: Pick<ManifestTools, 'objects'>,
  name: RepositoryName,
  digests: { has(digest: Digest): boolean },
): Promise<readonly Tag[]> {
  const tags: Tag[] = [];
  const isToGo = async (target: Digest) =>
    digests.has(target) && !(await objects.exists(revisionLinkKey(name, target)));
  for await (const tag of tagsOf(objects, name))
    if (await deleteTagWhere(objects, name, tag, isToGo)) tags.push(tag);
  return tags;
}

/** By its bytes, while they are there and can be a manifest's; where they are not, a scrub finds its entry. */
async function unlinkedSubject(
  { objects }: Pick<ManifestTools, 'objects'>,
  digest: Digest,
): Promise<Digest | undefined> {
  const size = await objects.size(blobKey(digest));
  if (size === undefined || size > MAX_MANIFEST_BYTES) return undefined;
  const bytes = await objects.bytes(blobKey(digest));
  try {
    return bytes === undefined ? undefined : subjectOf(readStoredManifest(bytes));
  } catch {
    return undefined; // a blob's
  }
}

/** Damaged bytes must not keep a manifest from being deleted. */
async function readSubject(
  tools: ManifestTools,
  name: RepositoryName,
  digest: Digest,
): Promise<Digest | undefined> {
  const manifest = await readLinkedManifest(tools, name, digest).catch(() => undefined);
  return manifest === undefined ? undefined : subjectOf(readStoredManifest(manifest.bytes));
}

/** Enters a manifest again as a referrer that was pushed while its entry was taken out. */
export async function enterAgain(tools: ManifestTools, name: RepositoryName, digest: Digest): Promise<void> {
  const stored = await readLinkedManifest(tools, name, digest);
  if (stored === undefined) return;
  const manifest = readStoredManifest(stored.bytes);
  const subject = subjectOf(manifest);
  if (subject === undefined) return;
  const change = await referrerChange(tools.objects, name, subject, { digest, manifest, size: stored.size });
  if (change !== undefined) await tools.objects.commit([change]);
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

/** For who deletes manifests: those stay at which a tag points that has to, and that `keeps` throws for. */
export async function keptByTags(
  { objects }: Pick<ManifestTools, 'objects'>,
  name: RepositoryName,
  digests: readonly Digest[],
  keeps: (tag: Tag) => void,
): Promise<Map<Digest, unknown>> {
  const asked = new Set(digests);
  const kept = new Map<Digest, unknown>();
  for await (const tag of tagsOf(objects, name)) {
    const digest = await resolveTag(objects, name, tag);
    if (digest === undefined || !asked.has(digest) || kept.has(digest)) continue;
    try {
      keeps(tag);
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error;
      kept.set(digest, error);
    }
  }
  return kept;
}
