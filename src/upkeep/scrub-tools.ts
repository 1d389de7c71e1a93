/** What the parts of a scrub share. None of these looks changes anything, not even what lies in a trash. */
import type { Digest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { Hashing } from '../store/hashing.ts';
import { blobKey, type LinkKind, linkKey, trashedLinkKey, trashKey } from '../store/layout.ts';
import type { ManifestRules } from '../store/manifest-rules.ts';
import type { Objects } from '../store/objects.ts';
import type { JobContext } from './job.ts';
import type { Faults } from './scrub-faults.ts';

export interface ScrubTools extends Pick<JobContext, 'objects' | 'signal' | 'pace'> {
  readonly faults: Faults;
  readonly hashing: Hashing;
}

export interface RepositoryTools extends ScrubTools {
  readonly name: RepositoryName;
  /** Whether it is a copy of another registry's, of which the rest comes when it is asked for. */
  readonly onDemand: boolean;
  readonly rules: Pick<ManifestRules, 'enabled' | 'requireChild'>;
  /** Whether all blobs were read in this round already. */
  readonly bytesKnown: boolean;
  /** Fetches content anew from where the repository is a copy of. @returns whether it is there now */
  readonly repairFrom: (kind: LinkKind, digest: Digest) => Promise<boolean>;
}

/** How many bytes there are of a digest, also where they are on their way out; undefined when there are none. */
export async function storedSize(objects: Objects, digest: Digest): Promise<number | undefined> {
  // Looked at twice, as they may be moved between the two looks.
  return (
    (await objects.size(blobKey(digest))) ??
    (await objects.size(trashKey(digest))) ??
    (await objects.size(blobKey(digest)))
  );
}

/** The digest that a link names, also one that is on its way out; undefined where there is none, or a damaged one. */
export async function linkTarget(
  { objects, name }: Pick<RepositoryTools, 'objects' | 'name'>,
  kind: LinkKind,
  digest: Digest,
): Promise<Digest | undefined> {
  const key = linkKey(name, kind, digest);
  return (
    (await objects.link(key)) ??
    (await objects.link(trashedLinkKey(name, kind, digest))) ??
    (await objects.link(key))
  );
}

/** Whether the repository has the manifest: linked, and its bytes are there. */
export async function hasManifest(
  tools: Pick<RepositoryTools, 'objects' | 'name'>,
  digest: Digest,
): Promise<boolean> {
  const target = await linkTarget(tools, 'revisions', digest);
  return target !== undefined && (await storedSize(tools.objects, target)) !== undefined;
}
