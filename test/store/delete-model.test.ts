/**
 * Pushes, deletions and a collector of one repository in every order that chance finds: each step in the storage waits until it
 * is chosen, and deletions may die at any. In the end every tag is whole, and every manifest that can be read.
 */
import { expect, test } from 'bun:test';
import * as fc from 'fast-check';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import { RegistryError } from '../../src/oci/errors.ts';
import { referencesOf } from '../../src/oci/references.ts';
import type { Repository } from '../../src/oci/registry.ts';
import { guarded } from '../policy/registry.ts';
import { collectOnce } from '../upkeep/collecting.ts';
import { Killed, StepByStep, Turns } from '../upkeep/step-by-step.ts';
import { imageBytes, indexBytes, OCI_INDEX, OCI_MANIFEST, pushBlob, sha256 } from './content.ts';
import { refusalOf, tagOf } from './subject.ts';
import { watched } from './watched-driver.ts';

const RUNS = Number(process.env['ENTREPOT_MODEL_RUNS'] ?? 800);
const CONTENT = ['{}', 'one', 'two'];
const NO_MANIFEST = 'no manifest';
const IMAGE = imageBytes({ layers: ['one', 'two'] });
const INDEX = indexBytes([IMAGE]);

const DELETIONS = {
  repository: (repository: Repository) => repository.delete(),
  layer: (repository: Repository) => repository.blobs.delete(sha256('one')),
  manifest: (repository: Repository) => repository.manifests.delete(sha256(IMAGE)),
  index: (repository: Repository) => repository.manifests.delete(sha256(INDEX)),
};

/** The image, or an index over it. */
async function put(repository: Repository, tag: string, isIndex = false): Promise<void> {
  const bytes = isIndex ? INDEX : IMAGE;
  const mediaType = isIndex ? OCI_INDEX : OCI_MANIFEST;
  await repository.manifests.put({ bytes, mediaType, tags: [tagOf(tag)] });
}

/** As clients do: only what is not there is sent. */
async function push(repository: Repository, tag: string, isIndex: boolean): Promise<void> {
  for (const text of CONTENT) {
    if ((await refusalOf(repository.blobs.stat(sha256(text)))).startsWith('done')) continue;
    await pushBlob(repository, text);
  }
  if (isIndex && !(await refusalOf(repository.manifests.get(sha256(IMAGE)))).startsWith('done')) {
    await repository.manifests.put({ bytes: IMAGE, mediaType: OCI_MANIFEST, tags: [] });
  }
  await put(repository, tag, isIndex);
}

/** What clients would be told of what tags need, and of what manifests that are there need. */
async function missing(repository: Repository): Promise<string[]> {
  const { items } = await repository.tags.list({ limit: 100 }).catch(() => ({ items: [] }));
  const told: string[] = [];
  const manifests = [
    ...items.map((tag) => ({ what: String(tag), reference: tag })),
    ...[IMAGE, INDEX].map((bytes) => ({ what: 'digest', reference: sha256(bytes) })),
  ];
  for (const { what, reference } of manifests) {
    const manifest = await repository.manifests.get(reference).catch(() => undefined);
    if (manifest === undefined && what !== 'digest') told.push(`${what}: ${NO_MANIFEST}`);
    for (const digest of manifest === undefined ? [] : referencesOf(manifest.bytes).required) {
      const answer = await refusalOf(repository.blobs.stat(digest));
      if (!answer.startsWith('done')) told.push(`${what}: ${digest} ${answer}`);
    }
  }
  return told;
}

const what = fc.constantFrom(...(Object.keys(DELETIONS) as (keyof typeof DELETIONS)[]));
/** Some at once, or one that may die: of several of which one dies decision 0008 promises less. */
const someDeletions: fc.Arbitrary<readonly { what: keyof typeof DELETIONS; diesAfter?: number }[]> = fc.oneof(
  fc.array(fc.record({ what }), { minLength: 1, maxLength: 3 }),
  fc.tuple(fc.record({ what, diesAfter: fc.nat(80) })),
);

test('whatever the order of steps, what was acknowledged and not deleted is whole', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(30), { minLength: 20, maxLength: 200 }),
      fc.record({ content: fc.boolean(), image: fc.boolean(), another: fc.boolean(), index: fc.boolean() }),
      someDeletions,
      fc.constantFrom(undefined, 0, 50_000),
      async (choices, before, deletions, grace) => {
        const anyDies = deletions.some(({ diesAfter }) => diesAfter !== undefined);
        // What a deletion that dies has put into the trash a moment ago stays there for the grace time.
        const graceMs = grace === 0 && anyDies ? 50_000 : grace;
        const driver = new MemoryDriver();
        const { repository, another } = guarded({}, driver);
        if (before.content) for (const text of CONTENT) await pushBlob(repository(), text);
        if (before.content && before.image) await put(repository(), 'old');
        const turns = new Turns(choices);
        const step = () => new StepByStep(driver, turns);
        const work: Promise<unknown>[] = [push(another(step()), 'new', before.index)];
        if (before.another) work.push(put(another(step()), 'other'));
        for (const { what: kind, diesAfter } of deletions) {
          const life = { stepsLeft: diesAfter ?? Number.POSITIVE_INFINITY };
          work.push(DELETIONS[kind](another(new StepByStep(driver, turns, life))));
        }
        if (graceMs !== undefined)
          work.push(collectOnce(step(), { untagged: true, graceMs, wait: () => turns.take() }));
        const ended = work.map(async (one) => {
          try {
            await one;
          } catch (error) {
            if (!(error instanceof RegistryError) && !(error instanceof Killed)) throw error;
          }
        });
        await turns.run(ended);
        await Promise.all(ended);
        // One that died has left what it had taken, which the next collection brings back, and tags.
        if (anyDies) await collectOnce(driver, { untagged: true, graceMs: 50_000 });
        const isOldDeleted = deletions.some((one) => one.what !== 'layer');
        const told = (await missing(another())).filter(
          (one) => !(isOldDeleted && one.startsWith('old')) && !(anyDies && one.endsWith(NO_MANIFEST)),
        );
        expect(told).toEqual([]);
      },
    ),
    { numRuns: RUNS },
  );
}, 300_000);

test('a push that is taken back leaves the manifest to another push that was told that it is here', async () => {
  const driver = new MemoryDriver();
  const { repository, another } = guarded({}, driver);
  for (const text of CONTENT) await pushBlob(repository(), text);
  const link = `revisions/sha256/${sha256(IMAGE).slice('sha256:'.length)}/link`;
  let isDeleted = false;
  let isBack = false;
  const slow = watched(driver, {
    before: async (method, key) => {
      if (!key.includes(link)) return;
      if (method === 'move' && !isBack) {
        isBack = true;
        await pushBlob(another(), 'one');
        await put(another(), 'b');
      } else if ((method === 'commit' || method === 'write') && !isDeleted) {
        isDeleted = true;
        await another().blobs.delete(sha256('one'));
      }
    },
  });
  expect(await refusalOf(put(another(slow), 'a'))).toBe('MANIFEST_BLOB_UNKNOWN');
  expect([isDeleted, isBack]).toEqual([true, true]);
  expect(await missing(another())).toEqual([]);
  const { items } = await another().tags.list({ limit: 9 });
  expect(items.map(String)).toEqual(['b']);
});
