import { isDigest, type Digest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import { type LinkKind, linksPrefix, trashedLinksPrefix } from './layout.ts';
import type { Objects } from './objects.ts';

/**
 * Digests of the blobs and manifests that a repository links to, some of them twice; also by links that lie in the trash
 * and may come back. It costs a look at each link.
 */
export async function* linkedContent(
  objects: Objects,
  name: RepositoryName,
): AsyncIterable<{ readonly digest: Digest; readonly kind: LinkKind }> {
  for (const kind of ['layers', 'revisions'] as const) {
    const prefix = linksPrefix(name, kind);
    for (const algorithm of await objects.names(prefix)) {
      if (algorithm.startsWith('_')) continue;
      for (const hex of await objects.names(`${prefix}${algorithm}/`)) {
        if (!isDigest(`${algorithm}:${hex}`)) continue;
        const digest = await objects.link(`${prefix}${algorithm}/${hex}/link`);
        if (digest !== undefined) yield { digest, kind };
      }
    }
    const trashed = trashedLinksPrefix(name, kind);
    for (const entry of await objects.names(trashed)) {
      const digest = await objects.link(trashed + entry);
      if (digest !== undefined) yield { digest, kind };
    }
  }
}
