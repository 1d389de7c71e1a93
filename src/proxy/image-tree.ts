import { type Digest, isDigest } from '../oci/digest.ts';
import type { Repository, StoredManifest } from '../oci/registry.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { readStoredManifest } from '../oci/stored-manifest.ts';
import { found } from './found.ts';

/** What a manifest names, as far as it can be asked for. */
export interface Named {
  readonly children: readonly Descriptor[];
  readonly blobs: readonly Digest[];
}

export function namedBy({ bytes }: Pick<StoredManifest, 'bytes'>): Named {
  try {
    const { manifests, layers, config } = readStoredManifest(bytes);
    const blobs = [...(config === undefined ? [] : [config]), ...layers].map(({ digest }) => digest);
    return {
      children: manifests.filter(({ digest }) => isDigest(digest)),
      blobs: [...new Set(blobs)].filter(isDigest),
    };
  } catch {
    return { children: [], blobs: [] }; // nothing that could be read further
  }
}

/** An image and all that is kept of it. */
export interface KeptTree {
  readonly manifests: readonly StoredManifest[];
  readonly missingManifests: number;
  readonly blobs: readonly { readonly digest: Digest; readonly size: number }[];
  readonly missingBlobs: number;
}

/** Reads what is kept of an image, of an index with all its kept children. Asks no upstream. */
export async function keptTree(local: Repository, root: Digest): Promise<KeptTree> {
  const manifests = new Map<Digest, StoredManifest>();
  const blobs = new Map<Digest, { readonly digest: Digest; readonly size: number } | undefined>();
  const missing = new Set<Digest>();
  const queue = [root];
  for (let digest = queue.pop(); digest !== undefined; digest = queue.pop()) {
    if (manifests.has(digest) || missing.has(digest)) continue;
    const manifest = await found(local.manifests.get(digest));
    if (manifest === undefined) {
      missing.add(digest);
      continue;
    }
    manifests.set(digest, manifest);
    const named = namedBy(manifest);
    for (const child of named.children) if (isDigest(child.digest)) queue.push(child.digest);
    for (const blob of named.blobs)
      if (!blobs.has(blob)) blobs.set(blob, await found(local.blobs.stat(blob)));
  }
  const kept = [...blobs.values()].filter((blob) => blob !== undefined);
  return {
    manifests: [...manifests.values()],
    missingManifests: missing.size,
    blobs: kept,
    missingBlobs: blobs.size - kept.length,
  };
}
