import type { Descriptor } from './descriptor.ts';
import { MEDIA_TYPE } from './descriptor.ts';
import { isDescriptorDigest } from './digest.ts';
import { JsonNumber, JsonTextError, parseJsonText } from './json-text.ts';
import type { JsonLimits, JsonObject, JsonValue } from './json-text.ts';
import { foldKey, invalid, isList, isObject, platformOf } from './manifest-fields.ts';
import type { Manifest } from './manifest.ts';

/** Go's own limit of depth, so that nothing that a Go registry could read is refused. */
const LIMITS: JsonLimits = { depth: 10_000, values: Number.MAX_SAFE_INTEGER, unambiguous: false };

const KINDS: ReadonlyMap<string, Manifest['kind']> = new Map([
  [MEDIA_TYPE.ociManifest, 'image'],
  [MEDIA_TYPE.dockerManifest, 'image'],
  [MEDIA_TYPE.ociIndex, 'index'],
  [MEDIA_TYPE.dockerManifestList, 'index'],
  [MEDIA_TYPE.dockerSchema1, 'schema1'],
  [MEDIA_TYPE.dockerSchema1Signed, 'schema1'],
]);

/**
 * Reads a manifest that is in storage already, perhaps put there by another registry and under laxer rules,
 * Docker schema 1 included. Fields that are not what they should be are left out, and so are descriptors
 * without a usable digest; keys are found in any case, as Go programs find them. Of everything that
 * `parseManifest` accepts it gives the same type and the same fields.
 * @throws RegistryError `MANIFEST_INVALID` only when no media type can be derived
 */
export function readStoredManifest(bytes: Uint8Array): Manifest {
  const document = readDocument(bytes);
  const mediaType = deriveType(document);
  const kind = KINDS.get(mediaType) ?? 'image';
  const layers = kind === 'schema1' ? schema1Layers(document) : descriptors(field(document, 'layers'));
  const config = kind === 'image' ? descriptor(field(document, 'config')) : undefined;
  const subject = descriptor(field(document, 'subject'));
  const artifactType = text(field(document, 'artifactType')) ?? text(config?.mediaType);
  const annotations = strings(field(document, 'annotations'));
  return {
    mediaType,
    kind,
    layers: kind === 'index' ? [] : layers,
    manifests: kind === 'index' ? descriptors(field(document, 'manifests')) : [],
    ...(config !== undefined && { config }),
    ...(subject !== undefined && { subject }),
    ...(artifactType !== undefined && { artifactType }),
    ...(annotations !== undefined && { annotations }),
  };
}

function readDocument(bytes: Uint8Array): JsonObject {
  try {
    const value = parseJsonText(new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes), LIMITS);
    if (isObject(value)) return value;
  } catch (error) {
    if (!(error instanceof JsonTextError)) throw error;
  }
  throw invalid('', 'the stored manifest is not a JSON object');
}

function deriveType(document: JsonObject): string {
  const stated = text(field(document, 'mediaType'));
  if (stated !== undefined && KINDS.has(stated)) return stated;
  const version = field(document, 'schemaVersion');
  if (version instanceof JsonNumber && version.text === '1') {
    return field(document, 'signatures') === undefined
      ? MEDIA_TYPE.dockerSchema1
      : MEDIA_TYPE.dockerSchema1Signed;
  }
  // The order of registry:2: an index if there is a list of manifests, else an image.
  if (stated === undefined && isList(field(document, 'manifests'))) return MEDIA_TYPE.ociIndex;
  if (stated === undefined && isObject(field(document, 'config'))) return MEDIA_TYPE.ociManifest;
  if (stated === undefined && document.has('manifests')) return MEDIA_TYPE.ociIndex;
  throw invalid('', 'no media type can be derived from the stored manifest');
}

/** The value of a key, or of the last key that differs from it only in case. */
function field(object: JsonObject, key: string): JsonValue | undefined {
  const exact = object.get(key);
  if (exact !== undefined) return exact;
  const folded = foldKey(key);
  let found: JsonValue | undefined;
  for (const [other, value] of object) {
    if (other.length === key.length && foldKey(other) === folded) found = value;
  }
  return found;
}

function descriptors(value: JsonValue | undefined): readonly Descriptor[] {
  if (!isList(value)) return [];
  return value.map((item) => descriptor(item)).filter((item) => item !== undefined);
}

function descriptor(value: JsonValue | undefined): Descriptor | undefined {
  if (!isObject(value)) return undefined;
  const digest = field(value, 'digest');
  if (typeof digest !== 'string' || !isDescriptorDigest(digest)) return undefined;
  const size = field(value, 'size');
  const artifactType = text(field(value, 'artifactType'));
  const annotations = strings(field(value, 'annotations'));
  const urls = field(value, 'urls');
  const platform = field(value, 'platform');
  return {
    mediaType: text(field(value, 'mediaType')) ?? '',
    digest,
    size: size instanceof JsonNumber && /^[0-9]{1,19}$/.test(size.text) ? Number(size.text) : 0,
    ...(artifactType !== undefined && { artifactType }),
    ...(annotations !== undefined && { annotations }),
    ...(isList(urls) && { urls: urls.filter((url) => typeof url === 'string') }),
    ...(isObject(platform) && { platform: platformOf(platform) }),
  };
}

/** Schema 1 names its layers newest first and without sizes. */
function schema1Layers(document: JsonObject): readonly Descriptor[] {
  const list = field(document, 'fsLayers');
  if (!isList(list)) return [];
  return list.flatMap((item) => {
    const digest = isObject(item) ? field(item, 'blobSum') : undefined;
    if (typeof digest !== 'string' || !isDescriptorDigest(digest)) return [];
    return [{ mediaType: 'application/vnd.docker.container.image.rootfs.diff+x-gtar', digest, size: 0 }];
  });
}

function text(value: JsonValue | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function strings(value: JsonValue | undefined): Readonly<Record<string, string>> | undefined {
  if (!isObject(value)) return undefined;
  const record: Record<string, string> = Object.create(null);
  for (const [key, item] of value) if (typeof item === 'string') record[key] = item;
  return record;
}
