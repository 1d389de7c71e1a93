import type { Digest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { LinkKind } from './layout.ts';
import type { Objects } from './objects.ts';
import { liveLinks, trashedLinks } from './repository-links.ts';

/**
 * Digests of the blobs and manifests that a repository links to, some of them twice; also by links that lie in the trash
 * and may come back. It costs a look at each link. What is linked all the time is found, also where it comes back from the
 * trash meanwhile: nothing goes there twice in so short a time.
 */
export async function* linkedContent(
  objects: Objects,
  name: RepositoryName,
): AsyncIterable<{ readonly digest: Digest; readonly kind: LinkKind }> {
  for (const kind of ['layers', 'revisions'] as const) {
    const found = new Set<string>();
    for await (const { key } of liveLinks(objects, name, kind, true)) {
      const digest = await objects.link(key);
      if (digest === undefined) continue;
      found.add(key);
      yield { digest, kind };
    }
    for await (const { key, taken } of trashedLinks(objects, name, kind, true)) {
      // What a deletion had taken that died goes with the next one, or with the next collection.
      if (taken === 'dead') continue;
      const digest = await objects.link(key);
      if (digest !== undefined) yield { digest, kind };
    }
    for await (const { key } of liveLinks(objects, name, kind, true)) {
      const digest = found.has(key) ? undefined : await objects.link(key);
      if (digest !== undefined) yield { digest, kind };
    }
  }
}
