import { createHash } from 'node:crypto';
import { describe, expect, test } from 'bun:test';
import { MEDIA_TYPE } from '../../src/oci/descriptor.ts';
import { RegistryError } from '../../src/oci/errors.ts';
import { MAX_MANIFEST_BYTES, mayBeAbsent, parseManifest } from '../../src/oci/manifest.ts';
import { readStoredManifest } from '../../src/oci/stored-manifest.ts';
import { descriptor, DIGEST, encode, image, index } from './manifest-fixtures.ts';

const { ociManifest, ociIndex, dockerManifest, dockerManifestList } = MEDIA_TYPE;

function refusal(document: unknown, contentType?: string): RegistryError {
  try {
    parseManifest(encode(document), contentType);
  } catch (error) {
    if (error instanceof RegistryError) return error;
    throw error;
  }
  throw new Error(`accepted: ${JSON.stringify(document).slice(0, 200)}`);
}

describe('accepted', () => {
  const cases: readonly (readonly [string, unknown, string | undefined, string])[] = [
    ['an OCI image', image(), ociManifest, ociManifest],
    ['an OCI image, no Content-Type', image(), undefined, ociManifest],
    ['an empty Content-Type', image(), '', ociManifest],
    ['a Content-Type in capitals', image(), ociManifest.toUpperCase(), ociManifest],
    ['an OCI image without mediaType', image({ mediaType: undefined }), ociManifest, ociManifest],
    ['an OCI image known by its shape', image({ mediaType: undefined }), undefined, ociManifest],
    ['an empty mediaType, as Go writes none', image({ mediaType: '' }), undefined, ociManifest],
    ['an OCI index', index(), ociIndex, ociIndex],
    ['an OCI index known by its shape', index({ mediaType: undefined }), undefined, ociIndex],
    ['a Docker image', image({ mediaType: dockerManifest }), dockerManifest, dockerManifest],
    ['a Docker list', index({ mediaType: dockerManifestList }), dockerManifestList, dockerManifestList],
    ['no layers', image({ layers: [] }), ociManifest, ociManifest],
    ['null layers, as Go writes none', image({ layers: null }), ociManifest, ociManifest],
    ['an empty index', index({ manifests: [] }), ociIndex, ociIndex],
    ['null annotations', image({ annotations: null, subject: null }), ociManifest, ociManifest],
    ['unknown fields', image({ custom: { a: [1, { b: null }] }, Custom: 1 }), ociManifest, ociManifest],
    [
      'unknown types',
      image({ artifactType: 'x/y', config: descriptor({ mediaType: 'a/b' }) }),
      '',
      ociManifest,
    ],
    [
      'a digest of an unknown algorithm',
      image({ layers: [descriptor({ digest: 'blake3:ab' })] }),
      '',
      ociManifest,
    ],
    ['the largest size', image({ layers: [descriptor({ size: Number.MAX_SAFE_INTEGER })] }), '', ociManifest],
    [
      'free annotation keys',
      image({ annotations: { MediaType: 'x', mediatype: 'y', LAYERS: '' } }),
      '',
      ociManifest,
    ],
    ['a free platform', index({ manifests: [descriptor({ platform: { OS: 1, Size: [] } })] }), '', ociIndex],
    ['white space', ` \n\t\r${JSON.stringify(image())}\n`, ociManifest, ociManifest],
    ['10 000 layers', image({ layers: Array.from({ length: 9_999 }, () => descriptor()) }), '', ociManifest],
  ];
  test.each(cases)('%s', (_name, document, contentType, mediaType) => {
    const bytes = encode(document);
    const manifest = parseManifest(bytes, contentType);
    expect(manifest.mediaType).toBe(mediaType);
    expect(readStoredManifest(bytes)).toEqual(manifest);
  });

  test('fields are read', () => {
    const platform = { architecture: 'arm', os: 'linux', variant: 'v7', 'os.version': '1' };
    const subject = descriptor({ mediaType: ociManifest });
    const manifest = parseManifest(
      encode(index({ manifests: [descriptor({ platform, urls: ['u'], artifactType: 't/t' })], subject })),
      ociIndex,
    );
    expect(manifest.kind).toBe('index');
    expect(manifest.config).toBeUndefined();
    expect(manifest.artifactType).toBeUndefined();
    expect(manifest.subject).toEqual({ mediaType: ociManifest, digest: DIGEST, size: 7 });
    expect(manifest.manifests).toEqual([
      {
        mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
        digest: DIGEST,
        size: 7,
        artifactType: 't/t',
        urls: ['u'],
        platform: { architecture: 'arm', os: 'linux', variant: 'v7' },
      },
    ]);
  });

  test('the artifact type is the own one, else that of the config', () => {
    expect(parseManifest(encode(image({ artifactType: 'a/b' })), undefined).artifactType).toBe('a/b');
    expect(parseManifest(encode(image()), undefined).artifactType).toBe(
      'application/vnd.oci.image.config.v1+json',
    );
    expect(parseManifest(encode(index({ artifactType: 'a/b' })), undefined).artifactType).toBe('a/b');
  });

  test('annotation keys that name parts of a prototype survive', () => {
    const text = JSON.stringify(image()).replace(
      /}$/,
      ',"annotations":{"__proto__":"p","constructor":"c","toString":"t","a":"\\u0061\\n"}}',
    );
    for (const { annotations } of [
      parseManifest(encode(text), undefined),
      readStoredManifest(encode(text)),
    ]) {
      expect(Object.entries(annotations ?? {})).toEqual([
        ['__proto__', 'p'],
        ['constructor', 'c'],
        ['toString', 't'],
        ['a', 'a\n'],
      ]);
      expect(JSON.stringify({ ...annotations })).toContain('"__proto__":"p"');
      expect(annotations?.['hasOwnProperty']).toBeUndefined();
    }
    expect(({} as { a?: string }).a).toBeUndefined();
  });

  test('embedded data that is right', () => {
    for (const algorithm of ['sha256', 'sha512']) {
      const digest = `${algorithm}:${createHash(algorithm).update('{}').digest('hex')}`;
      const config = descriptor({
        mediaType: 'application/vnd.oci.empty.v1+json',
        digest,
        size: 2,
        data: 'e30=',
      });
      expect(parseManifest(encode(image({ config })), undefined).config?.digest).toBe(digest);
    }
    const unknown = descriptor({ digest: 'x:y', size: 2, data: 'e30=' });
    expect(parseManifest(encode(image({ config: unknown })), undefined).config?.size).toBe(2);
  });
});

describe('refused', () => {
  const layer = (changes: Record<string, unknown>) => image({ layers: [descriptor(), descriptor(changes)] });
  const raw = (from: string, to: string) => JSON.stringify(image()).replace(from, to);
  const cases: readonly (readonly [string, unknown, string | undefined, string])[] = [
    ['schema 1 by version', { schemaVersion: 1, fsLayers: [] }, undefined, 'schema 1'],
    ['schema 1 by type', image(), MEDIA_TYPE.dockerSchema1, 'schema 1'],
    ['signed schema 1 by type', { schemaVersion: 1 }, MEDIA_TYPE.dockerSchema1Signed, 'schema 1'],
    ['an artifact manifest', image(), 'application/vnd.oci.artifact.manifest.v1+json', 'artifact manifest'],
    ['an unknown Content-Type', image(), 'application/json', 'Content-Type'],
    ['an unknown mediaType', image({ mediaType: 'a/b' }), undefined, 'mediaType'],
    ['a mediaType in capitals', image({ mediaType: ociManifest.toUpperCase() }), ociManifest, 'mediaType'],
    ['a mediaType that is a list', image({ mediaType: [ociManifest] }), ociManifest, 'mediaType'],
    ['another mediaType than Content-Type', image(), dockerManifest, 'differs'],
    ['an image called an index', image({ mediaType: ociIndex }), ociIndex, 'config'],
    ['a Docker image without mediaType', image({ mediaType: undefined }), dockerManifest, 'mediaType'],
    ['a Docker list without mediaType', index({ mediaType: undefined }), dockerManifestList, 'mediaType'],
    ['an image typed index, without mediaType', image({ mediaType: undefined }), ociIndex, 'mediaType'],
    ['an index typed image, without mediaType', index({ mediaType: undefined }), ociManifest, 'mediaType'],
    ['nothing to tell the type', { schemaVersion: 2 }, undefined, 'mediaType'],
    ['nothing but the Content-Type', { schemaVersion: 2, layers: [] }, ociManifest, 'mediaType'],
    ['an image with manifests', image({ manifests: [] }), ociManifest, 'manifests'],
    ['an image with null manifests', image({ manifests: null }), ociManifest, 'manifests'],
    ['both shapes, without mediaType', image({ mediaType: undefined, manifests: [] }), undefined, 'config'],
    ['an index with layers', index({ layers: [] }), ociIndex, 'layers'],
    ['an index with a config', index({ config: null }), ociIndex, 'config'],
    ['no schemaVersion', image({ schemaVersion: undefined }), ociManifest, 'schemaVersion'],
    ['schemaVersion 3', image({ schemaVersion: 3 }), ociManifest, 'schemaVersion'],
    ['schemaVersion "2"', image({ schemaVersion: '2' }), ociManifest, 'schemaVersion'],
    ['schemaVersion 2.0', raw('"schemaVersion":2', '"schemaVersion":2.0'), ociManifest, 'schemaVersion'],
    ['no config', image({ config: undefined }), ociManifest, 'config'],
    ['a null config', image({ config: null }), ociManifest, 'config'],
    ['layers that are no list', image({ layers: {} }), ociManifest, 'layers'],
    ['a layer that is no object', image({ layers: ['x'] }), ociManifest, 'layers[0]'],
    ['a layer without a mediaType', layer({ mediaType: undefined }), ociManifest, 'layers[1].mediaType'],
    ['a mediaType with parameters', layer({ mediaType: 'a/b; c=d' }), ociManifest, 'layers[1].mediaType'],
    ['a mediaType of 128 letters', layer({ mediaType: `a/${'b'.repeat(128)}` }), '', 'layers[1].mediaType'],
    ['a mediaType with a line end', layer({ mediaType: 'a/b\n' }), ociManifest, 'layers[1].mediaType'],
    ['no digest', layer({ digest: undefined }), ociManifest, 'layers[1].digest'],
    ['a digest in capitals', layer({ digest: DIGEST.toUpperCase() }), ociManifest, 'layers[1].digest'],
    ['a short digest', layer({ digest: 'sha256:ab' }), ociManifest, 'layers[1].digest'],
    ['no size', layer({ size: undefined }), ociManifest, 'layers[1].size'],
    ['a negative size', layer({ size: -1 }), ociManifest, 'layers[1].size'],
    ['a size in quotes', layer({ size: '7' }), ociManifest, 'layers[1].size'],
    ['a size with a fraction', layer({ size: 1.5 }), ociManifest, 'layers[1].size'],
    ['size 2^53', layer({ size: 2 ** 53 }), ociManifest, 'layers[1].size'],
    ['size 7.0', raw('"size":7', '"size":7.0'), ociManifest, 'config.size'],
    ['size 7e0', raw('"size":7', '"size":7e0'), ociManifest, 'config.size'],
    ['size -0', raw('"size":7', '"size":-0'), ociManifest, 'config.size'],
    ['a size beyond int64', raw('"size":7', `"size":${'9'.repeat(40)}`), ociManifest, 'config.size'],
    ['urls that are a string', layer({ urls: 'http://x' }), ociManifest, 'layers[1].urls'],
    ['a url that is a number', layer({ urls: ['u', 1] }), ociManifest, 'layers[1].urls[1]'],
    ['an annotation that is a number', image({ annotations: { a: 1 } }), ociManifest, 'annotations'],
    ['annotations that are a list', image({ annotations: [] }), ociManifest, 'annotations'],
    ["a layer's wrong annotation", layer({ annotations: { a: null } }), '', 'layers[1].annotations'],
    ['a platform that is a string', layer({ platform: 'linux' }), ociManifest, 'layers[1].platform'],
    ['an artifactType that is a number', image({ artifactType: 1 }), ociManifest, 'artifactType'],
    ['a subject that is a digest', image({ subject: DIGEST }), ociManifest, 'subject'],
    ['a subject with a wrong digest', image({ subject: descriptor({ digest: 'x' }) }), '', 'subject.digest'],
    ['data of another size', layer({ size: 3, data: 'e30=' }), ociManifest, 'layers[1].data'],
    ['data of another digest', layer({ size: 2, data: 'e30=' }), ociManifest, 'layers[1].data'],
    ['data that is not base64', layer({ digest: 'x:y', size: 2, data: 'e3 0=' }), '', 'layers[1].data'],
    ['data without padding', layer({ digest: 'x:y', size: 2, data: 'e30' }), '', 'layers[1].data'],
    ['data in base64url', layer({ digest: 'x:y', size: 3, data: '_-__' }), '', 'layers[1].data'],
    ['Layers', image({ Layers: [] }), ociManifest, 'Layers'],
    ['MANIFESTS', image({ MANIFESTS: [] }), ociManifest, 'MANIFESTS'],
    ['MediaType', image({ MediaType: ociIndex }), ociManifest, 'MediaType'],
    ['Kelvin and long s', image({ conſigs: 1, manifeſtſ: [] }), ociManifest, 'manifests'],
    ['Digest in a layer', layer({ Digest: DIGEST }), ociManifest, 'layers[1].Digest'],
    ['SIZE in the subject', image({ subject: descriptor({ SIZE: 1 }) }), ociManifest, 'subject.SIZE'],
    ['a key twice', raw('"layers"', '"layers":[],"layers"'), ociManifest, 'twice'],
    ['a key twice by escape', raw('"layers"', '"l\\u0061yers":[],"layers"'), ociManifest, 'twice'],
    ['a key twice in a layer', raw('"size":7', '"size":7,"size":8'), ociManifest, 'twice'],
    [
      'a key twice in an annotation',
      raw('"layers"', '"annotations":{"a":"1","a":"2"},"layers"'),
      '',
      'twice',
    ],
    ['a key twice deep inside', raw('"layers"', '"x":[{"y":{"z":1,"z":1}}],"layers"'), '', 'twice'],
    ['half a character', raw('"layers"', '"x":"\\ud800","layers"'), ociManifest, 'escape'],
    ['nothing', '', ociManifest, 'JSON'],
    ['a list', [], ociManifest, 'object'],
    ['null', 'null', ociManifest, 'object'],
    ['something after it', `${JSON.stringify(image())} {}`, ociManifest, 'follows'],
    ['half of it', JSON.stringify(image()).slice(0, -1), ociManifest, 'JSON'],
    ['a comma too many', raw('"layers"', '"x":[1,],"layers"'), ociManifest, 'JSON'],
    ['a byte order mark', `\ufeff${JSON.stringify(image())}`, ociManifest, 'byte order mark'],
    ['65 levels', raw('"layers"', `"x":${'['.repeat(64)}${']'.repeat(64)},"layers"`), '', 'deeper'],
    ['too many layers', image({ layers: Array.from({ length: 10_001 }, () => descriptor()) }), '', 'layers'],
  ];
  test.each(cases)('%s', (_name, document, contentType, hint) => {
    const error = refusal(document, contentType);
    expect(error.code).toBe('MANIFEST_INVALID');
    expect(error.status).toBeUndefined();
    expect(error.message.normalize('NFKC')).toContain(hint);
  });

  test('invalid UTF-8', () => {
    const bytes = encode(image({ annotations: { a: 'é' } }));
    bytes[bytes.indexOf(0xc3)] = 0xff;
    expect(() => parseManifest(bytes, undefined)).toThrow('UTF-8');
    expect(readStoredManifest(bytes).mediaType).toBe(ociManifest);
  });

  test('one byte too many is refused with 413, and no byte too many is not', () => {
    const fill = (size: number) => {
      const empty = encode(image({ annotations: { a: '' } })).length;
      return encode(image({ annotations: { a: 'x'.repeat(size - empty) } }));
    };
    expect(parseManifest(fill(MAX_MANIFEST_BYTES), undefined).kind).toBe('image');
    try {
      parseManifest(fill(MAX_MANIFEST_BYTES + 1), undefined);
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: 'MANIFEST_INVALID', status: 413 });
    }
  });

  test('the detail names the field and shows no more than a little of a value', () => {
    const error = refusal(image({ layers: [descriptor({ digest: 'x'.repeat(10_000) })] }));
    expect(error.detail).toEqual({ field: 'layers[0].digest', value: 'x'.repeat(256) });
  });
});

describe('a layer that may be absent', () => {
  const urls = ['https://example.com/layer'];
  test.each([
    ['application/vnd.docker.image.rootfs.foreign.diff.tar.gzip', true],
    ['application/vnd.oci.image.layer.nondistributable.v1.tar', true],
    ['application/vnd.oci.image.layer.nondistributable.v1.tar+gzip', true],
    ['application/vnd.oci.image.layer.nondistributable.v1.tar+zstd', true],
    ['application/vnd.oci.image.layer.v1.tar+gzip', false],
    ['application/vnd.docker.image.rootfs.diff.tar.gzip', false],
  ])('%s: %p', (mediaType, expected) => {
    expect(mayBeAbsent({ mediaType, digest: DIGEST, size: 1, urls })).toBe(expected);
    expect(mayBeAbsent({ mediaType, digest: DIGEST, size: 1, urls: [] })).toBe(false);
    expect(mayBeAbsent({ mediaType, digest: DIGEST, size: 1 })).toBe(false);
  });
});
