import type { Digest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import { isTag, type RepositoryName, type Tag } from '../oci/name.ts';
import type { DeletedContent, DeleteOptions } from '../oci/registry.ts';
import { holdsAnything } from './catalog.ts';
import { deleteManifests, enterAgain, keptByTags } from './delete-manifest.ts';
import { removeEmptyRepositoryFolders } from './empty-folders.ts';
import {
  type LinkKind,
  locksPrefix,
  referrersFolder,
  repositoryMarkKey,
  revisionLinkKey,
  tagsPrefix,
  uploadPrefix,
  uploadsPrefix,
} from './layout.ts';
import { deleteLinksUnless, returnTaken } from './delete-links.ts';
import { removeDeadLocks } from './locks.ts';
import type { Objects } from './objects.ts';
import type { ManifestTools } from './linked-manifests.ts';
import { isReferenced, keeperIn, manifestsOf, needsOf } from './known-references.ts';
import { repositoryLinks } from './repository-links.ts';
import { deleteTagRemains, deleteTagWhere, tagsOf } from './tags.ts';

/** Links that are deleted at a time at least, and how often at most it is done. */
const PAGE = 200;
const MOST_PAGES = 20;
/** How often what stayed is tried again, as what kept it is about to go. */
const MOST_ROUNDS = 50;

/**
 * Deletes all that a repository had when it began; the repositories below it stay. Pushes may come at any moment: what they
 * are told is here is looked for again before they are acknowledged (links.ts), and what they have stored keeps what it
 * refers to, so each of them goes as a whole or stays as a whole.
 * @throws RegistryError `NAME_UNKNOWN`; what `keeps` throws for any tag, before anything goes
 */
export async function deleteRepository(
  tools: ManifestTools,
  name: RepositoryName,
  { dryRun = false, keeps, going }: Pick<DeleteOptions, 'dryRun' | 'keeps' | 'going'>,
): Promise<DeletedContent> {
  const { objects } = tools;
  const tags: Tag[] = [];
  for await (const tag of tagsOf(objects, name)) tags.push(tag);
  for (const tag of tags) keeps?.(tag);
  // A deletion that was killed is finished.
  if (!dryRun) for (const kind of ['revisions', 'layers'] as const) await returnTaken(objects, name, kind);
  const manifests = await digestsOf(tools, name, 'revisions');
  const blobs = await digestsOf(tools, name, 'layers');
  const uploads = await objects.names(uploadsPrefix(name));
  if (!(await holdsAnything(objects, name)) && manifests.length + blobs.length + uploads.length === 0) {
    throw new RegistryError('NAME_UNKNOWN', 'the repository is not known to this registry', {
      detail: { name },
    });
  }
  if (dryRun) {
    return {
      tags: tags.length,
      manifests: manifests.length,
      blobs: blobs.length,
      uploads: uploads.length,
    };
  }
  going?.([...manifests, ...blobs], uploads);
  const gone = { tags: 0, manifests: 0, blobs: 0, uploads: 0 };
  for (const tag of tags) gone.tags += (await deleteTagWhere(objects, name, tag, () => true)) ? 1 : 0;
  for (const id of uploads) {
    await objects.driver.delete([uploadPrefix(name, id)], { volatile: true });
    gone.uploads += 1;
  }
  let left: Content = { manifests, blobs };
  for (let round = 1; ; round += 1) {
    const { stayed, keepers } = await deleteContent(tools, name, left, keeps, gone);
    left = stayed;
    // What kept some of it may be on its way out by another deletion, which kept them for nothing then.
    if (round === MOST_ROUNDS || !(await isAnyGone(objects, name, keepers))) break;
    await new Promise((resolve) => setTimeout(resolve, round));
  }
  for (const tag of await objects.names(tagsPrefix(name)))
    if (isTag(tag)) await deleteTagRemains(objects, name, tag);
  await removeDeadLocks(objects, locksPrefix(name));
  await forgetMark(tools, name);
  await forgetReferrers(tools, name);
  // What locks, uploads and others left. A push that comes just then keeps its own, or makes its folder anew.
  await removeEmptyRepositoryFolders(objects, name);
  return gone;
}

interface Content {
  readonly manifests: readonly Digest[];
  readonly blobs: readonly Digest[];
}

/** Deletes what nothing keeps. @returns the others, and the manifests that keep them */
async function deleteContent(
  tools: ManifestTools,
  name: RepositoryName,
  { manifests, blobs }: Content,
  keeps: DeleteOptions['keeps'],
  gone: { tags: number; manifests: number; blobs: number },
): Promise<{ readonly stayed: Content; readonly keepers: ReadonlySet<Digest> }> {
  const { objects, references } = tools;
  const manifestsStayed = await deleteAllManifests(tools, name, manifests, keeps, gone);
  const blobsStayed = new Map<Digest, unknown>();
  for (const page of pages(blobs)) {
    const stayed = await deleteLinksUnless(objects, name, 'layers', page, needsOf(references, name));
    throwFailures(stayed);
    gone.blobs += page.length - stayed.size;
    for (const [digest, error] of stayed) blobsStayed.set(digest, error);
  }
  const reasons = [...manifestsStayed.values(), ...blobsStayed.values()];
  return {
    stayed: { manifests: [...manifestsStayed.keys()], blobs: [...blobsStayed.keys()] },
    keepers: new Set(reasons.map(keeperIn).filter((keeper) => keeper !== undefined)),
  };
}

/** Whether one of some manifests has no live link any more. */
async function isAnyGone(
  objects: Objects,
  name: RepositoryName,
  manifests: ReadonlySet<Digest>,
): Promise<boolean> {
  for (const digest of manifests) if (!(await objects.exists(revisionLinkKey(name, digest)))) return true;
  return false;
}

/** @returns why some stayed */
async function deleteAllManifests(
  tools: ManifestTools,
  name: RepositoryName,
  manifests: readonly Digest[],
  keeps: DeleteOptions['keeps'],
  gone: { tags: number; manifests: number },
): Promise<ReadonlyMap<Digest, unknown>> {
  // What is still to go keeps nothing; what a push has stored since, and what stays because of its tag, does.
  const pending = new Set(manifests);
  const all = new Map<Digest, unknown>();
  for (const page of pages(await parentsFirst(tools, name, manifests))) {
    const {
      manifests: went,
      tags,
      stayed,
    } = await deleteManifests(tools, name, page, async (digests) => {
      // Those of the page that are not asked about any more have gone: where one is here, it was pushed anew.
      for (const digest of page) pending.delete(digest);
      for (const digest of digests) pending.add(digest);
      return whichStay(tools, name, digests, { pending, keeps });
    });
    for (const digest of page) pending.delete(digest);
    throwFailures(stayed);
    for (const [digest, error] of stayed) all.set(digest, error);
    gone.manifests += went;
    gone.tags += tags.length;
  }
  return all;
}

/** Those of some manifests, parents first, that must stay, with what of them those refer to. */
async function whichStay(
  tools: ManifestTools,
  name: RepositoryName,
  digests: readonly Digest[],
  { pending, keeps }: { readonly pending: ReadonlySet<Digest>; readonly keeps: DeleteOptions['keeps'] },
): Promise<ReadonlyMap<Digest, unknown>> {
  const { references } = tools;
  const stay =
    keeps === undefined ? new Map<Digest, unknown>() : await keptByTags(tools, name, digests, keeps);
  for (const [digest, by] of await references.to(name, digests, pending)) {
    if (!stay.has(digest)) stay.set(digest, isReferenced(digest, by));
  }
  if (stay.size === 0) return stay;
  const asked = new Set(digests);
  for (const parent of digests) {
    if (!stay.has(parent)) continue;
    for (const child of await references.of(name, parent)) {
      if (asked.has(child) && !stay.has(child)) stay.set(child, isReferenced(child, parent));
    }
  }
  return stay;
}

/** A fixed part of all at a time: then looking at what there is, which each page does a few times, costs as much again. */
function* pages(digests: readonly Digest[]): Generator<readonly Digest[]> {
  const size = Math.max(PAGE, Math.ceil(digests.length / MOST_PAGES));
  for (let start = 0; start < digests.length; start += size) yield digests.slice(start, start + size);
}

/** What a refusal leaves is somebody else's; anything else is a failure. */
function throwFailures(stayed: ReadonlyMap<Digest, unknown>): void {
  for (const error of stayed.values()) {
    if (!(error instanceof RegistryError) || error.status === 429) throw error;
  }
}

/** The manifests so that an index comes before its children: one that stays then keeps them. */
async function parentsFirst(
  { references }: ManifestTools,
  name: RepositoryName,
  manifests: readonly Digest[],
): Promise<readonly Digest[]> {
  const all = new Set(manifests);
  const seen = new Set<Digest>();
  const childrenFirst: Digest[] = [];
  for (const root of manifests) {
    // Without recursion: somebody may have pushed a very long chain.
    const open: { readonly digest: Digest; readonly children: Digest[] }[] = [];
    const enter = async (digest: Digest) => {
      if (seen.has(digest)) return;
      seen.add(digest);
      open.push({
        digest,
        children: (await references.of(name, digest)).filter((child) => all.has(child)),
      });
    };
    await enter(root);
    for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
      const child = top.children.pop();
      if (child !== undefined) await enter(child);
      else {
        childrenFirst.push(top.digest);
        open.pop();
      }
    }
  }
  return childrenFirst.toReversed();
}

/** Also those that are on their way out, and those that a deletion had taken that died. */
async function digestsOf(
  { objects }: ManifestTools,
  name: RepositoryName,
  kind: LinkKind,
): Promise<readonly Digest[]> {
  const digests = new Set<Digest>();
  for await (const { digest, taken } of repositoryLinks(objects, name, kind, { taken: true }))
    if (taken !== 'alive') digests.add(digest);
  return [...digests];
}

/** Without its mark `registry:2` does not list a repository that has manifests and no layers. */
async function forgetMark(tools: ManifestTools, name: RepositoryName): Promise<void> {
  const { objects } = tools;
  const isEmpty = async () => (await digestsOf(tools, name, 'revisions')).length === 0;
  if (!(await objects.exists(repositoryMarkKey(name))) || !(await isEmpty())) return;
  await objects.driver.delete([repositoryMarkKey(name)]);
  if (!(await isEmpty())) await objects.driver.write(repositoryMarkKey(name), new Uint8Array());
}

/** Entries of referrers that could not be read when they were deleted. */
async function forgetReferrers(tools: ManifestTools, name: RepositoryName): Promise<void> {
  const { objects } = tools;
  const orphans = new Map<Digest, string>();
  for await (const { key } of objects.driver.list(referrersFolder(name)))
    orphans.set(key.slice(key.lastIndexOf('/') + 1).replace('-', ':') as Digest, key);
  for (const digest of await manifestsOf(objects, name)) orphans.delete(digest);
  await objects.driver.delete([...orphans.values()]);
  // Pushed meanwhile.
  for (const digest of orphans.keys())
    if (await objects.exists(revisionLinkKey(name, digest))) await enterAgain(tools, name, digest);
}
