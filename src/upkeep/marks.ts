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
  /** All manifests of the repository, in no order; those that lie in the trash too. */
  readonly revisions: ReadonlyMap<Digest, RepositoryLink>;
  /** The manifests that stay. */
  readonly manifests: DigestSet;
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
 * stay but those in the trash that nothing refers to. Where a tag or a manifest that stays cannot be read, all stay.
 */
export async function markRepository(
  { objects, pace }: Pick<JobContext, 'objects' | 'pace'>,
  name: RepositoryName,
  { untaggedSince, graceSince }: { readonly untaggedSince: number | undefined; readonly graceSince: number },
): Promise<Marks> {
  const revisions = new Map<Digest, RepositoryLink>();
  for await (const link of repositoryLinks(objects, name, 'revisions')) {
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

  const anyTrashed = [...revisions.values()].some(({ trashed }) => trashed);
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
    if (manifests.has(digest)) continue;
    const since = link.trashed ? graceSince : untaggedSince;
    if (since === undefined || (await isYoung(link, since))) keep(digest);
    await follow();
  }
  if (unreadable.length > 0 || damagedTags.length > 0) {
    for (const digest of revisions.keys()) keep(digest);
    await follow();
  }
  return { revisions, manifests, content, unreadable, damagedTags };
}

/** Damaged bytes refer to something else than the manifest did. */
function isWhole(bytes: Uint8Array, digest: Digest): boolean {
  const algorithm = algorithmOf(digest);
  return digestOf(algorithm, createHash(algorithm).update(bytes).digest('hex')) === digest;
}
