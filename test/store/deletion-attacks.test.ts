/** One test a bug that somebody found by attacking deletions. */
import { expect, test } from 'bun:test';
import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import { PROCESS } from '../../src/process-identity.ts';
import { deleteLinksUnless } from '../../src/store/delete-links.ts';
import { linkKey, revisionLinkKey, tagLockKey } from '../../src/store/layout.ts';
import { Objects } from '../../src/store/objects.ts';
import { openFilesystem } from '../drivers/filesystem-subject.ts';
import { pause } from '../harness/waiting.ts';
import { guarded } from '../policy/registry.ts';
import { keysIn } from '../upkeep/collecting.ts';
import { imageBytes, indexBytes, OCI_INDEX, OCI_MANIFEST, pushImage, sha256 } from './content.ts';
import { nameOf, newCase, refusalOf, tagOf } from './subject.ts';
import { watched } from './watched-driver.ts';

const NAME = nameOf('lib/app');

test('what a deletion puts back is what was there, and no copy that a power cut leaves empty', async () => {
  const { driver, dispose } = await openFilesystem();
  try {
    const objects = new Objects(driver);
    for (const kind of ['layers', 'revisions'] as const) {
      const image = await pushImage(newCase(driver).repository(), ['v1'], { layers: ['layer'] });
      const digest = kind === 'layers' ? sha256('layer') : image.digest;
      const path = objects.localPath(linkKey(NAME, kind, digest)) ?? '';
      const before = statSync(path).ino;
      let asked = 0;
      const stayed = await deleteLinksUnless(objects, NAME, kind, [digest], () => {
        asked += 1;
        return Promise.resolve(new Map(asked === 1 ? [] : [[digest, 'needed']]));
      });
      expect([...stayed.keys()]).toEqual([digest]);
      expect(statSync(path).ino).toBe(before);
    }
  } finally {
    await dispose();
  }
});

test('a folder that a deletion of a manifest has left empty refers to nothing, whoever has its bytes', async () => {
  const { driver, dispose } = await openFilesystem();
  try {
    const { registry } = newCase(driver);
    const [one, other] = [guarded({}, driver).another(), registry.repository(nameOf('lib/other'))];
    for (const repository of [one, other]) {
      const image = await pushImage(repository, ['v1'], { layers: ['layer'] });
      await repository.manifests.put({
        bytes: indexBytes([image.bytes]),
        mediaType: OCI_INDEX,
        tags: [tagOf('all')],
      });
    }
    const image = imageBytes({ layers: ['layer'] });
    const index = sha256(indexBytes([image]));
    await one.manifests.delete(index);
    mkdirSync(dirname(new Objects(driver).localPath(revisionLinkKey(NAME, index)) ?? ''), {
      recursive: true,
    });
    expect(await refusalOf(one.manifests.delete(sha256(image)))).toStartWith('done');
    expect(await refusalOf(one.blobs.delete(sha256('layer')))).toStartWith('done');
    await pushImage(one, ['v1'], { layers: ['layer'] });
    mkdirSync(dirname(new Objects(driver).localPath(revisionLinkKey(NAME, index)) ?? ''), {
      recursive: true,
    });
    expect(await one.delete()).toMatchObject({ manifests: 1, blobs: 2 });
    expect(await keysIn(driver)).not.toContainEqual(expect.stringContaining('repositories/lib/app/'));
  } finally {
    await dispose();
  }
});

test('a repository that is deleted while one of its indexes is goes whole', async () => {
  const memory = new MemoryDriver();
  const { another } = guarded({}, memory);
  const image = await pushImage(another(), ['v1'], { layers: ['layer'] });
  const bytes = indexBytes([image.bytes]);
  await another().manifests.put({ bytes, mediaType: OCI_INDEX, tags: [tagOf('all')] });
  let whole: Promise<unknown> | undefined;
  const driver = watched(memory, {
    async before(method, key) {
      // The index is the deletion's own, and about to go.
      if (method !== 'delete' || whole !== undefined || !/_trash\/revisions\/.*~/.test(key)) return;
      whole = another().delete();
      await pause(30);
    },
  });
  await another(driver).manifests.delete(sha256(bytes));
  expect(await whole).toMatchObject({ manifests: 1, blobs: 2 });
  expect(await keysIn(memory)).not.toContainEqual(expect.stringContaining('repositories/lib/app/'));
});

test('a push that is refused leaves no history of its tag, and what killed ones have left goes with the repository', async () => {
  const driver = new MemoryDriver();
  const { registry } = newCase(driver);
  const repository = registry.repository(NAME);
  const image = await pushImage(repository, [], { layers: ['layer'] });
  await repository.blobs.delete(sha256('layer'));
  const put = repository.manifests.put({
    bytes: indexBytes([image.bytes]),
    mediaType: OCI_INDEX,
    tags: [tagOf('multi')],
  });
  expect(await refusalOf(put)).toStartWith('MANIFEST_BLOB_UNKNOWN');
  expect(await keysIn(driver)).not.toContainEqual(expect.stringContaining('/tags/'));
  const dead = `${PROCESS}-of-one-that-died`;
  const history = `docker/registry/v2/repositories/lib/app/_manifests/tags/old/index/sha256/${'a'.repeat(64)}/link`;
  await driver.write(history, Buffer.from(`sha256:${'a'.repeat(64)}`));
  await driver.write(tagLockKey(NAME, tagOf('old')), Buffer.from(dead));
  await driver.write(tagLockKey(NAME, tagOf('rf')), Buffer.from(dead));
  await repository.delete();
  const left = (await keysIn(driver)).filter((key) => key.includes('repositories/lib/app/'));
  expect({ left, again: await refusalOf(repository.delete()) }).toEqual({ left: [], again: 'NAME_UNKNOWN' });
});

test('a referrer that is pushed while it is deleted is there and listed, or neither', async () => {
  const memory = new MemoryDriver();
  const { another } = newCase(memory);
  const plain = another().repository(NAME);
  const subject = await pushImage(plain, ['v1'], { layers: ['layer'] });
  const bytes = imageBytes({
    layers: ['layer'],
    subject,
  });
  const referrer = { bytes, mediaType: OCI_MANIFEST, tags: [] };
  await plain.manifests.put(referrer);
  let isDeleted = false;
  const driver = watched(memory, {
    async after(method, key) {
      // It was seen, and what belongs to it is written.
      if (isDeleted || method !== 'write' || !key.includes('_referrers/')) return;
      isDeleted = true;
      await plain.manifests.delete(sha256(bytes));
    },
  });
  await another(driver).repository(NAME).manifests.put(referrer);
  expect(isDeleted).toBe(true);
  expect(await refusalOf(plain.manifests.get(sha256(bytes)))).toStartWith('done');
  const { items } = await plain.referrers.list(subject.digest, { limit: 5 });
  expect(items.map(({ digest }) => digest)).toEqual([sha256(bytes)]);
});
