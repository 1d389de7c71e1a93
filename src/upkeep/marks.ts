/** What of a repository has to stay. */
import { createHash } from 'node:crypto';
import { algorithmOf, type Digest, digestOf } from '../oci/digest.ts';
import { isTag, type RepositoryName, type Tag } from '../oci/name.ts';
import { type References, referencesOf } from '../oci/references.ts';
import { Recent } from '../recent.ts';
import { blobKey, tagPrefix, tagsPrefix, trashKey } from '../store/layout.ts';
import { type RepositoryLink, repositoryLinks, targetOf } from '../store/repository-links.ts';
import { resolveTag } from '../store/tags.ts';
import { DigestSet } from './digest-set.ts';
import type { JobContext } from './job.ts';

/** Manifests of which the references are remembered while one repository is looked at. */
const MAX_REMEMBERED = 20_000;

export interface Marks {
  /** All manifests of the repository, in no order; those that lie in the trash too, and those that deletions have taken. */
  readonly revisions: ReadonlyMap<Digest, RepositoryLink>;
  readonly anyTrashed: boolean;
  /** The manifests that stay. */
  readonly manifests: DigestSet;
  /** Those of them that lie in the trash, and stay there: only their age keeps them, or that of what refers to them. */
  readonly young: ReadonlySet<Digest>;
  /** What those refer to. */
  readonly content: DigestSet;
  /** Manifests that stay and of which the bytes are gone or damaged: nobody knows what they refer to. */
  readonly unreadable: readonly Digest[];
  /** Tags of which nobody knows what they point at. */
  readonly damagedTags: readonly Tag[];
}

/**
 * Marks what stays. A manifest stays when a tag points at it, when it is a child of an index that stays, when its subject
 * stays, or when it was asked for or pushed after `untaggedSince` (milliseconds since 1970); without `untaggedSince` all
 * stay but those in the trash that nothing refers to. Where a tag or a manifest that stays cannot be read, all stay. What a
 * deletion has taken stays while it is at it; when that has died it needs a reason to.
 */
export async function markRepository(
  { objects, pace, exclusive }: Pick<JobContext, 'objects' | 'pace' | 'exclusive'>,
  name: RepositoryName,
  { untaggedSince, graceSince }: { readonly untaggedSince: number | undefined; readonly graceSince: number },
): Promise<Marks> {
  const revisions = new Map<Digest, RepositoryLink>();
  let anyTrashed = false;
  const taken = exclusive ? 'as dead' : true;
  for await (const link of repositoryLinks(objects, name, 'revisions', { taken })) {
    anyTrashed ||= link.trashed;
    if (!revisions.has(link.digest)) revisions.set(link.digest, link);
    const wait = pace(1);
    if (wait !== undefined) await wait;
  }
  const remembered = new Recent<References>({ most: MAX_REMEMBERED });
  const read = async (digest: Digest, link: RepositoryLink): Promise<References | undefined> => {
    const known = remembered.get(digest);
    if (known !== undefined) return known;
    const wait = pace(1);
    if (wait !== undefined) await wait;
    const target = await targetOf(objects, link);
    const bytes = (await objects.bytes(blobKey(target))) ?? (await objects.bytes(trashKey(target)));
    if (bytes === undefined || !isWhole(bytes, target)) return undefined;
    const references = referencesOf(bytes);
    remembered.set(digest, references);
    return references;
  };

  const manifests = new DigestSet(revisions.size);
  const content = new DigestSet(revisions.size * 4);
  const unreadable: Digest[] = [];
  const damagedTags: Tag[] = [];
  const referrers = new Map<Digest, Digest[]>();
  const queue: Digest[] = [];
  const keep = (digest: Digest): void => {
    if (revisions.has(digest) && manifests.add(digest)) queue.push(digest);
  };
  const follow = async (): Promise<void> => {
    for (let digest = queue.pop(); digest !== undefined; digest = queue.pop()) {
      const link = revisions.get(digest);
      const references = link === undefined ? undefined : await read(digest, link);
      for (const referrer of referrers.get(digest) ?? []) keep(referrer);
      if (references === undefined) {
        unreadable.push(digest);
        continue;
      }
      for (const one of references.content) content.add(one);
      for (const child of references.children) keep(child);
    }
  };
  const isYoung = async ({ key }: RepositoryLink, since: number): Promise<boolean> =>
    ((await objects.info(key))?.modified ?? 0) > since;

  const trashed = [...revisions].filter(([, link]) => link.trashed);
  if (untaggedSince !== undefined || anyTrashed) {
    for (const [digest, link] of revisions) {
      const subject = (await read(digest, link))?.subject;
      if (subject === undefined) continue;
      const known = referrers.get(subject);
      if (known === undefined) referrers.set(subject, [digest]);
      else known.push(digest);
    }
  }
  if (untaggedSince !== undefined || anyTrashed) {
    for (const tag of await objects.names(tagsPrefix(name))) {
      if (!isTag(tag)) continue;
      const digest = await resolveTag(objects, name, tag);
      if (digest !== undefined) keep(digest);
      else if ((await objects.names(`${tagPrefix(name, tag)}current/`)).includes('link'))
        damagedTags.push(tag);
      const wait = pace(1);
      if (wait !== undefined) await wait;
    }
    await follow();
  }
  for (const [digest, link] of revisions) {
    if (manifests.has(digest) || link.trashed) continue;
    if (untaggedSince === undefined || (await isYoung(link, untaggedSince))) keep(digest);
    await follow();
  }
  // What of the trash is kept from here on is so only for its age, or that of what refers to it.
  const unneeded = trashed.filter(([digest]) => !manifests.has(digest));
  for (const [digest, link] of unneeded) {
    if (link.taken === 'dead') continue;
    if (link.taken === 'alive' || (await isYoung(link, graceSince))) keep(digest);
    await follow();
  }
  const young = new Set(unneeded.map(([digest]) => digest).filter((digest) => manifests.has(digest)));
  if (unreadable.length > 0 || damagedTags.length > 0) {
    for (const digest of revisions.keys()) keep(digest);
    await follow();
  }
  return { revisions, anyTrashed, manifests, young, content, unreadable, damagedTags };
}

/** Damaged bytes refer to something else than the manifest did. */
function isWhole(bytes: Uint8Array, digest: Digest): boolean {
  const algorithm = algorithmOf(digest);
  return digestOf(algorithm, createHash(algorithm).update(bytes).digest('hex')) === digest;
}
