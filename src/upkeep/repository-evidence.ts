/** By what a storage of which the repositories are away is told from one that has repositories. */
import { isTag, type RepositoryName } from '../oci/name.ts';
import { allRepositories } from '../store/catalog.ts';
import { tagCurrentKey, tagsPrefix } from '../store/layout.ts';
import type { Objects } from '../store/objects.ts';
import { repositoryLinks } from '../store/repository-links.ts';
import { unlessUnreadable } from './unreadable.ts';

/**
 * Whether the repository has a link, also one on its way out, or a tag. Uploads and empty folders say nothing: they come by
 * themselves where a disk is not mounted.
 */
export async function holdsLinksOrTags(objects: Objects, name: RepositoryName): Promise<boolean> {
  for (const kind of ['revisions', 'layers'] as const) {
    const links = repositoryLinks(objects, name, kind, { taken: true });
    const isAny = (await links.next()).done !== true;
    await links.return(undefined);
    if (isAny) return true;
  }
  for (const tag of await objects.names(tagsPrefix(name)))
    if (isTag(tag) && (await objects.exists(tagCurrentKey(name, tag)))) return true;
  return false;
}

/** The same for all repositories; it ends at the first that has any. What cannot be read is passed over. */
export async function anyHoldsLinksOrTags(objects: Objects, signal: AbortSignal): Promise<boolean> {
  const walk = { signal, onUnreadable: () => undefined };
  let isAny = false;
  for await (const name of allRepositories(objects, walk)) {
    const look = async () => {
      isAny = await holdsLinksOrTags(objects, name);
    };
    await unlessUnreadable(look, () => undefined);
    if (isAny) return true;
  }
  return false;
}
