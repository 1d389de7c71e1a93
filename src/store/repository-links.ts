/** What a repository links to, as a whole: for who collects, counts and checks. */
import { algorithmOf, type Digest, digestOf, isDigest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import {
  type LinkKind,
  linkKey,
  linksPrefix,
  takenLinkKey,
  trashedLinkKey,
  trashedLinksPrefix,
} from './layout.ts';
import type { Objects } from './objects.ts';
import { isAlive } from './owner.ts';

/** A link by the digest of its path. */
export interface RepositoryLink {
  readonly digest: Digest;
  readonly key: string;
  /** Whether it lies in the trash (links.ts). */
  readonly trashed: boolean;
  /** Set where a deletion has taken it from there for itself (delete-links.ts): whether that is still at it. */
  readonly taken?: 'alive' | 'dead';
}

export interface LinkOptions {
  /** Saves the look at each link: some may be folders that a crash, or a deletion by `registry:2`, has left empty. */
  readonly unchecked?: boolean;
  /** Also those that deletions have taken for themselves; `as dead` where nobody else can be at work. */
  readonly taken?: boolean | 'as dead';
}

/** All links of a kind, first the live ones. Only what is an object, unless `unchecked`. */
export async function* repositoryLinks(
  objects: Objects,
  name: RepositoryName,
  kind: LinkKind,
  { unchecked = false, taken = false }: LinkOptions = {},
): AsyncGenerator<RepositoryLink, undefined> {
  yield* liveLinks(objects, name, kind, unchecked);
  yield* trashedLinks(objects, name, kind, taken);
  return undefined;
}

/** Those that are in their place. Only what is an object, unless `unchecked`. */
export async function* liveLinks(
  objects: Objects,
  name: RepositoryName,
  kind: LinkKind,
  unchecked: boolean,
): AsyncGenerator<RepositoryLink, undefined> {
  const prefix = linksPrefix(name, kind);
  for (const algorithm of await objects.names(prefix)) {
    if (algorithm !== 'sha256' && algorithm !== 'sha512') continue;
    for (const hex of await objects.names(`${prefix}${algorithm}/`)) {
      const digest = digestOf(algorithm, hex);
      if (!isDigest(digest)) continue;
      const key = linkKey(name, kind, digest);
      if (unchecked || (await objects.exists(key))) yield { digest, key, trashed: false };
    }
  }
  return undefined;
}

/** Those that lie in the trash. */
export async function* trashedLinks(
  objects: Objects,
  name: RepositoryName,
  kind: LinkKind,
  taken: LinkOptions['taken'] = false,
): AsyncGenerator<RepositoryLink, undefined> {
  for (const entry of await objects.names(trashedLinksPrefix(name, kind))) {
    const [digest = '', owner] = entry.replace('-', ':').split('~');
    if (!isDigest(digest)) continue;
    if (owner === undefined) yield { digest, key: trashedLinkKey(name, kind, digest), trashed: true };
    else if (taken !== false) {
      const key = takenLinkKey(name, kind, digest, owner);
      const modified = (await objects.info(key))?.modified;
      if (modified === undefined) continue;
      const isDead = taken === 'as dead' || !isAlive(owner, modified);
      yield { digest, key, trashed: true, taken: isDead ? 'dead' : 'alive' };
    }
  }
  return undefined;
}

/** The digest of the bytes that a link stands for: one of sha512 may name another than its path (layout.ts). */
export async function targetOf(objects: Objects, { digest, key }: RepositoryLink): Promise<Digest> {
  if (algorithmOf(digest) === 'sha256') return digest;
  return (await objects.link(key)) ?? digest;
}
