import { type Digest, isDigest } from '../oci/digest.ts';
import { readStoredManifest } from '../oci/stored-manifest.ts';
import { blobKey, referrerKey, repositoryPrefix } from '../store/layout.ts';
import { subjectOf } from '../store/linked-manifests.ts';
import { parseDescriptor, referrerChange } from '../store/referrers.ts';
import type { Fault } from './scrub-faults.ts';
import { hasManifest, type RepositoryTools } from './scrub-tools.ts';

/** A line of the index of referrers. */
export interface ReferrerEntry {
  readonly subject: Digest;
  readonly digest: Digest;
}

/** All lines of a repository's index. What is none is told. */
export async function* referrerEntries({
  objects,
  faults,
  name,
}: RepositoryTools): AsyncIterable<ReferrerEntry> {
  const prefix = `${repositoryPrefix(name)}_referrers/`;
  for (const algorithm of await objects.names(prefix)) {
    for (const hex of await objects.names(`${prefix}${algorithm}/`)) {
      const subject = `${algorithm}:${hex}`;
      for (const entry of await objects.names(`${prefix}${algorithm}/${hex}/`)) {
        const digest = entry.replace('-', ':');
        if (isDigest(subject) && isDigest(digest)) yield { subject, digest };
        else faults.stray(`${prefix}${algorithm}/${hex}/${entry}`);
      }
    }
  }
}

/** Looks whether a line is whole, and whether the manifest that it is about is there. */
export async function lookAtReferrer(
  tools: RepositoryTools,
  { subject, digest }: ReferrerEntry,
): Promise<Fault | undefined> {
  const { objects, name } = tools;
  const key = referrerKey(name, subject, digest);
  const bytes = await objects.bytes(key);
  if (bytes === undefined) return undefined;
  const about = { repository: name, digest, subject };
  const descriptor = parseDescriptor(bytes);
  const there = await hasManifest(tools, digest);
  if (there && descriptor?.digest === digest) return undefined;
  const mend = async () => {
    await objects.driver.delete([key]);
    // Whoever pushes it anew at this moment keeps its line.
    const rewritten = await rewrite(tools, subject, digest);
    return rewritten ? 'rewritten' : 'removed';
  };
  return { what: there ? 'damaged referrer' : 'orphan referrer', about, mend };
}

async function rewrite(tools: RepositoryTools, subject: Digest, digest: Digest): Promise<boolean> {
  const { objects, name } = tools;
  const bytes = (await hasManifest(tools, digest)) ? await objects.bytes(blobKey(digest)) : undefined;
  if (bytes === undefined) return false;
  try {
    const manifest = readStoredManifest(bytes);
    if (subjectOf(manifest) !== subject) return false;
    const change = await referrerChange(objects, name, subject, {
      digest,
      manifest,
      size: bytes.byteLength,
    });
    if (change !== undefined) await objects.commit([change]);
    return true;
  } catch {
    return false; // told as a broken manifest
  }
}
