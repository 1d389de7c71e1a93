/** What manifests a registry must refuse, and which it must not. */
import { digestOf, expectBody, expectError, expectHeaderIs, expectStatus } from './check.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import { newBlob, pushManifest, putManifest } from './push.ts';
import type { Basis, Scenario, Step } from './scenario.ts';
import { manifestOf, pushEmptyConfig } from './small-manifest.ts';
import type { SmallManifest } from './small-manifest.ts';
import { TYPE } from './vocabulary.ts';

/** A variation of a good image manifest: the text to push, and the Content-Type to push it as. */
interface Variation {
  readonly name: string;
  readonly basis?: Basis;
  readonly content: (good: SmallManifest) => string | Uint8Array;
  readonly contentType?: string;
}

const json = (value: unknown): string => JSON.stringify(value);

/** The good manifest's text with some text right behind its opening brace. */
const inserted = (good: SmallManifest, text: string): string => `{${text},${json(good.fields).slice(1)}`;

const index = (good: SmallManifest): Readonly<Record<string, unknown>> => ({
  schemaVersion: 2,
  mediaType: TYPE.index,
  manifests: [],
  annotations: { nonce: good.digest },
});

/** The good manifest with some fields of its first layer changed. */
const withLayer = (good: SmallManifest, more: Readonly<Record<string, unknown>>): string => {
  const layer = {
    mediaType: TYPE.layerGzip,
    digest: good.layers[0]?.digest,
    size: good.layers[0]?.bytes.length,
  };
  return json({ ...good.fields, layers: [{ ...layer, ...more }] });
};

const REFUSED: readonly Variation[] = [
  { name: 'no JSON', content: () => '{' },
  { name: 'an empty body', content: () => '' },
  { name: 'a JSON list', content: () => '[]' },
  { name: 'JSON null', content: () => 'null' },
  { name: 'bytes that are no UTF-8', content: (good) => Buffer.from(inserted(good, '"x":"\xff"'), 'latin1') },
  { name: 'a byte order mark', content: (good) => `\uFEFF${json(good.fields)}` },
  { name: 'text behind the JSON', content: (good) => `${json(good.fields)} {}` },
  { name: 'schemaVersion 1', content: (good) => json({ ...good.fields, schemaVersion: 1 }) },
  { name: 'schemaVersion absent', content: (good) => json({ ...good.fields, schemaVersion: undefined }) },
  { name: 'schemaVersion as a string', content: (good) => json({ ...good.fields, schemaVersion: '2' }) },
  {
    name: 'mediaType that is not the Content-Type',
    content: (good) => json(good.fields),
    contentType: TYPE.dockerManifest,
  },
  { name: 'index sent as an image', content: (good) => json(index(good)), contentType: TYPE.image },
  {
    name: 'index without mediaType sent as an image',
    content: (good) => json({ ...index(good), mediaType: undefined }),
    contentType: TYPE.image,
  },
  {
    name: 'image without mediaType sent as an index',
    content: (good) => json({ ...good.fields, mediaType: undefined }),
    contentType: TYPE.index,
  },
  {
    name: 'unknown Content-Type',
    content: (good) => json(good.fields),
    contentType: 'application/vnd.example.unknown',
  },
  {
    name: 'Content-Type application/json',
    content: (good) => json({ ...good.fields, mediaType: 'application/json' }),
    contentType: 'application/json',
  },
  { name: 'image with manifests', content: (good) => json({ ...good.fields, manifests: [] }) },
  {
    name: 'index with layers',
    content: (good) => json({ ...index(good), layers: [] }),
    contentType: TYPE.index,
  },
  {
    name: 'index with config',
    content: (good) => json({ ...index(good), config: good.fields['config'] }),
    contentType: TYPE.index,
  },
  { name: 'a key twice', content: (good) => inserted(good, '"layers":[]') },
  { name: 'a key twice, once escaped', content: (good) => inserted(good, String.raw`"l\u0061yers":[]`) },
  { name: 'mediaType twice', content: (good) => inserted(good, `"mediaType":"${TYPE.index}"`) },
  { name: 'a known key in another case', content: (good) => inserted(good, '"Layers":[]') },
  { name: 'MediaType beside mediaType', content: (good) => inserted(good, `"MediaType":"${TYPE.index}"`) },
  { name: 'manifests in another case in an image', content: (good) => inserted(good, '"maniFests":[]') },
  {
    name: 'a descriptor key twice',
    content: (good) => json(good.fields).replace('"layers":[{', '"layers":[{"size":1,'),
  },
  {
    name: 'a descriptor key in another case',
    content: (good) => json(good.fields).replace('"layers":[{', '"layers":[{"Digest":"x",'),
  },
  { name: 'config absent', content: (good) => json({ ...good.fields, config: undefined }) },
  { name: 'layers as an object', content: (good) => json({ ...good.fields, layers: {} }) },
  { name: 'a negative size', content: (good) => withLayer(good, { size: -1 }) },
  { name: 'a fractional size', content: (good) => withLayer(good, { size: 1.5 }) },
  {
    name: 'a size above 2^53 - 1',
    content: (good) => withLayer(good, { size: 0 }).replace('"size":0', '"size":9007199254740993'),
  },
  { name: 'a size as a string', content: (good) => withLayer(good, { size: '256' }) },
  { name: 'size absent', content: (good) => withLayer(good, { size: undefined }) },
  { name: 'digest absent', content: (good) => withLayer(good, { digest: undefined }) },
  { name: 'a malformed digest', content: (good) => withLayer(good, { digest: 'sha256:abc' }) },
  {
    name: 'a digest in upper case',
    content: (good) => withLayer(good, { digest: `sha256:${'A'.repeat(64)}` }),
  },
  {
    name: 'a digest with a path in it',
    content: (good) => withLayer(good, { digest: 'sha256:../../../../etc/passwd' }),
  },
  { name: 'mediaType absent in a descriptor', content: (good) => withLayer(good, { mediaType: undefined }) },
  {
    name: 'a malformed mediaType in a descriptor',
    content: (good) => withLayer(good, { mediaType: 'no slash' }),
  },
  { name: 'data that is not the content', content: (good) => withLayer(good, { data: 'AAAA' }) },
  {
    name: 'an annotation that is no string',
    content: (good) => json({ ...good.fields, annotations: { a: 1 } }),
  },
  { name: 'annotations as a list', content: (good) => json({ ...good.fields, annotations: ['a'] }) },
  {
    name: 'a subject that is no descriptor',
    content: (good) => json({ ...good.fields, subject: 'sha256:abc' }),
  },
  {
    name: 'a subject with a malformed digest',
    content: (good) => json({ ...good.fields, subject: { mediaType: TYPE.image, digest: 'x', size: 1 } }),
  },
  {
    name: 'Docker schema 1',
    content: () => json({ schemaVersion: 1, name: 'a', tag: 'b', fsLayers: [], history: [] }),
    contentType: TYPE.dockerSchema1,
  },
  {
    name: 'Docker schema 1, signed',
    content: () => json({ schemaVersion: 1, name: 'a', tag: 'b', fsLayers: [], history: [] }),
    contentType: TYPE.dockerSchema1Signed,
  },
];

const ACCEPTED: readonly Variation[] = [
  {
    name: 'mediaType absent',
    basis: 'spec',
    content: (good) => json({ ...good.fields, mediaType: undefined }),
  },
  {
    name: 'unknown fields, of keys that differ from known ones',
    basis: 'spec',
    content: (good) => json({ ...good.fields, layer: [], Custom: { Layers: 1, size: 'x' } }),
  },
  {
    name: 'an unknown artifactType',
    basis: 'spec',
    content: (good) => json({ ...good.fields, artifactType: 'application/vnd.example.never-seen' }),
  },
  {
    name: 'an unknown layer type',
    basis: 'spec',
    content: (good) => withLayer(good, { mediaType: 'application/vnd.example.never-seen' }),
  },
  {
    name: 'a descriptor with the right data',
    basis: 'spec',
    content: (good) => withLayer(good, { data: Buffer.from(good.layers[0]?.bytes ?? []).toString('base64') }),
  },
  {
    name: 'white space and unsorted keys',
    basis: 'spec',
    content: (good) =>
      JSON.stringify(Object.fromEntries(Object.entries(good.fields).toReversed()), null, '\t').concat('\n\n'),
  },
  {
    name: 'the same layer twice',
    basis: 'spec',
    content: (good) => json({ ...good.fields, layers: [0, 1].flatMap(() => good.fields['layers']) }),
  },
  {
    name: 'layers null, as Go writes an empty list',
    content: (good) => json({ ...good.fields, layers: null }),
  },
  {
    name: 'an absent layer with URLs and a digest of an unknown algorithm',
    content: (good) =>
      withLayer(good, {
        mediaType: TYPE.nondistributable,
        urls: ['https://store.example.com/l'],
        digest: `blake3:${newBlob().digest.slice(7)}`,
      }),
  },
  ...[
    'application/vnd.oci.image.layer.nondistributable.v1.tar',
    TYPE.nondistributable,
    'application/vnd.oci.image.layer.nondistributable.v1.tar+zstd',
    'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
  ].map((mediaType): Variation => ({
    name: `an absent layer of the type ${mediaType}`,
    content: (good) =>
      withLayer(good, { mediaType, urls: ['https://store.example.com/l'], digest: newBlob().digest }),
  })),
  {
    name: 'Content-Type with parameters',
    basis: 'spec',
    content: (good) => json(good.fields),
    contentType: `${TYPE.image}; charset=utf-8`,
  },
];

async function refuse(context: Context, variation: Variation): Promise<void> {
  const repository = context.fresh('manifest-rules');
  const content = Buffer.from(variation.content(await manifestOf(context, repository)));
  const answer = await putManifest(context, repository, 'refused', content, variation.contentType);
  expectError(answer, 400, 'MANIFEST_INVALID');
  expectStatus(await context.head(path.manifest(repository, digestOf(content))), 404);
  expectStatus(await context.head(path.manifest(repository, 'refused')), 404);
}

async function accept(context: Context, variation: Variation): Promise<void> {
  const repository = context.fresh('manifest-rules');
  const content = Buffer.from(variation.content(await manifestOf(context, repository)));
  await pushManifest(context, repository, 'accepted', content, variation.contentType);
  const answer = await context.get(path.manifest(repository, 'accepted'), { Accept: TYPE.image });
  expectStatus(answer, 200);
  expectBody(answer, content);
  expectHeaderIs(answer, 'Content-Type', TYPE.image);
}

async function withoutContentType(context: Context): Promise<void> {
  const repository = context.fresh('manifest-rules');
  const { bytes } = await manifestOf(context, repository);
  const target = path.manifest(repository, 'untyped');
  expectStatus(await context.send('PUT', target, { body: bytes }), 201);
  const answer = await context.get(target, { Accept: TYPE.image });
  expectHeaderIs(answer, 'Content-Type', TYPE.image);
}

async function emptyConfigWithoutType(context: Context): Promise<void> {
  const repository = context.fresh('manifest-rules');
  const config = await pushEmptyConfig(context, repository);
  const content = json({ schemaVersion: 2, mediaType: TYPE.image, config, layers: [] });
  await pushManifest(context, repository, 'empty-config', content);
}

/** The tests. */
export const manifestRules: Scenario = {
  name: 'beyond/manifests',
  basis: 'ours',
  steps: [
    ...REFUSED.map((variation): Step => ({
      name: `refused with 400 MANIFEST_INVALID: ${variation.name}`,
      run: (context) => refuse(context, variation),
    })),
    ...ACCEPTED.map((variation): Step => ({
      name: `accepted: ${variation.name}`,
      ...(variation.basis === undefined ? {} : { basis: variation.basis }),
      run: (context) => accept(context, variation),
    })),
    { name: 'accepted: no Content-Type, the type comes from the document', run: withoutContentType },
    { name: 'accepted: the empty config without artifactType', run: emptyConfigWithoutType },
  ],
};
