import { createHash } from 'node:crypto';
import { algorithmOf, type Digest, hexOf } from '../oci/digest.ts';
import { contentDigest } from '../store/content-digest.ts';
import { blobKey, type LinkKind, linkKey, trashedLinkKey } from '../store/layout.ts';
import { presentLink } from '../store/links.ts';
import type { Fault } from './scrub-faults.ts';
import { type RepositoryTools, storedSize } from './scrub-tools.ts';

/** Looks at a link of a repository, and whether there is anything behind it. */
export async function lookAtLink(
  tools: RepositoryTools,
  kind: LinkKind,
  digest: Digest,
): Promise<Fault | undefined> {
  const { objects, name } = tools;
  const key = linkKey(name, kind, digest);
  if (!(await objects.exists(key))) return undefined;
  const target = await objects.link(key);
  const about = { repository: name, link: kind, digest };
  if (target === undefined) {
    const what = (await objects.exists(key)) ? 'damaged link' : undefined;
    return what && { what, about, mend: () => rewrite(tools, kind, digest) };
  }
  if (target !== digest && !(await leadsTo(tools, target, digest))) {
    return { what: 'wrong link', about: { ...about, target }, mend: () => rewrite(tools, kind, digest) };
  }
  if ((await storedSize(objects, target)) !== undefined) return undefined;
  // Where everybody who needs it at this moment, because he brings the bytes, finds it (store/links.ts).
  const begin = async () => {
    await tools.repairFrom(kind, digest);
    if ((await storedSize(objects, target)) === undefined && (await objects.link(key)) === target)
      await objects.move(key, trashedLinkKey(name, kind, digest));
  };
  const mend = async () => {
    if ((await storedSize(objects, target)) !== undefined) {
      await presentLink(objects, name, kind, digest);
      return 'fetched again';
    }
    if (await objects.exists(key)) return undefined;
    await objects.driver.delete([trashedLinkKey(name, kind, digest)]);
    return 'removed';
  };
  return { what: 'dangling link', about, begin, mend };
}

/** The path of a link says what it should hold. Without the bytes that would be a dangling one. */
async function rewrite(
  { objects, name }: RepositoryTools,
  kind: LinkKind,
  digest: Digest,
): Promise<string | undefined> {
  const key = linkKey(name, kind, digest);
  // Deleted or put right by somebody else.
  if (!(await objects.exists(key)) || (await objects.link(key)) === digest) return undefined;
  if ((await storedSize(objects, digest)) !== undefined) {
    await objects.writeLink(key, digest);
    return 'rewritten';
  }
  await objects.driver.delete([key]);
  return 'removed';
}

/**
 * Whether the bytes of `target` have the link's own digest, which is of another algorithm: `registry:2` keeps what was
 * pushed by sha512 so. Bytes that are not there are a matter of their own.
 */
async function leadsTo(tools: RepositoryTools, target: Digest, digest: Digest): Promise<boolean> {
  const { objects, hashing, pace, signal } = tools;
  const algorithm = algorithmOf(digest);
  if (algorithmOf(target) === algorithm) return false;
  const key = blobKey(target);
  const size = await objects.size(key);
  if (size === undefined) return true;
  if (size === 0) return createHash(algorithm).digest('hex') === hexOf(digest);
  const reading = { algorithm, size, pace: (bytes: number) => pace(0, bytes), signal };
  const hex = await contentDigest(objects, hashing, key, reading).catch((error: unknown) => {
    signal.throwIfAborted();
    if (tools.bytesKnown) return undefined; // told as unreadable
    throw error;
  });
  return hex === undefined || hex === hexOf(digest);
}
