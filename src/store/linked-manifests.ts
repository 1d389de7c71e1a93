import { createHash } from 'node:crypto';
import { algorithmOf, type Digest, hexOf, isDigest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import { type Manifest } from '../oci/manifest.ts';
import { readStoredManifest } from '../oci/stored-manifest.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { StoredManifest } from '../oci/registry.ts';
import { blobKey } from './layout.ts';
import { type LinkTouches, presentLink } from './links.ts';
import type { ManifestCache } from './manifest-cache.ts';
import type { ManifestRules } from './manifest-rules.ts';
import type { Objects } from './objects.ts';
import type { KnownReferences } from './known-references.ts';
import { presentSize } from './trash.ts';

/** What the manifests of all repositories of one process share. */
export interface ManifestTools {
  readonly objects: Objects;
  readonly cache: ManifestCache;
  readonly rules: ManifestRules;
  readonly touches: LinkTouches;
  readonly references: KnownReferences;
}

/** A manifest that the repository links to; undefined when it does not, or the bytes are gone or damaged. */
export async function readLinkedManifest(
  { objects, cache }: Pick<ManifestTools, 'objects' | 'cache'>,
  name: RepositoryName,
  digest: Digest,
): Promise<StoredManifest | undefined> {
  const target = await presentLink(objects, name, 'revisions', digest);
  if (target === undefined) return undefined;
  const cached = cache.get(target);
  if (cached !== undefined) return cached;
  if ((await presentSize(objects, target)) === undefined) return undefined;
  const bytes = await objects.bytes(blobKey(target));
  // What is damaged must not be kept in memory beyond its repair; looking costs some 5 µs once.
  if (bytes === undefined || !isRight(target, bytes)) return undefined;
  const { mediaType } = readStoredManifest(bytes);
  const manifest = { digest: target, size: bytes.byteLength, mediaType, bytes };
  cache.set(manifest);
  return manifest;
}

function isRight(digest: Digest, bytes: Uint8Array): boolean {
  return createHash(algorithmOf(digest)).update(bytes).digest('hex') === hexOf(digest);
}

/** The manifest's subject, where it is a digest that content can be stored and asked for by. */
export function subjectOf({ subject }: Manifest): Digest | undefined {
  return subject !== undefined && isDigest(subject.digest) ? subject.digest : undefined;
}

/** The answer for a manifest or tag that the repository does not have. */
export function unknownManifest(reference: string): RegistryError {
  return new RegistryError('MANIFEST_UNKNOWN', 'the manifest is not known to this repository', {
    detail: { reference: reference.slice(0, 256) },
  });
}
