/** The parts of a manifest as they must be in one that is pushed: each function names the field that is wrong. */
import { createHash } from 'node:crypto';
import type { Descriptor } from './descriptor.ts';
import { algorithmOf, hexOf, isDescriptorDigest, isDigest } from './digest.ts';
import { RegistryError } from './errors.ts';
import { JsonNumber } from './json-text.ts';
import type { JsonObject, JsonValue } from './json-text.ts';

/** image-spec descriptor.md: a media type as in RFC 6838, which has no parameters. */
const MEDIA_TYPE = /^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$/;

const INTEGER = /^(?:0|[1-9][0-9]{0,15})$/;

const MANIFEST_KEYS = keysByFold([
  'schemaVersion',
  'mediaType',
  'artifactType',
  'config',
  'layers',
  'manifests',
  'subject',
  'annotations',
]);

const DESCRIPTOR_KEYS = keysByFold([
  'mediaType',
  'digest',
  'size',
  'urls',
  'annotations',
  'data',
  'artifactType',
  'platform',
]);

/** A refusal that names the field, e.g. `layers[3].size`. */
export function invalid(field: string, problem: string, detail: Record<string, unknown> = {}): RegistryError {
  return new RegistryError('MANIFEST_INVALID', field === '' ? problem : `${field} ${problem}`, {
    detail: field === '' ? detail : { field, ...detail },
  });
}

/** @throws RegistryError when a key of the manifest itself is a known one in other case */
export function checkManifestKeys(manifest: JsonObject): void {
  checkKeys(manifest, MANIFEST_KEYS, '');
}

/** @throws RegistryError `MANIFEST_INVALID` */
export function readDescriptor(value: JsonValue | undefined, field: string): Descriptor {
  if (!isObject(value)) throw invalid(field, 'must be a descriptor (an object)');
  checkKeys(value, DESCRIPTOR_KEYS, `${field}.`);
  const mediaType = value.get('mediaType');
  if (typeof mediaType !== 'string' || !MEDIA_TYPE.test(mediaType)) {
    throw invalid(`${field}.mediaType`, 'must be a media type without parameters', shown(mediaType));
  }
  const digest = value.get('digest');
  if (typeof digest !== 'string' || !isDescriptorDigest(digest)) {
    throw invalid(`${field}.digest`, 'must be a digest', shown(digest));
  }
  const size = readSize(value.get('size'), `${field}.size`);
  checkData(value.get('data'), digest, size, `${field}.data`);
  const artifactType = readString(value.get('artifactType'), `${field}.artifactType`);
  const annotations = readAnnotations(value.get('annotations'), `${field}.annotations`);
  const urls = readUrls(value.get('urls'), `${field}.urls`);
  const platform = value.get('platform') ?? null;
  if (platform !== null && !isObject(platform)) throw invalid(`${field}.platform`, 'must be an object');
  return {
    mediaType,
    digest,
    size,
    ...(artifactType !== undefined && { artifactType }),
    ...(annotations !== undefined && { annotations }),
    ...(urls !== undefined && { urls }),
    ...(platform !== null && { platform: platformOf(platform) }),
  };
}

/**
 * The strings of an `annotations` field; undefined when it is absent or null. The record has no prototype, so
 * that a key such as `__proto__` or `constructor` is a key like any other.
 */
export function readAnnotations(
  value: JsonValue | undefined,
  field: string,
): Readonly<Record<string, string>> | undefined {
  if (value === undefined || value === null) return undefined;
  if (!isObject(value)) throw invalid(field, 'must be an object of strings');
  const annotations: Record<string, string> = Object.create(null);
  for (const [key, text] of value) {
    if (typeof text !== 'string') {
      throw invalid(field, 'must have only strings as values', { key: key.slice(0, 256) });
    }
    annotations[key] = text;
  }
  return annotations;
}

/** A string field; undefined when it is absent, null, or empty, which Go programs write for "none". */
export function readString(value: JsonValue | undefined, field: string): string | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value !== 'string') throw invalid(field, 'must be a string');
  return value;
}

/** The part of a platform that clients select by. Its fields are free: what is not a string is left out. */
export function platformOf(platform: JsonObject): NonNullable<Descriptor['platform']> {
  const architecture = platform.get('architecture');
  const os = platform.get('os');
  const variant = platform.get('variant');
  return {
    ...(typeof architecture === 'string' && { architecture }),
    ...(typeof os === 'string' && { os }),
    ...(typeof variant === 'string' && { variant }),
  };
}

export function isObject(value: JsonValue | undefined): value is JsonObject {
  return value instanceof Map;
}

/** `Array.isArray` with the element type kept, and for a read-only array. */
export function isList(value: JsonValue | undefined): value is readonly JsonValue[] {
  return Array.isArray(value);
}

/** What other programs' case-insensitive decoders (Go's) make of a key: ASCII case, and two odd letters. */
export function foldKey(key: string): string {
  return key.replaceAll('\u017f', 's').replaceAll('\u212a', 'k').toLowerCase();
}

function keysByFold(keys: readonly string[]): ReadonlyMap<string, string> {
  return new Map(keys.map((key) => [foldKey(key), key]));
}

function checkKeys(object: JsonObject, known: ReadonlyMap<string, string>, prefix: string): void {
  for (const key of object.keys()) {
    // The longest known key has 13 letters.
    if (key.length > 13) continue;
    const meant = known.get(foldKey(key));
    if (meant !== undefined && meant !== key) {
      throw invalid(`${prefix}${key}`, `differs from ${meant} only in case, which programs read differently`);
    }
  }
}

function readSize(value: JsonValue | undefined, field: string): number {
  const text = value instanceof JsonNumber ? value.text : '';
  const size = Number(text);
  if (!INTEGER.test(text) || size > Number.MAX_SAFE_INTEGER) {
    throw invalid(field, `must be an integer from 0 to ${Number.MAX_SAFE_INTEGER}`, shown(value));
  }
  return size;
}

function readUrls(value: JsonValue | undefined, field: string): readonly string[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!isList(value)) throw invalid(field, 'must be a list of strings');
  return value.map((url, i) => {
    if (typeof url !== 'string') throw invalid(`${field}[${i}]`, 'must be a string');
    return url;
  });
}

/** Embedded content must be what the descriptor says, because clients use it in place of the blob. */
function checkData(value: JsonValue | undefined, digest: string, size: number, field: string): void {
  if (value === undefined || value === null) return;
  if (typeof value !== 'string') throw invalid(field, 'must be a string');
  const content = Buffer.from(value, 'base64');
  // Decoding skips what is not base64, so encode again to see whether anything was skipped.
  if (content.toString('base64') !== value) throw invalid(field, 'must be base64');
  if (content.length !== size) {
    throw invalid(field, 'has another size than the descriptor', { size, actual: content.length });
  }
  if (!isDigest(digest)) return;
  if (createHash(algorithmOf(digest)).update(content).digest('hex') !== hexOf(digest)) {
    throw invalid(field, 'has another digest than the descriptor', { digest });
  }
}

function shown(value: JsonValue | undefined): Record<string, unknown> {
  if (value === undefined) return { problem: 'it is missing' };
  if (typeof value === 'string') return { value: value.slice(0, 256) };
  return value instanceof JsonNumber ? { value: value.text.slice(0, 256) } : {};
}
