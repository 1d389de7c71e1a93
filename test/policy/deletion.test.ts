/** What deletion refuses, what it takes with it, and that a dry run tells what a run does. */
import { afterEach, describe, expect, test } from 'bun:test';
import type { Digest } from '../../src/oci/digest.ts';
import { glob } from '../../src/oci/glob.ts';
import type { Repository } from '../../src/oci/registry.ts';
import { keysOf, type Subject } from '../drivers/subject.ts';
import {
  imageBytes,
  indexBytes,
  OCI_INDEX,
  OCI_MANIFEST,
  pushBlob,
  pushImage,
  sha256,
} from '../store/content.ts';
import { nameOf, refusalOf, STORAGES, tagOf } from '../store/subject.ts';
import { type Given, type Guarded, guarded } from './registry.ts';

let subject: Subject | undefined;
afterEach(async () => {
  await subject?.dispose();
});

async function pushIndex(repository: Repository, tags: readonly string[], children: readonly Uint8Array[]) {
  const bytes = indexBytes(children);
  const { content } = await repository.manifests.put({ bytes, mediaType: OCI_INDEX, tags: tags.map(tagOf) });
  return { digest: content.digest, bytes };
}

describe.each(Object.entries(STORAGES))('over %s', (_, open) => {
  async function start(given: Given = {}): Promise<Guarded> {
    subject = await open();
    return guarded(given, subject.driver);
  }

  describe('what is referred to', () => {
    test('a blob stays as long as a manifest of its repository refers to it, config and layer alike', async () => {
      const { repository } = await start();
      const first = await pushImage(repository(), ['v1'], { layers: ['layer', 'own'] });
      const second = await pushImage(repository(), [], { layers: ['layer'] });
      await pushImage(repository('other'), ['v1'], { layers: ['layer'] });
      for (const text of ['{}', 'layer', 'own'])
        expect(await refusalOf(repository().blobs.delete(sha256(text)))).toBe('DENIED 405');
      await repository().manifests.delete(first.digest);
      await repository().blobs.delete(sha256('own'));
      expect(await refusalOf(repository().blobs.delete(sha256('layer')))).toBe('DENIED 405');
      await repository().manifests.delete(second.digest);
      for (const text of ['{}', 'layer']) {
        await repository().blobs.delete(sha256(text));
        expect(await refusalOf(repository().blobs.stat(sha256(text)))).toBe('BLOB_UNKNOWN');
        expect(await refusalOf(repository().blobs.delete(sha256(text)))).toBe('BLOB_UNKNOWN');
      }
      await repository('other').blobs.stat(sha256('layer'));
    });

    test('a child stays as long as its index, and goes after it; a subject is free', async () => {
      const { repository } = await start();
      const child = await pushImage(repository(), ['amd64']);
      const inner = await pushIndex(repository(), [], [child.bytes]);
      const outer = await pushIndex(repository(), ['v1'], [inner.bytes]);
      expect(await refusalOf(repository().manifests.delete(child.digest))).toBe('DENIED 405');
      expect(await refusalOf(repository().manifests.delete(inner.digest))).toBe('DENIED 405');
      expect(await repository().tags.resolve(tagOf('amd64'))).toBe(child.digest);
      for (const { digest } of [outer, inner, child]) await repository().manifests.delete(digest);
      const signed = await pushImage(repository(), ['signed']);
      await pushImage(repository(), [], { subject: { digest: signed.digest, size: signed.size } });
      await repository().manifests.delete(signed.digest);
    });

    test('with storage.delete.referenced everything can go, as in registry:2', async () => {
      const { repository } = await start({ deleteReferenced: true });
      const child = await pushImage(repository(), []);
      await pushIndex(repository(), ['v1'], [child.bytes]);
      await repository().blobs.delete(sha256('{}'));
      await repository().manifests.delete(child.digest);
    });
  });

  describe('a manifest', () => {
    test('tells which tags went with it', async () => {
      const { repository } = await start({ protected: [{ tags: ['latest'] }] });
      const { digest } = await pushImage(repository(), ['b', 'a']);
      await pushImage(repository(), ['c'], { annotations: { other: 'one' } });
      expect((await repository().manifests.delete(digest, { dryRun: true })).map(String)).toEqual(['a', 'b']);
      expect(await repository().tags.resolve(tagOf('a'))).toBe(digest);
      expect((await repository().manifests.delete(digest)).map(String)).toEqual(['a', 'b']);
      expect((await repository().tags.list({ limit: 9 })).items.map(String)).toEqual(['c']);
    });
  });

  describe('a whole repository', () => {
    async function fill(repository: Repository): Promise<Digest> {
      const child = await pushImage(repository, ['v1', 'v2'], { layers: ['layer', 'another'] });
      const index = await pushIndex(repository, ['multi'], [child.bytes]);
      await pushImage(repository, [], { subject: { digest: index.digest, size: index.bytes.length } });
      await pushBlob(repository, 'alone');
      await repository.uploads.start();
      return child.digest;
    }

    test('goes with all that is in it, and nothing else does; a dry run tells as much', async () => {
      const { repository, driver, registry } = await start();
      await fill(repository('a/b'));
      await fill(repository('a/b/c'));
      await fill(repository('a'));
      const before = await keysOf(driver, '');
      const told = await repository('a/b').delete({ dryRun: true });
      expect(told).toEqual({ tags: 3, manifests: 3, blobs: 4, uploads: 1 });
      expect(await keysOf(driver, '')).toEqual(before);
      expect(await repository('a/b').delete()).toEqual(told);
      const left = (await keysOf(driver, '')).filter((key) => /\/repositories\/a\/b\/_/.test(key));
      expect(left).toEqual([]);
      const { items } = await registry.repositories({ limit: 10 });
      expect(items.map(String)).toEqual(['a', 'a/b/c']);
      expect(await refusalOf(repository('a/b').tags.list({ limit: 1 }))).toBe('NAME_UNKNOWN');
      expect(await refusalOf(repository('a/b').delete())).toBe('NAME_UNKNOWN');
      expect(await refusalOf(repository('a/b').delete({ dryRun: true }))).toBe('NAME_UNKNOWN');
      await fill(repository('a/b'));
      expect((await repository('a/b').manifests.get(tagOf('multi'))).mediaType).toBe(OCI_INDEX);
    });

    test('nothing goes when one of its tags must stay', async () => {
      const { repository, driver } = await start({ immutable: [{ tags: ['v2'] }] });
      await fill(repository());
      const before = await keysOf(driver, '');
      expect(await refusalOf(repository().delete())).toBe('DENIED 409');
      expect(await refusalOf(repository().delete({ dryRun: true }))).toBe('DENIED 409');
      expect(await keysOf(driver, '')).toEqual(before);
    });

    test('one that holds nothing but a damaged manifest, or an upload, can go too', async () => {
      const { repository, driver, registry } = await start();
      const { digest } = await pushImage(repository(), ['v1'], { layers: ['x'] });
      const [data = ''] = (await keysOf(driver, '')).filter((key) => key.includes(`${digest.slice(7)}/data`));
      await driver.delete([data]);
      expect(await repository().delete()).toEqual({ tags: 1, manifests: 1, blobs: 2, uploads: 0 });
      await repository().uploads.start();
      expect(await repository().delete()).toEqual({ tags: 0, manifests: 0, blobs: 0, uploads: 1 });
      expect((await registry.repositories({ limit: 1 })).items).toEqual([]);
    });
  });

  test('tags by a pattern: each is told of, and one that must stay keeps no other', async () => {
    const { repository } = await start({ protected: [{ tags: ['*-keep'] }] });
    const { digest } = await pushImage(repository(), ['dev-1', 'dev-2-keep', 'dev-3', 'v1']);
    const one = { tag: tagOf('dev-1'), digest };
    const kept = { tag: tagOf('dev-2-keep'), digest, kept: expect.stringContaining('is protected') };
    const three = { tag: tagOf('dev-3'), digest };
    const match = glob('dev-*');
    const all = { tags: [one, kept, three] };
    expect(await repository().deleteTags(match, { limit: 9 }, { dryRun: true })).toEqual(all);
    expect(await repository().deleteTags(match, { limit: 2 })).toEqual({ tags: [one, kept], next: kept.tag });
    expect(await repository().deleteTags(match, { limit: 2, last: kept.tag })).toEqual({ tags: [three] });
    expect((await repository().tags.list({ limit: 9 })).items.map(String)).toEqual(['dev-2-keep', 'v1']);
    await repository().manifests.get(digest);
    expect(await refusalOf(repository('none').deleteTags(match, { limit: 1 }))).toBe('NAME_UNKNOWN');
  });
});

test('a blob of a repository with thousands of manifests is looked for in all of them', async () => {
  const { repository } = guarded();
  await pushBlob(repository(), '{}');
  await pushBlob(repository(), 'needle');
  for (let number = 0; number < 1500; number += 1) {
    const bytes = imageBytes({ annotations: { number: String(number) } });
    await repository().manifests.put({ bytes, mediaType: OCI_MANIFEST, tags: [] });
  }
  const last = await pushImage(repository(), [], { layers: ['needle'] });
  for (let round = 0; round < 2; round += 1)
    expect(await refusalOf(repository().blobs.delete(sha256('needle')))).toBe('DENIED 405');
  await repository().manifests.delete(last.digest);
  await repository().blobs.delete(sha256('needle'));
});

test('names of others are not touched', async () => {
  const { registry } = guarded();
  const name = nameOf('a');
  await pushImage(registry.repository(name), ['v1']);
  expect(await refusalOf(registry.repository(nameOf('b')).delete())).toBe('NAME_UNKNOWN');
  expect((await registry.repository(name).tags.list({ limit: 2 })).items.map(String)).toEqual(['v1']);
});
