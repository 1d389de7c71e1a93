/** The data sets of the specification's suite, by its names for them. */
import { DataSet } from './data-set.ts';
import type { Descriptor } from './data-set.ts';
import { newBlob } from './push.ts';
import { TYPE } from './vocabulary.ts';
import type { Algorithm } from './vocabulary.ts';

/** Fills a data set that is empty but for its name. */
type Filler = (set: DataSet) => void;

const platform = (architecture: string): Readonly<Record<string, unknown>> => ({
  platform: { architecture, os: 'linux' },
});

function images(set: DataSet, count: number): readonly Descriptor[] {
  const architectures = ['amd64', 'arm64', 'riscv64', 's390x'];
  return Array.from({ length: count }, (_, index) => ({
    ...set.image(),
    ...platform(architectures[index] ?? 'amd64'),
  }));
}

const SETS: Readonly<Record<string, Filler>> = {
  image: (set) => {
    set.image({ tags: ['image'] });
  },
  'image-uncompressed': (set) => {
    const layers = [set.blob(TYPE.layer), set.blob(TYPE.layer)];
    set.manifest({ mediaType: TYPE.image, config: set.config(), layers }, { tags: ['image-uncompressed'] });
  },
  // About 3.9 MB: below the 4 MB that a registry SHOULD take, above what a careless buffer takes.
  'large-manifest': (set) => {
    const annotations = Object.fromEntries(
      Array.from({ length: 390 }, (_, index) => [`com.example.large.${index}`, 'x'.repeat(10_000)]),
    );
    set.image({ tags: ['large-manifest'], more: { annotations } });
  },
  index: (set) => {
    set.index(images(set, 2), { tags: ['index'] });
  },
  'nested-index': (set) => {
    const inner = [set.index(images(set, 2)), set.index(images(set, 2))];
    set.index(inner, { tags: ['nested-index'] });
  },
  'empty-index': (set) => {
    set.index([], { tags: ['empty-index'] });
  },
  artifact: (set) => {
    set.artifact('application/vnd.example.artifact', { tags: ['artifact'] });
  },
  'artifact-index': (set) => {
    const artifacts = [1, 2].map((one) => set.artifact(`application/vnd.example.artifact.${one}`));
    set.index(artifacts, {
      tags: ['artifact-index'],
      more: { artifactType: 'application/vnd.example.artifacts' },
    });
  },
  'artifact-without-layers': (set) => {
    set.manifest(
      {
        mediaType: TYPE.image,
        artifactType: 'application/vnd.example.bare',
        config: set.empty(),
        layers: [],
      },
      { tags: ['artifact-without-layers'] },
    );
  },
  'artifacts-with-subject': (set) => {
    const subject = set.image({ tags: ['artifacts-with-subject'] });
    refer(set, subject);
  },
  'index-with-subject': (set) => {
    const subject = set.image({ tags: ['index-with-subject'] });
    const annotations = { 'com.example.kind': 'index' };
    const more = { subject, annotations, artifactType: 'application/vnd.example.index' };
    set.index([set.artifact('application/vnd.example.child')], {
      tags: ['index-with-subject-referrer'],
      more,
    });
  },
  'missing-subject': (set) => {
    const subject = set.manifest(
      { mediaType: TYPE.image, config: set.config(), layers: [set.blob(TYPE.layer, { absent: true })] },
      { absent: true },
    );
    refer(set, subject);
  },
  'data-field': (set) => {
    const data = newBlob(64).bytes;
    const content = Buffer.from(data).toString('hex');
    const layer = set.blob(TYPE.layer, { content, more: { data: Buffer.from(content).toString('base64') } });
    set.manifest(
      {
        mediaType: TYPE.image,
        artifactType: 'application/vnd.example.data',
        config: set.empty(),
        layers: [layer],
      },
      { tags: ['data-field'] },
    );
  },
  'non-distributable-layers': (set) => {
    const layers = [1, 2].map((one) =>
      set.blob(TYPE.nondistributable, {
        absent: true,
        more: { urls: [`https://store.example.com/layers/${one}`] },
      }),
    );
    const config = set.config();
    set.manifest({ mediaType: TYPE.image, config, layers }, { tags: ['non-distributable-layers'] });
  },
  'custom-fields': (set) => {
    const custom = { 'org.example.custom': 'field', customList: [1, 'two', { three: null }] };
    const layer = set.blob(TYPE.layerGzip, { more: custom });
    const content = JSON.stringify({ architecture: 'amd64', os: 'linux', ...custom, nonce: layer.digest });
    const config = set.blob(TYPE.config, { content, more: custom });
    const image = set.manifest({ mediaType: TYPE.image, config, layers: [layer], ...custom });
    set.index([{ ...image, ...platform('amd64'), ...custom }], { tags: ['custom-fields'], more: custom });
  },
  'no-layers': (set) => {
    set.image({ tags: ['no-layers'], layers: 0 });
  },
};

/** Referrers of each kind that the list must tell apart. */
function refer(set: DataSet, subject: Descriptor): void {
  for (const one of [1, 2]) {
    const annotations = { 'com.example.kind': `artifact ${one}`, 'com.example.other': 'ü "quoted" <value>' };
    set.artifact(`application/vnd.example.signature.${one}`, { more: { subject, annotations } });
  }
  // No artifactType of its own: the configuration's media type stands for it.
  const config = set.blob('application/vnd.example.config', { content: '{"of":"an older artifact"}' });
  set.manifest({ mediaType: TYPE.image, config, layers: [set.blob(TYPE.octets)], subject });
}

/** The data sets that every run has; each call makes new content. */
export function standardDataSets(): readonly DataSet[] {
  return [...Object.keys(SETS).map((name) => filled(new DataSet(name))), sha512DataSet()];
}

function filled(set: DataSet): DataSet {
  SETS[set.name]?.(set);
  return set;
}

/** A whole tree under sha512, which can only be pushed by digest. */
function sha512DataSet(): DataSet {
  const set = new DataSet('sha512', { algorithm: 'sha512', tagging: 'digest' });
  const subject = set.index(images(set, 2));
  refer(set, subject);
  return set;
}

/** An index and its image, tagged by `?tag=` parameters: the only way to tag sha512 content. */
export function tagParameterDataSet(algorithm: Algorithm): DataSet {
  const set = new DataSet(`tag-param-${algorithm}`, { algorithm, tagging: 'parameters' });
  const child = set.image({ tags: [`${set.name}-child`] });
  const tags = Array.from({ length: 10 }, (_, index) => `${set.name}-${index}`);
  const index = set.index([child], { tags });
  refer(set, index);
  return set;
}

/** Content whose parts were never pushed: a layer, and a child of an index. */
export function sparseDataSet(): DataSet {
  const set = new DataSet('sparse');
  const layers = [set.blob(TYPE.layerGzip), set.blob(TYPE.layerGzip, { absent: true })];
  const config = set.config();
  const image = set.manifest({ mediaType: TYPE.image, config, layers }, { tags: ['sparse-image'] });
  const absent = set.manifest(
    { mediaType: TYPE.image, config: set.config(), layers: [set.blob(TYPE.layer)] },
    { absent: true },
  );
  set.index([image, absent], { tags: ['sparse-index'] });
  return set;
}

/** One image, to be pushed by a digest that is not its own. */
export function badDigestDataSet(): DataSet {
  const set = new DataSet('bad-digest-image', { tagging: 'digest' });
  set.image();
  return set;
}
