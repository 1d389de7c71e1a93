import { expect, test } from 'bun:test';
import * as fc from 'fast-check';
import { RegistryError } from '../../src/oci/errors.ts';
import { JsonNumber, JsonTextError, parseJsonText } from '../../src/oci/json-text.ts';
import type { JsonValue } from '../../src/oci/json-text.ts';
import { parseManifest } from '../../src/oci/manifest.ts';
import { readStoredManifest } from '../../src/oci/stored-manifest.ts';
import type { Manifest } from '../../src/oci/manifest.ts';
import { descriptor, encode, image, index } from './manifest-fixtures.ts';

const TYPES = [
  undefined,
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v1+json',
  'application/json',
];

/** The manifest, or undefined when it was refused as it should be; any other error is thrown on. */
function accepted(bytes: Uint8Array, type: string | undefined): Manifest | undefined {
  try {
    return parseManifest(bytes, type);
  } catch (error) {
    if (error instanceof RegistryError && error.code === 'MANIFEST_INVALID') return undefined;
    throw error;
  }
}

const anyDescriptor = fc.record(
  {
    mediaType: fc.constantFrom('a/b', 'c/d', ...TYPES),
    digest: fc.constantFrom(descriptor()['digest'], 'x:y', `sha512:${'0'.repeat(128)}`, 'sha256:ab'),
    size: fc.oneof({ weight: 9, arbitrary: fc.maxSafeNat() }, fc.double(), fc.constant('1')),
    annotations: fc.option(fc.dictionary(fc.string(), fc.string())),
    urls: fc.option(fc.array(fc.webUrl(), { maxLength: 2 })),
    platform: fc.option(fc.dictionary(fc.constantFrom('os', 'architecture', 'variant', 'x'), fc.string())),
  },
  { requiredKeys: ['mediaType', 'digest', 'size'] },
);
const descriptors = fc.oneof(fc.array(anyDescriptor, { maxLength: 3 }), fc.constantFrom(undefined, null));
const change = fc.oneof(
  fc.record({ mediaType: fc.constantFrom(...TYPES, '', null) }),
  fc.record({ config: fc.oneof(anyDescriptor, fc.constantFrom(undefined, null, {})) }),
  fc.record({ layers: descriptors }),
  fc.record({ manifests: descriptors }),
  fc.record({ subject: fc.oneof(anyDescriptor, fc.constant(null)) }),
  fc.record({ artifactType: fc.oneof(fc.string(), fc.constant(null)) }),
  fc.record({ annotations: fc.oneof(fc.dictionary(fc.string(), fc.string()), fc.constant(null)) }),
  fc.record({ other: fc.jsonValue() }),
  fc.constantFrom({ Layers: [] }, { schemaVersion: 1 }),
);

/** Manifests with a few fields taken away, replaced or added: many are right, and most are nearly right. */
const nearManifests = fc
  .tuple(fc.constantFrom(image(), index()), fc.array(change, { maxLength: 3 }))
  .map(([whole, changes]) =>
    changes.reduce<Record<string, unknown>>((now, next) => ({ ...now, ...next }), whole),
  );

test('the type and the fields of whatever is accepted are the same when it is read from storage', () => {
  let count = 0;
  fc.assert(
    fc.property(nearManifests, fc.constantFrom(...TYPES), (document, type) => {
      const bytes = encode(document);
      const manifest = accepted(bytes, type);
      if (manifest === undefined) return;
      count++;
      expect(readStoredManifest(bytes)).toEqual(manifest);
      expect(accepted(bytes, manifest.mediaType)).toEqual(manifest);
      // Whoever accepts it under another type must see the same type: a digest has one type for ever.
      for (const other of TYPES)
        expect(accepted(bytes, other)?.mediaType ?? manifest.mediaType).toBe(manifest.mediaType);
    }),
    { numRuns: 3000 },
  );
  expect(count).toBeGreaterThan(100);
});

test('arbitrary bytes are refused as an invalid manifest and in no other way', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(...TYPES), (bytes, type) => {
      expect(accepted(bytes, type)).toBeUndefined();
    }),
    { numRuns: 2000 },
  );
});

test('a manifest with some bytes changed is accepted or refused, and nothing else', () => {
  const whole = encode(image({ annotations: { a: 'b\u00e9\n' } }));
  const flip = fc.record({ at: fc.nat(whole.length - 1), to: fc.nat(255) });
  fc.assert(
    fc.property(fc.array(flip, { minLength: 1, maxLength: 4 }), (changes) => {
      const bytes = Uint8Array.from(whole);
      for (const { at, to } of changes) bytes[at] = to;
      const manifest = accepted(bytes, undefined);
      if (manifest !== undefined) expect(readStoredManifest(bytes)).toEqual(manifest);
    }),
    { numRuns: 5000 },
  );
});

const LAX = { depth: 1000, values: 100_000, unambiguous: false };

function read(text: string): { value: unknown } | undefined {
  try {
    return { value: plain(parseJsonText(text, LAX)) };
  } catch (error) {
    if (error instanceof JsonTextError) return undefined;
    throw error;
  }
}

function readNatively(text: string): { value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return undefined;
  }
}

function plain(value: JsonValue): unknown {
  if (value instanceof JsonNumber) return Number(value.text);
  if (Array.isArray(value)) return value.map((item: JsonValue) => plain(item));
  if (!(value instanceof Map)) return value;
  return Object.fromEntries([...value].map(([key, item]: [string, JsonValue]) => [key, plain(item)]));
}

test('JSON is read as the runtime reads it', () => {
  fc.assert(
    fc.property(fc.json({ depthSize: 'large' }), fc.constantFrom(undefined, 1, 2), (text, indent) => {
      const spaced = JSON.stringify(JSON.parse(text), undefined, indent);
      expect(read(spaced)).toEqual(readNatively(spaced));
    }),
    { numRuns: 1000 },
  );
});

test('text that is nearly JSON is refused where the runtime refuses it', () => {
  const piece = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '"a"',
    '"b\\n"',
    '"\\u12',
    '"\\x"',
    '"\t"',
    '0',
    '01',
    '-',
    '1.',
    '1e5',
    '-0.5E+1',
    '.5',
    'true',
    'tru',
    'null',
    'NaN',
    ' ',
    '\n',
    '\u00a0',
    '\ufeff',
    '{}',
    '[]',
    '"a":1',
    "'a'",
    '//',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      const text = pieces.join('');
      expect(read(text)).toEqual(readNatively(text));
    }),
    { numRuns: 10_000 },
  );
});
