import type { Digest } from '../oci/digest.ts';
import type { Tag } from '../oci/name.ts';
import { isDigest } from '../oci/digest.ts';
import { tagCurrentKey, tagLockKey, tagPrefix } from '../store/layout.ts';
import { withLocks } from '../store/locks.ts';
import { deleteTagWhere } from '../store/tags.ts';
import type { Fault } from './scrub-faults.ts';
import { hasManifest, type RepositoryTools } from './scrub-tools.ts';

/** Looks at a tag, and whether the manifest that it points at is there. */
export async function lookAtTag(tools: RepositoryTools, tag: Tag): Promise<Fault | undefined> {
  const { objects, name } = tools;
  const key = tagCurrentKey(name, tag);
  if (!(await objects.exists(key))) return undefined;
  const digest = await objects.link(key);
  if (digest === undefined) {
    if (!(await objects.exists(key))) return undefined;
    return { what: 'damaged tag', about: { repository: name, tag }, mend: () => rewriteTag(tools, tag) };
  }
  if (await hasManifest(tools, digest)) return undefined;
  const mend = async () => {
    if (await tools.repairFrom('revisions', digest)) return 'fetched again';
    const isToGo = async (now: Digest) => now === digest && !(await hasManifest(tools, digest));
    return (await deleteTagWhere(objects, name, tag, isToGo)) ? 'removed' : undefined;
  };
  return { what: 'dangling tag', about: { repository: name, tag, digest }, mend };
}

/** By its history, where that leaves no doubt. A push of the tag puts it right in any case. */
function rewriteTag(tools: RepositoryTools, tag: Tag): Promise<string | undefined> {
  const { objects, name } = tools;
  const key = tagCurrentKey(name, tag);
  return withLocks(objects, [tagLockKey(name, tag)], async () => {
    if (!(await objects.exists(key)) || (await objects.link(key)) !== undefined) return undefined;
    const digests: Digest[] = [];
    for await (const entry of objects.driver.list(`${tagPrefix(name, tag)}index/`)) {
      const [, algorithm, hex] = /([^/]+)\/([^/]+)\/link$/.exec(entry.key) ?? [];
      const digest = `${algorithm}:${hex}`;
      if (isDigest(digest) && (await hasManifest(tools, digest))) digests.push(digest);
    }
    const [only] = digests;
    if (only === undefined || digests.length > 1) return undefined;
    await objects.writeLink(key, only);
    return 'rewritten';
  });
}
