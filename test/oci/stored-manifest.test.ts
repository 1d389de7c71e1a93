import { describe, expect, test } from 'bun:test';
import { MEDIA_TYPE } from '../../src/oci/descriptor.ts';
import { readStoredManifest } from '../../src/oci/stored-manifest.ts';
import { descriptor, DIGEST, encode, image, index } from './manifest-fixtures.ts';

const layers = [{ blobSum: DIGEST }, { blobSum: 'bad' }, {}, { blobSum: DIGEST }];

describe('the type of what is stored', () => {
  const cases: readonly (readonly [string, unknown, string])[] = [
    ['schema 1', { schemaVersion: 1, fsLayers: layers }, MEDIA_TYPE.dockerSchema1],
    ['signed schema 1', { schemaVersion: 1, signatures: [] }, MEDIA_TYPE.dockerSchema1Signed],
    ['both shapes with a mediaType', image({ manifests: [] }), MEDIA_TYPE.ociManifest],
    ['both shapes without one', image({ mediaType: undefined, manifests: [] }), MEDIA_TYPE.ociIndex],
    ['a null list', image({ mediaType: undefined, manifests: null }), MEDIA_TYPE.ociManifest],
    ['only null manifests', { schemaVersion: 2, manifests: null }, MEDIA_TYPE.ociIndex],
    ['keys in other case', { SchemaVersion: 2, Config: descriptor(), LAYERS: [] }, MEDIA_TYPE.ociManifest],
    ['a type in other case', { MediaType: MEDIA_TYPE.dockerManifest }, MEDIA_TYPE.dockerManifest],
    ['a Docker list', index({ mediaType: MEDIA_TYPE.dockerManifestList }), MEDIA_TYPE.dockerManifestList],
    ['keys given twice', '{"config":{},"x":1,"x":2,"config":{}}', MEDIA_TYPE.ociManifest],
    ['deep nesting', `{"config":{},"x":${'['.repeat(9_000)}${']'.repeat(9_000)}}`, MEDIA_TYPE.ociManifest],
  ];
  test.each(cases)('%s', (_name, document, mediaType) => {
    expect(readStoredManifest(encode(document)).mediaType).toBe(mediaType);
  });

  test.each<[string, unknown]>([
    ['no JSON', '{'],
    ['no object', '[]'],
    ['no hint', { schemaVersion: 2 }],
    ['an unknown type', image({ mediaType: 'a/b' })],
  ])('%s has none', (_name, document) => {
    expect(() => readStoredManifest(encode(document))).toThrow('stored manifest');
  });
});

test('schema 1 layers are references', () => {
  const manifest = readStoredManifest(encode({ schemaVersion: 1, fsLayers: layers }));
  expect(manifest.kind).toBe('schema1');
  expect(manifest.config).toBeUndefined();
  expect(manifest.layers.map((layer) => layer.digest)).toEqual([DIGEST, DIGEST]);
});

test('wrong fields are left out and the rest is kept', () => {
  const manifest = readStoredManifest(
    encode(
      image({
        Layers: 'ignored, for the exact key counts',
        layers: [
          1,
          descriptor({ digest: '../x' }),
          descriptor({ size: '7', mediaType: null, urls: ['u', 1] }),
        ],
        subject: DIGEST,
        annotations: { a: 'b', c: 1 },
      }),
    ),
  );
  expect(manifest.subject).toBeUndefined();
  expect(manifest.annotations).toEqual({ a: 'b' });
  expect(manifest.layers).toEqual([{ mediaType: '', digest: DIGEST, size: 0, urls: ['u'] }]);
});
