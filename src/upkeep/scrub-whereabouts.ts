/** Who has to do with what is damaged: for the operator, who knows images and no digests. Looked for only when it is told. */
import { type Digest, isDigest } from '../oci/digest.ts';
import type { Manifest } from '../oci/manifest.ts';
import type { RepositoryName, Tag } from '../oci/name.ts';
import { allRepositories } from '../store/catalog.ts';
import { resolveTag, tagsOf } from '../store/tags.ts';
import { linkTarget, type RepositoryTools, type ScrubTools } from './scrub-tools.ts';

/** Repositories that are named, and looked into, for one digest; two links each. */
const MOST_NAMED = 100;
const MOST_LOOKED_INTO = 10_000;
/** Tags, and indexes on the way, that are looked at for one manifest. */
const MOST_TAGS = 1_000;
const MOST_INDEXES = 1_000;

/** Who links to a digest. */
export interface Linking {
  /** Of those that do, the first ones. */
  readonly repositories: readonly RepositoryName[];
  /** How many more do. */
  readonly more: number;
  /** Whether all repositories were looked into: there may be others else. */
  readonly areAll: boolean;
}

/** The repositories that link to the digest, of as many as it is worth to look into. */
export async function linkingRepositories(
  { objects, pace, signal }: Pick<ScrubTools, 'objects' | 'pace' | 'signal'>,
  digest: Digest,
): Promise<Linking> {
  const repositories: RepositoryName[] = [];
  let more = 0;
  let looked = 0;
  for await (const name of allRepositories(objects, { signal, onUnreadable: () => undefined })) {
    looked += 1;
    if (looked > MOST_LOOKED_INTO) return { repositories, more, areAll: false };
    await pace(1);
    const targets = [
      await linkTarget({ objects, name }, 'layers', digest),
      await linkTarget({ objects, name }, 'revisions', digest),
    ];
    if (!targets.includes(digest)) continue;
    if (repositories.length < MOST_NAMED) repositories.push(name);
    else more += 1;
  }
  return { repositories, more, areAll: true };
}

/** A tag that points at the manifest, or at an index that leads to it; undefined where none was found. */
export async function tagOfManifest(
  { objects, name, pace, signal }: Pick<RepositoryTools, 'objects' | 'name' | 'pace' | 'signal'>,
  manifest: Digest,
  read: (digest: Digest) => Promise<Pick<Manifest, 'manifests'> | undefined>,
): Promise<Tag | undefined> {
  const seen = new Set<string>();
  const leads = async (digest: Digest): Promise<boolean> => {
    if (digest === manifest) return true;
    if (seen.has(digest) || seen.size >= MOST_INDEXES) return false;
    seen.add(digest);
    await pace(1);
    for (const { digest: child } of (await read(digest))?.manifests ?? []) {
      if (isDigest(child) && (await leads(child))) return true;
    }
    return false;
  };
  let looked = 0;
  for await (const tag of tagsOf(objects, name)) {
    signal.throwIfAborted();
    looked += 1;
    if (looked > MOST_TAGS) return undefined;
    const target = await resolveTag(objects, name, tag);
    if (target !== undefined && (await leads(target))) return tag;
  }
  return undefined;
}
