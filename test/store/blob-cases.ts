import { expect, test } from 'bun:test';
import type { Digest } from '../../src/oci/digest.ts';
import { blobKey, layerLinkKey } from '../../src/store/layout.ts';
import { bytes, collect } from '../drivers/subject.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { ABSENT, digestBy, pushBlob, pushImage } from './content.ts';
import { type GetCase, nameOf, refusalOf } from './subject.ts';

const yes = () => Promise.resolve(true);
const no = () => Promise.resolve(false);

/** Blobs: reading, mounting, deleting. */
export function blobCases(get: GetCase): void {
  test('a blob is read whole and in part, and its size is known before', async () => {
    const { blobs, uploads } = get().repository();
    const content = randomBytes('blob', 400_000);
    const { digest } = await pushBlob({ uploads }, content);
    expect(await blobs.stat(digest)).toEqual({
      digest,
      size: 400_000,
      mediaType: 'application/octet-stream',
    });
    const whole = await blobs.open(digest);
    expect(whole.range).toBeUndefined();
    expect((await collect(whole.body)).equals(content)).toBe(true);
    const part = await blobs.open(digest, ({ size }) => ({ start: 5, end: size - 7 }));
    expect(part.range).toEqual({ start: 5, end: 399_993 });
    expect((await collect(part.body)).equals(content.subarray(5, 399_993))).toBe(true);
    const refusal = blobs.open(digest, () => {
      throw new RangeError('not satisfiable');
    });
    expect(await refusal.catch((error: unknown) => error)).toBeInstanceOf(RangeError);
  });

  test('a blob is known only to the repositories that it was pushed to or mounted into', async () => {
    const { digest } = await pushBlob(get().repository('a/one'), 'secret');
    for (const name of ['a', 'a/one/below', 'b']) {
      const { blobs } = get().repository(name);
      expect(await refusalOf(blobs.stat(digest))).toBe('BLOB_UNKNOWN');
      expect(await refusalOf(blobs.open(digest))).toBe('BLOB_UNKNOWN');
      expect(await refusalOf(blobs.delete(digest))).toBe('BLOB_UNKNOWN');
    }
    expect(await refusalOf(get().repository('a/one').blobs.stat(ABSENT))).toBe('BLOB_UNKNOWN');
  });

  test('a manifest can be read as a blob, in its repository', async () => {
    const { digest, bytes: manifest } = await pushImage(get().repository(), ['v1']);
    const { body } = await get().repository().blobs.open(digest);
    expect((await collect(body)).equals(manifest)).toBe(true);
    expect(await refusalOf(get().repository('other').blobs.stat(digest))).toBe('BLOB_UNKNOWN');
  });

  test('a link without bytes behind it, and a damaged link, are no blob', async () => {
    const { driver, repository } = get();
    const { digest } = await pushBlob(repository(), 'x');
    await driver.delete([blobKey(digest)]);
    expect(await refusalOf(repository().blobs.stat(digest))).toBe('BLOB_UNKNOWN');
    await pushBlob(repository(), 'x');
    expect((await repository().blobs.stat(digest)).size).toBe(1);
    for (const damaged of ['', 'sha256:', 'sha256:12', 'nonsense', `${digest} `.repeat(2)]) {
      await driver.write(layerLinkKey(nameOf('lib/app'), digest), bytes(damaged));
      expect(await refusalOf(repository().blobs.stat(digest))).toBe('BLOB_UNKNOWN');
    }
    await driver.write(layerLinkKey(nameOf('lib/app'), digest), bytes(`${digest}\n`));
    expect((await repository().blobs.stat(digest)).size).toBe(1);
  });

  test('a deleted blob is gone at once for every process, and only from its repository', async () => {
    const { repository, another } = get();
    const { digest } = await pushBlob(repository('a'), 'shared');
    await pushBlob(repository('b'), 'shared');
    const second = another();
    await second.repository(nameOf('a')).blobs.stat(digest);
    await repository('a').blobs.delete(digest);
    expect(await refusalOf(second.repository(nameOf('a')).blobs.stat(digest))).toBe('BLOB_UNKNOWN');
    expect(await refusalOf(repository('a').blobs.delete(digest))).toBe('BLOB_UNKNOWN');
    expect((await second.repository(nameOf('b')).blobs.stat(digest)).size).toBe(6);
  });

  test('mount with a source: when it has the blob and may be pulled from', async () => {
    const { repository } = get();
    const { digest } = await pushBlob(repository('from/here'), 'layer');
    const { blobs } = repository('to');
    const from = nameOf('from/here');
    expect(await blobs.mount(digest, { from, mayPull: no })).toBeUndefined();
    expect(await blobs.mount(digest, { from: nameOf('from'), mayPull: yes })).toBeUndefined();
    expect(await blobs.mount(ABSENT, { from, mayPull: yes })).toBeUndefined();
    expect(await refusalOf(blobs.stat(digest))).toBe('BLOB_UNKNOWN');
    expect(await blobs.mount(digest, { from, mayPull: yes })).toMatchObject({ digest, size: 5 });
    expect((await collect((await blobs.open(digest)).body)).toString()).toBe('layer');
    await repository('from/here').blobs.delete(digest);
    expect((await blobs.stat(digest)).size).toBe(5);
  });

  test('mount without a source: found in whatever may be pulled from, by any process', async () => {
    const { repository, another } = get();
    const { digest } = await pushBlob(repository('hidden/one'), 'layer');
    for (const registry of [get().registry, another()]) {
      const { blobs } = registry.repository(nameOf('to'));
      const asked: string[] = [];
      const mayPull = (name: string) => {
        asked.push(name);
        return Promise.resolve(!name.startsWith('hidden'));
      };
      expect(await blobs.mount(digest, { mayPull })).toBeUndefined();
      expect(asked).toContain('hidden/one');
      expect(await blobs.mount(ABSENT, { mayPull: yes })).toBeUndefined();
    }
    await pushBlob(repository('open/one'), 'layer');
    const mayPull = (name: string) => Promise.resolve(!name.startsWith('hidden'));
    const found = await another().repository(nameOf('to')).blobs.mount(digest, { mayPull });
    expect(found).toMatchObject({ digest, size: 5 });
    await repository('open/one').blobs.delete(digest);
    expect((await repository('to').blobs.stat(digest)).size).toBe(5);
  });

  test('mount does not take a repository’s link for its blob', async () => {
    const { driver, repository } = get();
    const { digest } = await pushBlob(repository('a'), 'x');
    await driver.delete([blobKey(digest)]);
    for (const source of [{ from: nameOf('a') }, {}]) {
      expect(await repository('b').blobs.mount(digest, { ...source, mayPull: yes })).toBeUndefined();
    }
    expect(await repository('b').exists()).toBe(false);
  });

  test('a link may name another digest than its path: registry:2 keeps a sha512 push under its sha256', async () => {
    const { driver, repository } = get();
    const content = bytes('pushed by sha512');
    const canonical = digestBy('sha256', content);
    const asked: Digest = digestBy('sha512', content);
    const name = nameOf('lib/app');
    await driver.write(blobKey(canonical), content);
    for (const digest of [canonical, asked]) await driver.write(layerLinkKey(name, digest), bytes(canonical));
    expect(await repository().blobs.stat(asked)).toMatchObject({ digest: asked, size: content.length });
    expect((await collect((await repository().blobs.open(asked)).body)).equals(content)).toBe(true);
    const mounted = await repository('b').blobs.mount(asked, { from: name, mayPull: yes });
    expect(mounted).toMatchObject({ digest: asked });
    expect((await collect((await repository('b').blobs.open(asked)).body)).equals(content)).toBe(true);
    await repository().blobs.delete(asked);
    expect(await refusalOf(repository().blobs.stat(asked))).toBe('BLOB_UNKNOWN');
    expect((await repository().blobs.stat(canonical)).size).toBe(content.length);
  });
}
