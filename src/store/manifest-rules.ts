import type { Descriptor } from '../oci/descriptor.ts';
import { isDigest } from '../oci/digest.ts';
import { type ErrorEntry, RegistryError } from '../oci/errors.ts';
import { type Manifest, mayBeAbsent } from '../oci/manifest.ts';
import type { RepositoryName } from '../oci/name.ts';
import { hasBlob } from './blobs.ts';
import { presentLink } from './links.ts';
import type { Objects } from './objects.ts';
import { presentSize } from './trash.ts';

/** Missing references named in one answer; further ones are left out. */
const MAX_NAMED = 100;

/** What a pushed manifest must fulfil beyond its form (`registry:2`'s `validation`). */
export interface ManifestRules {
  /** Whether references are checked at all. */
  readonly enabled: boolean;
  /** Whether a child of an index must be in the repository. */
  readonly requireChild: (child: Descriptor) => boolean;
  /** Whether a layer may name this URL. */
  readonly allowUrl: (url: string) => boolean;
}

/**
 * Checks that what a manifest refers to is in the repository: config and layers, except those that may be
 * elsewhere by their type, and an index's children. A subject may be missing (the specification's MUST).
 * @throws RegistryError `MANIFEST_BLOB_UNKNOWN` with an entry for each missing one; `MANIFEST_INVALID` for a URL
 */
export async function checkReferences(
  objects: Objects,
  name: RepositoryName,
  manifest: Manifest,
  rules: ManifestRules,
): Promise<void> {
  if (!rules.enabled) return;
  for (const url of manifest.layers.flatMap((layer) => layer.urls ?? [])) {
    if (rules.allowUrl(url)) continue;
    throw new RegistryError('MANIFEST_INVALID', 'a layer names a URL that this registry does not allow', {
      detail: { url: url.slice(0, 256) },
    });
  }
  const missing: Descriptor[] = [];
  const blobs = [...(manifest.config === undefined ? [] : [manifest.config]), ...manifest.layers];
  for (const blob of blobs) {
    if (mayBeAbsent(blob)) continue;
    if (!isDigest(blob.digest) || !(await hasBlob(objects, name, blob.digest))) missing.push(blob);
  }
  for (const child of manifest.manifests) {
    if (rules.requireChild(child) && !(await hasManifest(objects, name, child))) missing.push(child);
  }
  if (missing.length > 0) throw missingReferences(missing);
}

async function hasManifest(objects: Objects, name: RepositoryName, { digest }: Descriptor): Promise<boolean> {
  if (!isDigest(digest)) return false;
  const target = await presentLink(objects, name, 'revisions', digest, { mustStay: true });
  // An index may list plain blobs: containerd and buildkit keep caches in that form.
  return target === undefined
    ? hasBlob(objects, name, digest)
    : (await presentSize(objects, target)) !== undefined;
}

function missingReferences(missing: readonly Descriptor[]): RegistryError {
  const [first, ...others] = missing.slice(0, MAX_NAMED).map(({ digest, mediaType, size }): ErrorEntry => ({
    code: 'MANIFEST_BLOB_UNKNOWN',
    message: 'the manifest refers to content that is not known to this repository',
    detail: { digest, mediaType, size },
  }));
  return new RegistryError('MANIFEST_BLOB_UNKNOWN', first?.message ?? '', {
    detail: first?.detail,
    also: others,
  });
}
