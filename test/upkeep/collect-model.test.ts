/**
 * Pushes, mounts, deletions and the collector in every order that chance finds: each step in the storage waits until it is
 * chosen. The code is the real one, and so are its looks and second looks; the times for which it waits are left out, and at
 * any step the collector may die. Whatever was acknowledged must be there in the end, and nothing else.
 */
import { expect, test } from 'bun:test';
import * as fc from 'fast-check';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { RegistryError } from '../../src/oci/errors.ts';
import type { Repository } from '../../src/oci/registry.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { imageBytes, indexBytes, OCI_INDEX, OCI_MANIFEST, pushBlob, sha256 } from '../store/content.ts';
import { nameOf, RULES, tagOf } from '../store/subject.ts';
import { collectOnce, keysIn } from './collecting.ts';
import { Killed, StepByStep, Turns } from './step-by-step.ts';

const RUNS = Number(process.env['ENTREPOT_MODEL_RUNS'] ?? 150);
const NAMES = ['a', 'b'];
const LAYERS = ['one', 'two', 'three'];
const TAGS = ['v1', 'v2'];

type Action =
  | { kind: 'push'; name: string; layers: string[]; tag: string }
  | { kind: 'index'; name: string; layers: string[]; tag: string }
  | { kind: 'adopt'; name: string; layers: string[]; tag: string }
  | { kind: 'refer'; name: string; layers: string[] }
  | { kind: 'delete tag'; name: string; tag: string }
  | { kind: 'mount'; name: string; from: string; layers: string[]; tag: string };

const name = fc.constantFrom(...NAMES);
const tag = fc.constantFrom(...TAGS);
const layers = fc.uniqueArray(fc.constantFrom(...LAYERS), { minLength: 1, maxLength: 2 });
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('push' as const), name, layers, tag }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('index' as const), name, layers, tag }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('adopt' as const), name, layers, tag }) },
  fc.record({ kind: fc.constant('refer' as const), name, layers }),
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete tag' as const), name, tag }) },
  fc.record({ kind: fc.constant('mount' as const), name, from: name, layers, tag }),
);

/** What clients were told, by repository and tag. Those who change one tag at once are not told who was last. */
type Told = Map<string, Set<Digest | 'none'>>;

async function quietly<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof RegistryError) return undefined;
    throw error;
  }
}

/** Sends a layer only if it is not there, as clients do. */
async function bring(repository: Repository, layer: string): Promise<void> {
  if ((await quietly(repository.blobs.stat(sha256(layer)))) === undefined) await pushBlob(repository, layer);
}

async function act(
  registry: LocalRegistry,
  one: Action,
  tell: (key: string, what: Digest | 'none') => void,
): Promise<void> {
  const repository = registry.repository(nameOf(one.name));
  const put = async (bytes: Buffer, mediaType: string, tags: readonly string[]) =>
    (await quietly(repository.manifests.put({ bytes, mediaType, tags: tags.map(tagOf) })))?.content.digest;
  switch (one.kind) {
    case 'delete tag': {
      const key = `${one.name}:${one.tag}`;
      const deleted = await quietly(repository.tags.delete(tagOf(one.tag)).then(() => true));
      if (deleted === true) tell(key, 'none');
      return;
    }
    case 'adopt': {
      // An index of what is there already, as tools make it that send no layer.
      const child = imageBytes({ layers: one.layers });
      if ((await quietly(repository.manifests.get(sha256(child)))) === undefined) return;
      const digest = await put(indexBytes([child]), OCI_INDEX, [one.tag]);
      if (digest !== undefined) tell(`${one.name}:${one.tag}`, digest);
      return;
    }
    case 'mount':
      for (const layer of one.layers) {
        const options = { from: nameOf(one.from), mayPull: () => Promise.resolve(true) };
        if ((await repository.blobs.mount(sha256(layer), options)) === undefined)
          await bring(repository, layer);
      }
      break;
    case 'push':
    case 'index':
    case 'refer':
      for (const layer of one.layers) await bring(repository, layer);
  }
  await bring(repository, '{}');
  const image = imageBytes({ layers: one.layers });
  if (one.kind === 'refer') {
    const subject = { digest: sha256(image), size: image.length };
    await put(imageBytes({ layers: one.layers, subject }), OCI_MANIFEST, []);
  } else if (one.kind === 'index') {
    // Asked for before it is sent, as clients do too.
    if ((await quietly(repository.manifests.get(sha256(image)))) === undefined) {
      if ((await put(image, OCI_MANIFEST, [])) === undefined) return;
    }
    const digest = await put(indexBytes([image]), OCI_INDEX, [one.tag]);
    if (digest !== undefined) tell(`${one.name}:${one.tag}`, digest);
  } else {
    const digest = await put(image, OCI_MANIFEST, [one.tag]);
    if (digest !== undefined) tell(`${one.name}:${one.tag}`, digest);
  }
}

/** Everything that a tag needs. @throws what a client would be told that something is missing */
async function needs(repository: Repository, reference: string): Promise<string[]> {
  const { bytes, digest } = await repository.manifests.get(tagOf(reference));
  const document = JSON.parse(Buffer.from(bytes).toString()) as Record<string, unknown>;
  const listed = (key: string) => ((document[key] ?? []) as { digest: string }[]).map((one) => one.digest);
  const config = document['config'] as { digest: string } | undefined;
  const blobs = [...listed('layers'), ...(config === undefined ? [] : [config.digest])];
  for (const blob of blobs) {
    const { body } = await repository.blobs.open(blob as Digest);
    if (sha256(new Uint8Array(await new Response(body).arrayBuffer())) !== blob)
      throw new Error(`${blob} is broken`);
  }
  const below: string[] = [];
  for (const child of listed('manifests')) below.push(...(await needs(repository, child)));
  return [digest, ...blobs, ...below];
}

test('whatever the order of steps, what was acknowledged stays whole, and in the end nothing dead is left', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(action, { minLength: 1, maxLength: 3 }), { minLength: 2, maxLength: 3 }),
      fc.array(fc.nat(30), { minLength: 20, maxLength: 200 }),
      fc.option(fc.nat(250), { nil: undefined }),
      fc.boolean(),
      async (clients, choices, killedAt, untagged) => {
        const storage = new MemoryDriver();
        const turns = new Turns(choices);
        const told: Told = new Map();
        const writers = new Map<string, number>();
        for (const [number, actions] of clients.entries()) {
          for (const one of actions) {
            if (!('tag' in one)) continue;
            const key = `${one.name}:${one.tag}`;
            writers.set(key, (writers.get(key) ?? 0) | (1 << number));
          }
        }
        const tell = (key: string, what: Digest | 'none') => {
          // With one writer it is the last that counts; with several it is one of them.
          const bits = writers.get(key) ?? 0;
          const shared = (bits & (bits - 1)) !== 0;
          const known = told.get(key) ?? new Set();
          if (!shared) known.clear();
          known.add(what);
          told.set(key, known);
        };
        const settings = { untagged, now: () => Date.now() + 60_000, wait: () => turns.take() };
        const work = clients.map(async (actions) => {
          const registry = new LocalRegistry(new StepByStep(storage, turns), RULES, () => 0);
          for (const one of actions) await act(registry, one, tell);
        });
        const dying = new StepByStep(storage, turns, { stepsLeft: killedAt ?? Number.POSITIVE_INFINITY });
        work.push(
          (async () => {
            for (let run = 0; run < 2; run += 1) await collectOnce(dying, settings);
          })().catch((error: unknown) => {
            if (!(error instanceof Killed)) throw error;
          }),
        );
        await turns.run(work);
        await Promise.all(work);

        // The lock of a collector that died is its process's own, which lives on here.
        await storage.delete(['docker/registry/v2/_entrepot/gc/lock']);
        const registry = new LocalRegistry(storage, RULES);
        const check = async () => {
          const live = new Set<string>();
          for (const [key, possible] of told) {
            const [repository = '', reference = ''] = key.split(':');
            const at = registry.repository(nameOf(repository));
            const now = await quietly(at.tags.resolve(tagOf(reference)));
            expect([...possible]).toContain(now ?? 'none');
            if (now !== undefined) for (const digest of await needs(at, reference)) live.add(digest);
          }
          return live;
        };
        await check();
        let skipped = 60_000;
        const later = () => Date.now() + (skipped += 60_000);
        // Nothing may be left: of a collector that died just before, that cannot be told from repositories that are away.
        const last = { untagged: true, now: later, mayBeEmpty: true };
        for (let run = 0; run < 2; run += 1) await collectOnce(storage, last);
        const live = await check();
        expect((await collectOnce(storage, last)).items).toEqual([]);
        const keys = await keysIn(storage);
        const kept = keys.flatMap((key) => /^blobs\/sha256\/..\/([0-9a-f]{64})\/data$/.exec(key)?.[1] ?? []);
        // Referrers of what is kept are kept too, and their layers are those of their subjects.
        const dead = kept.filter((hex) => !live.has(`sha256:${hex}`));
        for (const hex of dead) {
          const bytes = Buffer.from(
            await new Response(
              await storage.read(`docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`),
            ).arrayBuffer(),
          );
          expect(live).toContain(
            (JSON.parse(bytes.toString()) as { subject: { digest: string } }).subject.digest,
          );
        }
        expect(keys.filter((key) => /_trash|_entrepot/.test(key))).toEqual([]);
      },
    ),
    { numRuns: RUNS },
  );
}, 300_000);
