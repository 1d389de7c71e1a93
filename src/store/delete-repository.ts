import type { Digest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName, Tag } from '../oci/name.ts';
import type { DeletedContent, DeleteOptions } from '../oci/registry.ts';
import { holdsAnything } from './catalog.ts';
import { deleteManifest, tagsAt } from './delete-manifest.ts';
import {
  type LinkKind,
  referrersFolder,
  repositoryMarkKey,
  revisionLinkKey,
  trashedLinkKey,
  uploadPrefix,
  uploadsPrefix,
} from './layout.ts';
import { deleteLinksUnless } from './links.ts';
import type { ManifestTools } from './linked-manifests.ts';
import { isReferenced } from './known-references.ts';
import { repositoryLinks } from './repository-links.ts';
import { deleteTagWhere, tagsOf } from './tags.ts';

/** Blobs that are unlinked at a time. */
const PAGE = 100;

/**
 * Deletes all that a repository had when it began; the repositories below it stay. Pushes may come at any moment: what they
 * are told is here is looked for again before they are acknowledged (links.ts), and what they have stored keeps what it
 * refers to, so each of them goes as a whole or stays as a whole.
 * @throws RegistryError `NAME_UNKNOWN`; what `keeps` throws for any tag, before anything goes
 */
export async function deleteRepository(
  tools: ManifestTools,
  name: RepositoryName,
  { dryRun = false, keeps }: Pick<DeleteOptions, 'dryRun' | 'keeps'>,
): Promise<DeletedContent> {
  const { objects, references } = tools;
  const tags: Tag[] = [];
  for await (const tag of tagsOf(objects, name)) tags.push(tag);
  for (const tag of tags) keeps?.(tag);
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
  const gone = { tags: 0, manifests: 0, blobs: 0, uploads: 0 };
  for (const tag of tags) gone.tags += (await deleteTagWhere(objects, name, tag, () => true)) ? 1 : 0;
  for (const id of uploads) {
    await objects.driver.delete([uploadPrefix(name, id)], { volatile: true });
    gone.uploads += 1;
  }
  // What is still to go keeps nothing; what a push has stored since, and what stays because of its tag, does.
  const pending = new Set(manifests);
  const isFree = async (digest: Digest) => {
    const by = await references.to(name, digest, pending);
    if (by !== undefined) throw isReferenced(digest, by);
  };
  for (const digest of await parentsFirst(tools, name, manifests)) {
    const went = await refusedOr(
      deleteManifest(tools, name, digest, async () => {
        if (keeps !== undefined) for (const tag of await tagsAt(tools, name, digest)) keeps(tag);
        await isFree(digest);
      }),
    );
    pending.delete(digest);
    if (went === undefined) continue;
    gone.manifests += 1;
    gone.tags += went.length;
  }
  for (let start = 0; start < blobs.length; start += PAGE) {
    const page = blobs.slice(start, start + PAGE);
    const stayed = await deleteLinksUnless(objects, name, 'layers', page, isFree);
    for (const error of stayed.values()) if (!(error instanceof RegistryError)) throw error;
    gone.blobs += page.length - stayed.size;
  }
  await forgetMark(tools, name);
  await forgetReferrers(tools, name);
  return gone;
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

/** What a refusal leaves is somebody else's; anything else is a failure. */
async function refusedOr<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof RegistryError && error.status !== 429) return undefined;
    throw error;
  }
}

/** Also those that are on their way out. */
async function digestsOf(
  { objects }: ManifestTools,
  name: RepositoryName,
  kind: LinkKind,
): Promise<readonly Digest[]> {
  const digests = new Set<Digest>();
  for await (const { digest } of repositoryLinks(objects, name, kind)) digests.add(digest);
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
async function forgetReferrers({ objects }: ManifestTools, name: RepositoryName): Promise<void> {
  const orphans: string[] = [];
  for await (const { key } of objects.driver.list(referrersFolder(name))) {
    const digest = key.slice(key.lastIndexOf('/') + 1).replace('-', ':') as Digest;
    if (await objects.exists(revisionLinkKey(name, digest))) continue;
    if (!(await objects.exists(trashedLinkKey(name, 'revisions', digest)))) orphans.push(key);
  }
  await objects.driver.delete(orphans);
}
