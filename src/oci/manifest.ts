import type { Descriptor } from './descriptor.ts';
import { MEDIA_TYPE } from './descriptor.ts';
import { RegistryError } from './errors.ts';
import { JsonNumber, JsonTextError, parseJsonText } from './json-text.ts';
import type { JsonLimits, JsonObject, JsonValue } from './json-text.ts';
import { checkManifestKeys, invalid, isList, isObject } from './manifest-fields.ts';
import { readAnnotations, readDescriptor, readString } from './manifest-fields.ts';

/** What the registry needs to know of a manifest. The bytes themselves are kept and served as they came. */
export interface Manifest {
  /** Derived from the bytes alone, so it is the same whenever and by whomever they are read. */
  readonly mediaType: string;
  readonly kind: 'image' | 'index' | 'schema1';
  /** Present for every image that was pushed to this registry. */
  readonly config?: Descriptor;
  readonly layers: readonly Descriptor[];
  /** The children of an index. */
  readonly manifests: readonly Descriptor[];
  readonly subject?: Descriptor;
  /** As the referrers API shows it: the manifest's own, else an image's `config.mediaType`, else absent. */
  readonly artifactType?: string;
  /** Without a prototype: every key is an own key. */
  readonly annotations?: Readonly<Record<string, string>>;
}

/** The largest manifest that is taken, in bytes: the peers' limit, and the least that the specification asks for. */
export const MAX_MANIFEST_BYTES = 4_194_304;

/** Most descriptors of one manifest, so that checking their existence stays affordable. */
const MAX_DESCRIPTORS = 10_000;

/** 10 000 descriptors of the usual four to ten values fit; the worst text within the limits takes about 0.1 s. */
const LIMITS: JsonLimits = { depth: 64, values: 150_000, unambiguous: true };

const KINDS: ReadonlyMap<string, 'image' | 'index'> = new Map([
  [MEDIA_TYPE.ociManifest, 'image'],
  [MEDIA_TYPE.dockerManifest, 'image'],
  [MEDIA_TYPE.ociIndex, 'index'],
  [MEDIA_TYPE.dockerManifestList, 'index'],
]);

const ARTIFACT_MANIFEST = 'application/vnd.oci.artifact.manifest.v1+json';

/** Types of layers that are fetched from their `urls` and that nobody may pass on. */
const FOREIGN = new Set([
  'application/vnd.docker.image.rootfs.foreign.diff.tar',
  'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
  'application/vnd.oci.image.layer.nondistributable.v1.tar',
  'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
  'application/vnd.oci.image.layer.nondistributable.v1.tar+zstd',
]);

/**
 * Reads a manifest that a client sends, and refuses every document that another program could read as
 * something else than we do (CVE-2021-41190 and its kin).
 *
 * `contentType` is the client's, without parameters; when there is none, the document tells its type itself.
 * Fields and types that we do not know are accepted. An optional field that is null counts as absent, as
 * it does for the Go programs that write it so.
 * @throws RegistryError `MANIFEST_INVALID`; the message and `detail.field` tell which field is wrong.
 *   Its status is 413 when there are more than `MAX_MANIFEST_BYTES`
 */
export function parseManifest(bytes: Uint8Array, contentType: string | undefined): Manifest {
  const document = readDocument(bytes);
  checkManifestKeys(document);
  const mediaType = decideType(document, contentType?.trim().toLowerCase());
  const kind = KINDS.get(mediaType) ?? 'image';
  for (const foreign of kind === 'image' ? ['manifests'] : ['config', 'layers']) {
    if (document.has(foreign)) throw invalid(foreign, `must not be in an ${kind}`, { mediaType });
  }
  const layers = kind === 'image' ? readDescriptors(document, 'layers') : [];
  const manifests = kind === 'index' ? readDescriptors(document, 'manifests') : [];
  const config = kind === 'image' ? readDescriptor(document.get('config'), 'config') : undefined;
  const subjectValue = document.get('subject') ?? null;
  const subject = subjectValue === null ? undefined : readDescriptor(subjectValue, 'subject');
  const artifactType = readString(document.get('artifactType'), 'artifactType') ?? config?.mediaType;
  const annotations = readAnnotations(document.get('annotations'), 'annotations');
  return {
    mediaType,
    kind,
    layers,
    manifests,
    ...(config !== undefined && { config }),
    ...(subject !== undefined && { subject }),
    ...(artifactType !== undefined && { artifactType }),
    ...(annotations !== undefined && { annotations }),
  };
}

/**
 * Whether the content of a layer may be missing from the registry: a foreign (non-distributable) layer that
 * names places to get it from. The registry itself never fetches those.
 */
export function mayBeAbsent(layer: Descriptor): boolean {
  return FOREIGN.has(layer.mediaType) && (layer.urls?.length ?? 0) > 0;
}

function readDocument(bytes: Uint8Array): JsonObject {
  if (bytes.length > MAX_MANIFEST_BYTES) {
    throw new RegistryError('MANIFEST_INVALID', 'the manifest is too large', {
      status: 413,
      detail: { size: bytes.length, limit: MAX_MANIFEST_BYTES },
    });
  }
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
    throw invalid('', 'the manifest begins with a byte order mark');
  }
  const value = parseText(decode(bytes));
  if (!isObject(value)) throw invalid('', 'the manifest is not a JSON object');
  return value;
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) throw invalid('', 'the manifest is not valid UTF-8');
    throw error;
  }
}

function parseText(text: string): JsonValue {
  try {
    return parseJsonText(text, LIMITS);
  } catch (error) {
    if (!(error instanceof JsonTextError)) throw error;
    throw invalid('', `the manifest is not acceptable JSON: ${error.message}`, { position: error.position });
  }
}

function decideType(document: JsonObject, contentType: string | undefined): string {
  const version = document.get('schemaVersion');
  const stated = readString(document.get('mediaType'), 'mediaType');
  const claimed = contentType === '' ? undefined : contentType;
  for (const type of [claimed, stated]) {
    if (type === MEDIA_TYPE.dockerSchema1 || type === MEDIA_TYPE.dockerSchema1Signed) throw schema1Refused();
    if (type === ARTIFACT_MANIFEST) {
      throw invalid('mediaType', 'is the withdrawn OCI artifact manifest: push an image manifest instead');
    }
  }
  if (!(version instanceof JsonNumber) || version.text !== '2') {
    if (version instanceof JsonNumber && version.text === '1') throw schema1Refused();
    throw invalid('schemaVersion', 'must be 2');
  }
  if (claimed !== undefined && !KINDS.has(claimed)) {
    throw invalid('', 'the Content-Type is not that of a manifest', supported(claimed));
  }
  if (stated === undefined) return typeByShape(document, claimed);
  if (!KINDS.has(stated)) throw invalid('mediaType', 'is not that of a manifest', supported(stated));
  if (claimed !== undefined && claimed !== stated) {
    throw invalid('mediaType', 'differs from the Content-Type', { mediaType: stated, contentType: claimed });
  }
  return stated;
}

/** Only OCI documents may leave their type out, and only where their fields tell it. */
function typeByShape(document: JsonObject, claimed: string | undefined): string {
  const byShape = document.has('manifests')
    ? MEDIA_TYPE.ociIndex
    : document.has('config')
      ? MEDIA_TYPE.ociManifest
      : undefined;
  if (byShape === undefined)
    throw invalid('mediaType', 'is missing, and neither config nor manifests tells it');
  if (claimed === undefined || claimed === byShape) return byShape;
  throw invalid('mediaType', 'is missing, and the fields are not those of the Content-Type', {
    contentType: claimed,
    mediaType: byShape,
  });
}

function readDescriptors(document: JsonObject, field: 'layers' | 'manifests'): readonly Descriptor[] {
  const list = document.get(field) ?? [];
  if (!isList(list)) throw invalid(field, 'must be a list of descriptors');
  if (list.length > MAX_DESCRIPTORS) {
    throw invalid(field, 'has too many entries', { count: list.length, limit: MAX_DESCRIPTORS });
  }
  return list.map((value, i) => readDescriptor(value, `${field}[${i}]`));
}

function schema1Refused(): RegistryError {
  return invalid(
    'schemaVersion',
    'is 1: Docker schema 1 manifests are no longer taken, push with a newer client',
  );
}

function supported(value: string): Record<string, unknown> {
  return { value: value.slice(0, 256), supported: [...KINDS.keys()] };
}
