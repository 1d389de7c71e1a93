/** What a deletion that was killed leaves: who asks again finishes it, the collector does, and neither brings it to life again. */
import { expect, test } from 'bun:test';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import { RegistryError } from '../../src/oci/errors.ts';
import type { Repository } from '../../src/oci/registry.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { guarded } from '../policy/registry.ts';
import { quotaCase } from '../policy/quota-case.ts';
import { collectOnce, keysIn } from '../upkeep/collecting.ts';
import { Killed, StepByStep, Turns } from '../upkeep/step-by-step.ts';
import { imageBytes, indexBytes, OCI_INDEX, OCI_MANIFEST, pushBlob, pushImage, sha256 } from './content.ts';
import { nameOf, refusalOf, RULES, tagOf } from './subject.ts';
import { watched } from './watched-driver.ts';

const HOUR = 3_600_000;
const IMAGE = imageBytes({ layers: ['one', 'two'] });
const LONE = imageBytes({ layers: ['three'], config: '{"lone":true}' });

const DELETIONS: Readonly<Record<string, (repository: Repository) => Promise<unknown>>> = {
  repository: (repository) => repository.delete(),
  manifest: (repository) => repository.manifests.delete(sha256(LONE)),
  blob: (repository) => repository.blobs.delete(sha256('loose')),
};

async function fill(repository: Repository): Promise<void> {
  const { bytes } = await pushImage(repository, ['v1', 'latest'], { layers: ['one', 'two'] });
  await repository.manifests.put({
    bytes: indexBytes([bytes]),
    mediaType: OCI_INDEX,
    tags: [tagOf('index')],
  });
  await pushImage(repository, ['lone'], { layers: ['three'], config: '{"lone":true}' });
  await pushBlob(repository, 'loose');
}

/** The deletion ends at that step. @returns whether it did not come to its end */
async function dieAt(driver: MemoryDriver, what: string, step: number): Promise<boolean> {
  const turns = new Turns([0]);
  turns.isFree = true;
  const { another } = guarded({}, driver);
  try {
    await DELETIONS[what]?.(another(new StepByStep(driver, turns, { stepsLeft: step })));
    return false;
  } catch (error) {
    if (error instanceof Killed) return true;
    throw error;
  }
}

const answer = (promise: Promise<unknown>) => refusalOf(promise.then(() => undefined));

/** What can be asked for of the repository, and whether it is whole. */
async function told(repository: Repository): Promise<readonly string[]> {
  const here: string[] = [];
  for (const [name, bytes, texts] of [
    ['image', IMAGE, ['{}', 'one', 'two']],
    ['lone', LONE, ['{"lone":true}', 'three']],
    ['index', indexBytes([IMAGE]), ['{}', 'one', 'two']],
  ] as const) {
    if (!(await answer(repository.manifests.get(sha256(bytes)))).startsWith('done')) continue;
    here.push(name);
    for (const text of texts)
      if (!(await answer(repository.blobs.stat(sha256(text)))).startsWith('done'))
        here.push(`${name} broken`);
  }
  if ((await answer(repository.blobs.stat(sha256('loose')))).startsWith('done')) here.push('loose');
  return here;
}

test.each(Object.keys(DELETIONS))('a deletion of a %s that died at any step', async (what) => {
  const before = ['image', 'lone', 'index', 'loose'];
  const gone = what === 'repository' ? before : what === 'manifest' ? ['lone'] : ['loose'];
  const after = before.filter((one) => !gone.includes(one));
  let steps = 0;
  for (let isInterrupted = true; isInterrupted; steps += 1) {
    for (const isRepeated of [true, false]) {
      const driver = new MemoryDriver();
      const { another } = guarded({}, driver);
      await fill(another());
      isInterrupted = await dieAt(driver, what, steps);
      // Asked again it is done, or was done: nothing of it comes back.
      if (isRepeated) await DELETIONS[what]?.(another()).catch(expectUnknown);
      if (isRepeated) expect({ steps, told: await told(another()) }).toEqual({ steps, told: after });
      await collectOnce(driver, { graceMs: HOUR });
      const now = await told(another());
      if (isRepeated) expect({ steps, told: now }).toEqual({ steps, told: after });
      else
        expect({ steps, broken: now.filter((one) => one.includes('broken')) }).toEqual({ steps, broken: [] });
      // Nothing that only it knew is left.
      expect((await keysIn(driver)).filter((key) => key.includes('~'))).toEqual([]);
    }
  }
  expect(steps).toBeGreaterThan(10);
});

function expectUnknown(error: unknown): void {
  expect(error).toBeInstanceOf(RegistryError);
  expect((error as RegistryError).code).toMatch(/_UNKNOWN$/);
}

test('what a dead deletion had taken is in the dry run what it is in the run', async () => {
  const driver = new MemoryDriver();
  const { another } = guarded({}, driver);
  const digests = new Set<string>();
  for (let step = 0; digests.size === 0; step += 1) {
    await fill(another());
    await dieAt(driver, 'repository', step);
    for (const key of await keysIn(driver)) if (/revisions\/.*~/.test(key)) digests.add(key);
  }
  const settings = { untagged: true, exclusive: true, now: () => Date.now() + HOUR };
  const dry = await collectOnce(driver, { ...settings, dryRun: true });
  const run = await collectOnce(driver, settings);
  expect(dry.summary['manifests']).toBeGreaterThan(0);
  for (const field of ['manifests', 'links', 'blobs', 'bytes'])
    expect([field, run.summary[field]]).toEqual([field, dry.summary[field]]);
});

test('quotas: a deletion that died and was asked for again counts nothing after the next count', async () => {
  for (let steps = 0, isInterrupted = true; isInterrupted; steps += 3) {
    const driver = new MemoryDriver();
    const { another, recount, book } = quotaCase(driver, [{ repositories: 't/*', bytes: 1_000_000 }]);
    const name = nameOf('t/a');
    await fill(another().repository(name));
    await recount('t/*');
    const turns = new Turns([0]);
    turns.isFree = true;
    const dying = new LocalRegistry(new StepByStep(driver, turns, { stepsLeft: steps }), RULES);
    isInterrupted =
      (await dying
        .repository(name)
        .delete()
        .catch((error: unknown) => error)) instanceof Killed;
    await another().repository(name).delete().catch(expectUnknown);
    await recount('t/*');
    expect({ steps, ...(await book('t/*')) }).toEqual({ steps, bytes: 0, repositories: 0, reserved: 0 });
  }
});

test.each(['once', 'twice'])(
  'a manifest pushed %s beside a deletion, and refused, is not here, nor after a collection',
  async (times) => {
    const driver = new MemoryDriver();
    const { another } = guarded({}, driver);
    if (times === 'twice') await pushImage(another(), [], { layers: ['one', 'two'] });
    else for (const text of ['{}', 'one', 'two']) await pushBlob(another(), text);
    const digest = sha256(IMAGE);
    let isDeleted = false;
    const slow = watched(driver, {
      before: async (method, key) => {
        const isLink = key.includes(`revisions/sha256/${digest.slice('sha256:'.length)}/link`);
        if (isDeleted || !isLink || !['commit', 'write'].includes(method)) return;
        isDeleted = true;
        await another().delete().catch(expectUnknown);
      },
    });
    expect(
      await refusalOf(another(slow).manifests.put({ bytes: IMAGE, mediaType: OCI_MANIFEST, tags: [] })),
    ).toBe('MANIFEST_BLOB_UNKNOWN');
    expect(await answer(another().manifests.get(digest))).toBe('MANIFEST_UNKNOWN');
    await collectOnce(driver, { graceMs: HOUR });
    expect(await answer(another().manifests.get(digest))).toBe('MANIFEST_UNKNOWN');
    const bytes = indexBytes([IMAGE]);
    expect(await refusalOf(another().manifests.put({ bytes, mediaType: OCI_INDEX, tags: [] }))).toBe(
      'MANIFEST_BLOB_UNKNOWN',
    );
  },
);
