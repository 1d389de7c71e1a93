/** Random operations on a registry, compared with a model that is too simple to be wrong. */
import { afterAll, expect, test } from 'bun:test';
import * as fc from 'fast-check';
import type { Digest } from '../../src/oci/digest.ts';
import { compareRepositoryNames } from '../../src/oci/name.ts';
import type { Registry } from '../../src/oci/registry.ts';
import { imageBytes, OCI_MANIFEST, pushBlob, sha256 } from './content.ts';
import { nameOf, newCase, refusalOf, STORAGES, tagOf } from './subject.ts';

const NAMES = ['a', 'a/b', 'a-b', 'a/b/c'];
const LAYERS = ['', 'one', 'two', 'x'.repeat(5000)];
const TAGS = ['v1', 'v1-a', 'v1.0', 'latest'];

interface ModelRepository {
  readonly blobs: Set<Digest>;
  readonly manifests: Map<Digest, { readonly subject: Digest | undefined }>;
  readonly tags: Map<string, Digest>;
}

const operation = fc.oneof(
  fc.record({
    kind: fc.constant('push blob'),
    name: fc.constantFrom(...NAMES),
    layer: fc.constantFrom(...LAYERS),
  }),
  fc.record({
    kind: fc.constant('delete blob'),
    name: fc.constantFrom(...NAMES),
    layer: fc.constantFrom(...LAYERS),
  }),
  fc.record({
    kind: fc.constant('mount'),
    name: fc.constantFrom(...NAMES),
    from: fc.option(fc.constantFrom(...NAMES), { nil: undefined }),
    layer: fc.constantFrom(...LAYERS),
  }),
  fc.record({
    kind: fc.constant('push manifest'),
    name: fc.constantFrom(...NAMES),
    layer: fc.constantFrom(...LAYERS),
    number: fc.nat(2),
    subject: fc.option(fc.nat(2), { nil: undefined }),
    tags: fc.uniqueArray(fc.constantFrom(...TAGS), { maxLength: 3 }),
  }),
  fc.record({
    kind: fc.constant('delete manifest'),
    name: fc.constantFrom(...NAMES),
    layer: fc.constantFrom(...LAYERS),
    number: fc.nat(2),
  }),
  fc.record({
    kind: fc.constant('delete tag'),
    name: fc.constantFrom(...NAMES),
    tag: fc.constantFrom(...TAGS),
  }),
);

type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

function manifestOf(layer: string, number: number, subject?: number): Buffer {
  return imageBytes({
    config: layer,
    annotations: { number: String(number) },
    ...(subject === undefined ? {} : { subject: { digest: sha256(`subject ${subject}`), size: 9 } }),
  });
}

class Model {
  readonly #repositories = new Map<string, ModelRepository>();

  at(name: string): ModelRepository {
    const found = this.#repositories.get(name) ?? { blobs: new Set(), manifests: new Map(), tags: new Map() };
    this.#repositories.set(name, found);
    return found;
  }

  exists(name: string): boolean {
    const { blobs, manifests } = this.at(name);
    return blobs.size > 0 || manifests.size > 0;
  }
}

/** Does it to both, and compares how it ended. */
async function apply(step: Operation, model: Model, registry: Registry): Promise<void> {
  const repository = registry.repository(nameOf(step.name));
  const expected = model.at(step.name);
  if ('tag' in step) {
    const target = expected.tags.get(step.tag);
    expected.tags.delete(step.tag);
    expect(await refusalOf(repository.tags.delete(tagOf(step.tag)))).toBe(
      target === undefined ? 'MANIFEST_UNKNOWN' : `done: "${target}"`,
    );
  } else if ('tags' in step) {
    const bytes = manifestOf(step.layer, step.number, step.subject);
    const allowed = expected.blobs.has(sha256(step.layer));
    const put = repository.manifests.put({ bytes, mediaType: OCI_MANIFEST, tags: step.tags.map(tagOf) });
    const how = await refusalOf(put.then(({ content }) => content.digest));
    expect(how).toBe(allowed ? `done: "${sha256(bytes)}"` : 'MANIFEST_BLOB_UNKNOWN');
    if (!allowed) return;
    const subject = step.subject === undefined ? undefined : sha256(`subject ${step.subject}`);
    expected.manifests.set(sha256(bytes), { subject });
    for (const tag of step.tags) expected.tags.set(tag, sha256(bytes));
  } else if ('number' in step) {
    const digest = sha256(manifestOf(step.layer, step.number));
    const known = expected.manifests.delete(digest);
    const tags = [...expected.tags].filter(([, target]) => target === digest).map(([tag]) => tag);
    for (const tag of tags) expected.tags.delete(tag);
    const how = await refusalOf(repository.manifests.delete(digest));
    expect(how).toBe(known ? `done: ${JSON.stringify(tags.sort())}` : 'MANIFEST_UNKNOWN');
  } else if ('from' in step) {
    const digest = sha256(step.layer);
    const sources = step.from === undefined ? NAMES : [step.from];
    const known = sources.some((name) => model.at(name).blobs.has(digest));
    const source = step.from === undefined ? {} : { from: nameOf(step.from) };
    const found = await repository.blobs.mount(digest, { ...source, mayPull: () => Promise.resolve(true) });
    expect(found !== undefined).toBe(known);
    if (known) expected.blobs.add(digest);
  } else if (step.kind === 'push blob') {
    await pushBlob(repository, step.layer);
    expected.blobs.add(sha256(step.layer));
  } else {
    const known = expected.blobs.delete(sha256(step.layer));
    const how = await refusalOf(repository.blobs.delete(sha256(step.layer)));
    expect(how).toBe(known ? 'done: undefined' : 'BLOB_UNKNOWN');
  }
}

/** Compares all that can be seen. */
async function compare(model: Model, registry: Registry): Promise<void> {
  const names = NAMES.filter((name) => model.exists(name)).sort(compareRepositoryNames);
  expect((await registry.repositories({ limit: 100 })).items as readonly string[]).toEqual(names);
  for (const name of NAMES) {
    const { blobs, manifests, tags } = model.at(name);
    const repository = registry.repository(nameOf(name));
    expect(await repository.exists()).toBe(model.exists(name));
    for (const layer of LAYERS) {
      const how = await refusalOf(repository.blobs.stat(sha256(layer)).then(({ size }) => size));
      expect(how).toBe(blobs.has(sha256(layer)) ? `done: ${layer.length}` : 'BLOB_UNKNOWN');
    }
    for (const digest of manifests.keys())
      expect((await repository.manifests.get(digest)).digest).toBe(digest);
    for (const tag of TAGS) {
      const target = tags.get(tag);
      const how = await refusalOf(repository.manifests.get(tagOf(tag)).then(({ digest }) => digest));
      expect(how).toBe(target === undefined ? 'MANIFEST_UNKNOWN' : `done: "${target}"`);
    }
    const listed = await repository.tags.list({ limit: 100 }).then(
      ({ items }) => items as readonly string[],
      () => undefined,
    );
    expect(listed).toEqual(model.exists(name) ? [...tags.keys()].sort() : undefined);
    for (const number of [0, 1, 2]) {
      const subject = sha256(`subject ${number}`);
      const wanted = [...manifests]
        .filter(([, known]) => known.subject === subject)
        .map(([digest]) => digest);
      const { items } = await repository.referrers.list(subject, { limit: 100 });
      expect(items.map(({ digest }) => digest)).toEqual(wanted.sort());
    }
  }
}

const opened: { dispose(): Promise<void> }[] = [];
afterAll(async () => {
  for (const one of opened) await one.dispose();
});

for (const [storage, runs] of [
  ['memory', 60],
  ['filesystem', 8],
  ['memory, five methods only', 25],
] as const) {
  test(`${storage}: any sequence of operations, by two processes in turn, is what the model says`, async () => {
    const open = STORAGES[storage];
    if (open === undefined) throw new Error(`there is no storage called ${storage}`);
    const steps = fc.array(fc.tuple(operation, fc.boolean()), { minLength: 5, maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(steps, async (sequence) => {
        const subject = await open();
        opened.push(subject);
        const { registry, another, driver } = newCase(subject.driver);
        const other = another();
        const model = new Model();
        for (const [step, mine] of sequence) await apply(step, model, mine ? registry : other);
        for (const one of [registry, other, another(driver)]) await compare(model, one);
        await subject.dispose();
      }),
      { numRuns: runs },
    );
  }, 300_000);
}
