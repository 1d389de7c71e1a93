/**
 * Deletions beside pushes: at each moment of the one the other happens as a whole, in another process. What was acknowledged
 * last must be there as a whole, and what is there must be whole.
 */
import { describe, expect, test } from 'bun:test';
import type { StorageDriver } from '../../src/drivers/driver.ts';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import { isDigest } from '../../src/oci/digest.ts';
import { referencesOf } from '../../src/oci/references.ts';
import type { Repository } from '../../src/oci/registry.ts';
import {
  imageBytes,
  indexBytes,
  OCI_INDEX,
  OCI_MANIFEST,
  pushBlob,
  pushImage,
  sha256,
} from '../store/content.ts';
import { refusalOf, tagOf } from '../store/subject.ts';
import { watched } from '../store/watched-driver.ts';
import { type Given, guarded } from './registry.ts';

const NEW = tagOf('new');
const LAYERS = ['layer', 'shared'];

/** A driver of which each call can be waited for: also those that read little. */
function slow<D extends StorageDriver>(driver: D, before: (method: string, key: string) => Promise<void>): D {
  const all = watched(driver, {
    before: (method, key) => (method === 'list' || method === 'names' ? undefined : before(method, key)),
  });
  return new Proxy(all, {
    has: (target, name) => name !== 'readSmall' && name !== 'statSmall' && Reflect.has(target, name),
  });
}

interface Moment {
  /** How the work went that was interrupted, and what happened in between. */
  readonly work: string;
  readonly meanwhile: string;
  readonly repository: Repository;
}

type Work = (repository: Repository) => Promise<unknown>;

/** Does the work once for each of the storage's calls that it makes, and before that call all of `meanwhile`. */
async function atEachMoment(
  given: Given,
  prepare: Work,
  work: Work,
  meanwhile: Work,
  check: (moment: Moment) => Promise<void>,
): Promise<void> {
  for (let moment = 0; ; moment += 1) {
    const driver = new MemoryDriver();
    const { repository, another } = guarded(given, driver);
    await prepare(repository());
    let calls = 0;
    let other: Promise<string> | undefined;
    const interrupted = slow(driver, async () => {
      calls += 1;
      if (calls !== moment + 1) return;
      // It may have to wait for a lock that the work holds; then it goes on after the work.
      let isWaiting = () => undefined as void;
      const waits = new Promise<void>((resolve) => (isWaiting = resolve));
      const watching = slow(driver, async (method, key) => {
        if (method !== 'write' || !key.includes('/_locks/')) return;
        if (
          await driver.stat(key).then(
            () => true,
            () => false,
          )
        )
          isWaiting();
      });
      other = refusalOf(meanwhile(another(watching)));
      await Promise.race([other, waits]);
    });
    const how = await refusalOf(work(another(interrupted)));
    if (other === undefined) {
      expect(moment).toBeGreaterThan(3);
      return;
    }
    const happened = { work: how, meanwhile: await other, repository: another() };
    try {
      await expectWhole(happened.repository);
      await check(happened);
    } catch (error) {
      throw new Error(`at moment ${moment}, ${JSON.stringify([how, happened.meanwhile])}`, { cause: error });
    }
  }
}

/** Every tag, and what it leads to, is there. */
async function expectWhole(repository: Repository): Promise<void> {
  const { items } = await repository.tags.list({ limit: 100 }).catch(() => ({ items: [] }));
  const open = [...items].map(String);
  for (let reference = open.pop(); reference !== undefined; reference = open.pop()) {
    const manifest = await repository.manifests.get(isDigest(reference) ? reference : tagOf(reference));
    const { required, children } = referencesOf(manifest.bytes);
    for (const digest of required) {
      if (children.includes(digest)) open.push(digest);
      else await repository.blobs.stat(digest);
    }
  }
}

const isDone = (how: string) => how.startsWith('done');
const image = imageBytes({ layers: LAYERS });
const putImage: Work = ({ manifests }) =>
  manifests.put({ bytes: image, mediaType: OCI_MANIFEST, tags: [NEW] });
const pushWhole: Work = (repository) => pushImage(repository, [NEW], { layers: LAYERS });
const putIndex: Work = ({ manifests }) =>
  manifests.put({ bytes: indexBytes([image]), mediaType: OCI_INDEX, tags: [NEW] });
const removeLayer: Work = ({ blobs }) => blobs.delete(sha256('layer'));
const removeImage: Work = ({ manifests }) => manifests.delete(sha256(image));
const removeAll: Work = (repository) => repository.delete();
const readAll: Work = async (repository) => {
  await repository.blobs.stat(sha256('layer')).catch(() => undefined);
  await repository.manifests.get(sha256(image)).catch(() => undefined);
};
const onlyBlobs: Work = async (repository) => {
  for (const text of ['{}', ...LAYERS]) await pushBlob(repository, text);
};
const untagged: Work = (repository) => pushImage(repository, [], { layers: LAYERS });
const tagged: Work = (repository) => pushImage(repository, ['old'], { layers: LAYERS });
const indexed: Work = async (repository) => {
  await tagged(repository);
  await putIndex(repository);
};

const CASES: readonly (readonly [name: string, given: Given, prepare: Work, deletion: Work, push: Work])[] = [
  ['a blob, and a manifest that refers to it', {}, onlyBlobs, removeLayer, putImage],
  ['a blob, and a tag for the manifest', {}, untagged, removeLayer, putImage],
  ['a child, and its index', {}, untagged, removeImage, putIndex],
  ['a manifest, and a tag for it', {}, untagged, removeImage, putImage],
  [
    'a manifest, and an immutable tag for it',
    { immutable: [{ tags: ['new'] }] },
    untagged,
    removeImage,
    putImage,
  ],
  ['a repository, and a manifest', {}, onlyBlobs, removeAll, putImage],
  ['a repository, and an index over what is in it', {}, tagged, removeAll, putIndex],
  ['a repository, and the same index again', {}, indexed, removeAll, putIndex],
  ['a repository, and all of an image', {}, indexed, removeAll, pushWhole],
  ['a repository, and a tag that must stay', { protected: [{ tags: ['new'] }] }, tagged, removeAll, putIndex],
];

describe.each(CASES)('%s', (_, given, prepare, deletion, push) => {
  const mustStay = (given.immutable ?? given.protected) !== undefined;

  test('a push in the midst of the deletion', async () => {
    await atEachMoment(given, prepare, deletion, push, async ({ work, meanwhile, repository }) => {
      if (!mustStay || !isDone(meanwhile)) return;
      // It was told to be there while it must not be deleted.
      expect(await refusalOf(repository.tags.resolve(NEW))).toStartWith('done');
      if (deletion === removeImage) expect(isDone(work)).toBe(false);
    });
  });

  test('the deletion in the midst of a push', async () => {
    await atEachMoment(given, prepare, push, deletion, async ({ work, meanwhile, repository }) => {
      if (isDone(work) && (mustStay || !isDone(meanwhile)))
        expect(await refusalOf(repository.tags.resolve(NEW))).toStartWith('done');
    });
  });

  test('what nobody pushes is gone, whoever reads it at any moment', async () => {
    await atEachMoment({}, prepare, deletion, readAll, async ({ work, repository }) => {
      if (!isDone(work)) return;
      if (deletion === removeLayer)
        expect(await refusalOf(repository.blobs.stat(sha256('layer')))).toBe('BLOB_UNKNOWN');
      else if (deletion === removeImage)
        expect(await refusalOf(repository.manifests.get(sha256(image)))).toBe('MANIFEST_UNKNOWN');
      else expect(await repository.exists()).toBe(false);
    });
    await atEachMoment({}, prepare, readAll, deletion, async ({ meanwhile, repository }) => {
      if (isDone(meanwhile) && deletion === removeAll) expect(await repository.exists()).toBe(false);
    });
  });
});

test('who was about to bring back what is deleted for good does not', async () => {
  const driver = new MemoryDriver();
  const { repository, another } = guarded({}, driver);
  await onlyBlobs(repository());
  let reading: Promise<string> | undefined;
  let goOn = () => undefined as void;
  const held = new Promise<void>((resolve) => (goOn = resolve));
  let isHeld = () => undefined as void;
  const reached = new Promise<void>((resolve) => (isHeld = resolve));
  const reader = slow(driver, async (method, key) => {
    if (reading === undefined || (method !== 'move' && method !== 'write') || !key.includes('_')) return;
    isHeld();
    await held;
  });
  const deleter = slow(driver, async (method, key) => {
    if (method !== 'move' || !key.includes('/_trash/')) return;
    reading ??= refusalOf(another(reader).blobs.stat(sha256('layer')));
    await reached;
  });
  await removeLayer(another(deleter));
  goOn();
  expect(await reading).toBe('BLOB_UNKNOWN');
  expect(await refusalOf(repository().blobs.stat(sha256('layer')))).toBe('BLOB_UNKNOWN');
});
