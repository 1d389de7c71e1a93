import { expect, test } from 'bun:test';
import type { Digest } from '../../src/oci/digest.ts';
import { RegistryError } from '../../src/oci/errors.ts';
import { blobKey, revisionLinkKey } from '../../src/store/layout.ts';
import { bytes, keysOf } from '../drivers/subject.ts';
import { failureOf } from '../harness/failure-of.ts';
import {
  ABSENT,
  digestBy,
  imageBytes,
  indexBytes,
  OCI_INDEX,
  OCI_MANIFEST,
  pushBlob,
  pushImage,
  sha256,
} from './content.ts';
import { type GetCase, nameOf, refusalOf, tagOf } from './subject.ts';

/** Manifests: checking, storing, finding, deleting. */
export function manifestCases(get: GetCase): void {
  test('a manifest is given back byte for byte, by digest and by each tag, in every process', async () => {
    const { repository, another } = get();
    await pushBlob(repository(), '{}');
    // White space and key order are part of it.
    const exact = Buffer.from(`${imageBytes().toString().replace('{', '{ \n\t')}\n`);
    const { content, subject } = await repository().manifests.put({
      bytes: exact,
      mediaType: OCI_MANIFEST,
      tags: [tagOf('v1'), tagOf('latest')],
    });
    expect(content).toEqual({ digest: sha256(exact), size: exact.length, mediaType: OCI_MANIFEST });
    expect(subject).toBeUndefined();
    for (const registry of [get().registry, another()]) {
      const { manifests } = registry.repository(nameOf('lib/app'));
      for (const reference of [content.digest, tagOf('v1'), tagOf('latest')]) {
        for (let time = 0; time < 2; time += 1) {
          const { bytes: stored, ...known } = await manifests.get(reference);
          expect(known).toEqual(content);
          expect(Buffer.from(stored).equals(exact)).toBe(true);
        }
      }
    }
  });

  test('a manifest is known to its own repository only, also to a process that has it in memory', async () => {
    const { repository } = get();
    const { digest } = await pushImage(repository('a'), ['v1']);
    await repository('a').manifests.get(digest);
    for (const name of ['b', 'a/b']) {
      for (const reference of [digest, tagOf('v1')]) {
        expect(await refusalOf(repository(name).manifests.get(reference))).toBe('MANIFEST_UNKNOWN');
      }
      expect(await refusalOf(repository(name).manifests.delete(digest))).toMatch(
        /MANIFEST_UNKNOWN|NAME_UNKNOWN/,
      );
    }
  });

  test('a digest that is not the bytes’ own is refused; sha512 is kept by', async () => {
    const { driver, repository } = get();
    const { manifests } = repository();
    await pushBlob(repository(), '{}');
    const manifest = imageBytes();
    const put = (digest: Digest) =>
      manifests.put({ bytes: manifest, mediaType: OCI_MANIFEST, digest, tags: [tagOf('v1')] });
    const before = await keysOf(driver, '');
    for (const wrong of [ABSENT, digestBy('sha512', bytes('x'))]) {
      expect(await refusalOf(put(wrong))).toBe('DIGEST_INVALID');
    }
    expect(await keysOf(driver, '')).toEqual(before);
    const digest = digestBy('sha512', manifest);
    expect((await put(digest)).content.digest).toBe(digest);
    for (const reference of [digest, tagOf('v1')]) {
      expect((await manifests.get(reference)).digest).toBe(digest);
    }
    expect(await refusalOf(manifests.get(sha256(manifest)))).toBe('MANIFEST_UNKNOWN');
  });

  test('what is refused leaves nothing behind', async () => {
    const { driver, repository, registry } = get();
    for (const text of ['', 'no json', '[]', '{}', '{"schemaVersion":1}']) {
      const put = repository().manifests.put({
        bytes: bytes(text),
        mediaType: OCI_MANIFEST,
        tags: [tagOf('v1')],
      });
      expect(await refusalOf(put)).toBe('MANIFEST_INVALID');
    }
    expect(await keysOf(driver, '')).toEqual([]);
    expect((await registry.repositories({ limit: 10 })).items).toEqual([]);
  });

  test('each missing reference is named; blobs of other repositories are missing too', async () => {
    const { repository } = get();
    await pushBlob(repository('other'), 'layer 1');
    await pushBlob(repository(), 'layer 2');
    const manifest = imageBytes({ config: 'config', layers: ['layer 1', 'layer 2', 'layer 3'] });
    const put = () => repository().manifests.put({ bytes: manifest, mediaType: OCI_MANIFEST, tags: [] });
    const failure = await failureOf(put());
    if (!(failure instanceof RegistryError)) throw failure;
    expect(failure.code).toBe('MANIFEST_BLOB_UNKNOWN');
    const named = [failure, ...failure.also].map((entry) => (entry.detail as { digest: string }).digest);
    expect(named.sort()).toEqual([sha256('config'), sha256('layer 1'), sha256('layer 3')].sort());
    for (const text of ['config', 'layer 1', 'layer 3']) await pushBlob(repository(), text);
    await put();
    const index = indexBytes([manifest, imageBytes({ config: 'another' })]);
    const putIndex = repository().manifests.put({ bytes: index, mediaType: OCI_INDEX, tags: [tagOf('v1')] });
    expect(await refusalOf(putIndex)).toBe('MANIFEST_BLOB_UNKNOWN');
    expect(await refusalOf(repository().tags.resolve(tagOf('v1')))).toBe('MANIFEST_UNKNOWN');
  });

  test('an index over what is there, and an empty one in an empty repository', async () => {
    const { repository, registry } = get();
    const { bytes: child } = await pushImage(repository(), []);
    const index = indexBytes([child]);
    await repository().manifests.put({ bytes: index, mediaType: OCI_INDEX, tags: [tagOf('v1')] });
    expect((await repository().manifests.get(tagOf('v1'))).mediaType).toBe(OCI_INDEX);
    await repository('empty').manifests.put({ bytes: indexBytes([]), mediaType: OCI_INDEX, tags: [] });
    expect(await repository('empty').exists()).toBe(true);
    expect((await registry.repositories({ limit: 10 })).items).toEqual([nameOf('empty'), nameOf('lib/app')]);
    expect(await repository('empty').tags.list({ limit: 10 })).toEqual({ items: [], more: false });
  });

  test('a deleted manifest is gone at once in every process, with the tags that pointed at it', async () => {
    const { repository, another } = get();
    const { digest } = await pushImage(repository(), ['v1', 'latest']);
    const kept = await pushImage(repository(), ['v2'], { annotations: { is: 'another' } });
    const other = another().repository(nameOf('lib/app'));
    for (const reference of [digest, tagOf('v1')]) await other.manifests.get(reference);
    await repository().manifests.delete(digest);
    for (const reference of [digest, tagOf('v1'), tagOf('latest')]) {
      expect(await refusalOf(other.manifests.get(reference))).toBe('MANIFEST_UNKNOWN');
      expect(await refusalOf(repository().manifests.get(reference))).toBe('MANIFEST_UNKNOWN');
    }
    expect((await other.tags.list({ limit: 10 })).items).toEqual([tagOf('v2')]);
    expect((await other.manifests.get(kept.digest)).size).toBe(kept.size);
    expect(await refusalOf(other.manifests.delete(digest))).toBe('MANIFEST_UNKNOWN');
    await pushImage(repository(), ['v1']);
    expect((await other.manifests.get(tagOf('v1'))).digest).toBe(digest);
  });

  test('a link whose bytes are gone, or that a crash left empty, is no manifest, and a push heals it', async () => {
    const { driver, repository, another } = get();
    const { digest } = await pushImage(repository(), ['v1']);
    const link = revisionLinkKey(nameOf('lib/app'), digest);
    const damages: Record<string, () => Promise<unknown>> = {
      'an empty link': () => driver.write(link, new Uint8Array()),
      'half a link': () => driver.write(link, bytes(digest.slice(0, 30))),
      'no bytes': () => driver.delete([blobKey(digest)]),
      'half of the bytes': () => driver.write(blobKey(digest), bytes('{')),
    };
    for (const [name, damage] of Object.entries(damages)) {
      await damage();
      const { manifests } = another().repository(nameOf('lib/app'));
      expect([name, await refusalOf(manifests.get(digest))]).not.toEqual([
        name,
        expect.stringContaining('done'),
      ]);
      await pushImage(repository(), ['v1']);
      expect([
        name,
        (await another().repository(nameOf('lib/app')).manifests.get(tagOf('v1'))).digest,
      ]).toEqual([name, digest]);
    }
  });

  test('ten pushes of one manifest at once all succeed', async () => {
    const { repository, another } = get();
    const { bytes: manifest, digest } = await pushImage(repository('seed'), []);
    await pushBlob(repository(), '{}');
    const registries = Array.from({ length: 10 }, () => another());
    await Promise.all(
      registries.map((registry, i) =>
        registry.repository(nameOf('lib/app')).manifests.put({
          bytes: manifest,
          mediaType: OCI_MANIFEST,
          tags: [tagOf('latest'), tagOf(`v${i}`)],
        }),
      ),
    );
    expect((await repository().tags.list({ limit: 100 })).items).toHaveLength(11);
    expect((await repository().manifests.get(tagOf('latest'))).digest).toBe(digest);
  });
}
