import { RegistryError } from '../oci/errors.ts';
import type { Tag } from '../oci/name.ts';
import type { DeletedTags, DeleteOptions, PageRequest, Tags } from '../oci/registry.ts';

/** Deletes those of a page of tags that match, each for itself: one that must stay does not keep the others. */
export async function deleteMatchingTags(
  tags: Tags,
  match: (tag: Tag) => boolean,
  page: PageRequest,
  options: Pick<DeleteOptions, 'dryRun' | 'keeps'> = {},
): Promise<DeletedTags> {
  const { items, more } = await tags.list(page);
  const done: DeletedTags['tags'][number][] = [];
  for (const tag of items) {
    page.signal?.throwIfAborted();
    if (!match(tag)) continue;
    try {
      done.push({ tag, digest: await tags.delete(tag, options) });
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error;
      // Somebody else was faster.
      if (error.code === 'MANIFEST_UNKNOWN') continue;
      const digest = await tags.resolve(tag).catch(() => undefined);
      if (digest !== undefined) done.push({ tag, digest, kept: error.message });
    }
  }
  const last = items.at(-1);
  return { tags: done, ...(more && last !== undefined ? { next: last } : {}) };
}
