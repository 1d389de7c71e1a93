import type { Descriptor } from '../oci/descriptor.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import { type ErrorEntry, RegistryError } from '../oci/errors.ts';
import { type Manifest, mayBeAbsent } from '../oci/manifest.ts';
import type { RepositoryName } from '../oci/name.ts';
import { hasBlob } from './blobs.ts';
import { isWhole, presentLink } from './links.ts';
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
 * @param options.whole whether the children must have their own blobs, too: those that are here had them when they were pushed
 * @throws RegistryError `MANIFEST_BLOB_UNKNOWN` with an entry for each missing one; `MANIFEST_INVALID` for a URL
 */
export async function checkReferences(
  objects: Objects,
  name: RepositoryName,
  manifest: Manifest,
  rules: ManifestRules,
  { whole = false }: { readonly whole?: boolean } = {},
): Promise<void> {
  if (!rules.enabled) return;
  for (const url of manifest.layers.flatMap((layer) => layer.urls ?? [])) {
    if (rules.allowUrl(url)) continue;
    throw new RegistryError('MANIFEST_INVALID', 'a layer names a URL that this registry does not allow', {
      detail: { url: url.slice(0, 256) },
    });
  }
  const missing: Missing[] = [];
  const seen = new Set<Digest>();
  const blobs = [...(manifest.config === undefined ? [] : [manifest.config]), ...manifest.layers];
  for (const blob of blobs) {
    if (mayBeAbsent(blob)) continue;
    if (!isDigest(blob.digest) || !(await hasBlob(objects, name, blob.digest)))
      missing.push({ descriptor: blob, why: UNKNOWN });
  }
  const children = new Map(manifest.manifests.map((child) => [child.digest, child]));
  for (const child of children.values()) {
    const why = rules.requireChild(child)
      ? await missingOf(objects, name, child, whole ? seen : undefined)
      : undefined;
    if (why !== undefined) missing.push({ descriptor: child, why });
  }
  if (missing.length > 0) throw missingReferences(missing);
}

/** What a manifest lacks, and what its client is told of it. */
interface Missing {
  readonly descriptor: Descriptor;
  readonly why: string;
}

const UNKNOWN = 'the manifest refers to content that is not known to this repository';
const BROKEN =
  'the index refers to a manifest that lacks a config, a layer or a child of its own in this repository';

/** @param seen what children refer to, as far as it has been looked for; nothing of that is where it is left out */
async function missingOf(
  objects: Objects,
  name: RepositoryName,
  { digest }: Descriptor,
  seen: Set<Digest> | undefined,
): Promise<string | undefined> {
  if (!isDigest(digest)) return UNKNOWN;
  const target = await presentLink(objects, name, 'revisions', digest, { mustStay: true });
  // An index may list plain blobs: containerd and buildkit keep caches in that form.
  if (target === undefined) return (await hasBlob(objects, name, digest)) ? undefined : UNKNOWN;
  if ((await presentSize(objects, target)) === undefined) return UNKNOWN;
  return seen === undefined || (await isWhole(objects, name, target, { seen, depth: 1 }))
    ? undefined
    : BROKEN;
}

function missingReferences(missing: readonly Missing[]): RegistryError {
  const named = missing
    .slice(0, MAX_NAMED)
    .map(({ descriptor: { digest, mediaType, size }, why }): ErrorEntry => ({
      code: 'MANIFEST_BLOB_UNKNOWN',
      message: why,
      detail: { digest, mediaType, size },
    }));
  const [first, ...others] = named;
  return new RegistryError('MANIFEST_BLOB_UNKNOWN', first?.message ?? '', {
    detail: first?.detail,
    also: others,
  });
}
