/** What a repository links to, as a whole: for who collects, counts and checks. */
import { algorithmOf, type Digest, digestOf, isDigest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import { type LinkKind, linkKey, linksPrefix, trashedLinkKey, trashedLinksPrefix } from './layout.ts';
import type { Objects } from './objects.ts';

/** A link by the digest of its path. */
export interface RepositoryLink {
  readonly digest: Digest;
  readonly key: string;
  /** Whether it lies in the trash (links.ts). */
  readonly trashed: boolean;
}

/** All links of a kind, first the live ones. Only what is an object: folders that a crash left empty are none. */
export async function* repositoryLinks(
  objects: Objects,
  name: RepositoryName,
  kind: LinkKind,
): AsyncGenerator<RepositoryLink, undefined> {
  const prefix = linksPrefix(name, kind);
  for (const algorithm of await objects.names(prefix)) {
    if (algorithm !== 'sha256' && algorithm !== 'sha512') continue;
    for (const hex of await objects.names(`${prefix}${algorithm}/`)) {
      const digest = digestOf(algorithm, hex);
      if (!isDigest(digest)) continue;
      const key = linkKey(name, kind, digest);
      if (await objects.exists(key)) yield { digest, key, trashed: false };
    }
  }
  for (const entry of await objects.names(trashedLinksPrefix(name, kind))) {
    const digest = entry.replace('-', ':');
    if (isDigest(digest)) yield { digest, key: trashedLinkKey(name, kind, digest), trashed: true };
  }
  return undefined;
}

/** The digest of the bytes that a link stands for: one of sha512 may name another than its path (layout.ts). */
export async function targetOf(objects: Objects, { digest, key }: RepositoryLink): Promise<Digest> {
  if (algorithmOf(digest) === 'sha256') return digest;
  return (await objects.link(key)) ?? digest;
}
