import { expect, test } from 'bun:test';
import { brokenStream, bytes, collect, keysOf, stalledStream, streamOf } from '../drivers/subject.ts';
import { failureOf } from '../harness/failure-of.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { blobKey } from '../../src/store/layout.ts';
import { bodyOf, digestBy, pushBlob, sha256 } from './content.ts';
import { type GetCase, refusalOf } from './subject.ts';

const ROOT = 'docker/registry/v2/';

/** Uploads by one client at a time. */
export function uploadCases(get: GetCase): void {
  test('chunks of any size add up, with and without a last one in the closing request', async () => {
    const { uploads, blobs } = get().repository();
    const content = randomBytes('chunks', 2_000_000);
    // Around the sizes at which hashing and writing change their ways, and nothing at all.
    const sizes = [1, 0, 65_536, 262_144, 262_145, 1, 524_288, 300_000];
    for (const withLast of [true, false]) {
      const { id, offset } = await uploads.start();
      expect(offset).toBe(0);
      let at = 0;
      for (const size of sizes) {
        const body = bodyOf(content.subarray(at, at + size));
        expect((await uploads.append(id, { body, offset: at, size })).offset).toBe(at + size);
        at += size;
        expect((await uploads.status(id)).offset).toBe(at);
      }
      const end = withLast ? content.length : at;
      const digest = sha256(content.subarray(0, end));
      const last = withLast ? { body: bodyOf(content.subarray(at)), offset: at } : { body: null };
      expect(await uploads.finish(id, digest, last)).toMatchObject({ digest, size: end });
      expect((await collect((await blobs.open(digest)).body)).equals(content.subarray(0, end))).toBe(true);
      expect(await refusalOf(uploads.status(id))).toBe('BLOB_UPLOAD_UNKNOWN');
    }
  });

  test('a finished, cancelled or unknown upload, and that of another repository, is unknown', async () => {
    const { uploads } = get().repository();
    const finished = await uploads.start();
    await uploads.finish(finished.id, sha256('x'), { body: bodyOf(bytes('x')) });
    const cancelled = await uploads.start();
    await uploads.append(cancelled.id, { body: bodyOf(bytes('x')) });
    await uploads.cancel(cancelled.id);
    const elsewhere = await get().repository('lib').uploads.start();
    const never = '00000000-0000-4000-8000-000000000000';
    for (const id of [finished.id, cancelled.id, elsewhere.id, never]) {
      expect(await refusalOf(uploads.status(id))).toBe('BLOB_UPLOAD_UNKNOWN');
      expect(await refusalOf(uploads.append(id, { body: bodyOf(bytes('x')) }))).toBe('BLOB_UPLOAD_UNKNOWN');
      expect(await refusalOf(uploads.finish(id, sha256('x'), { body: null }))).toBe('BLOB_UPLOAD_UNKNOWN');
      expect(await refusalOf(uploads.cancel(id))).toBe('BLOB_UPLOAD_UNKNOWN');
    }
    await get().repository('lib').uploads.cancel(elsewhere.id);
    expect((await keysOf(get().driver, ROOT)).filter((key) => key.includes('_uploads'))).toEqual([]);
  });

  test('a chunk that does not begin where the last one ended is refused, and the session goes on', async () => {
    const { uploads } = get().repository();
    const { id } = await uploads.start();
    await uploads.append(id, { body: bodyOf(bytes('12345')), offset: 0 });
    for (const offset of [0, 4, 6, 1_000_000]) {
      const chunk = { body: bodyOf(bytes('x')), offset };
      expect(await refusalOf(uploads.append(id, chunk))).toBe('BLOB_UPLOAD_INVALID 416');
      const last = { body: bodyOf(bytes('x')), offset };
      expect(await refusalOf(uploads.finish(id, sha256('x'), last))).toBe('BLOB_UPLOAD_INVALID 416');
      expect((await uploads.status(id)).offset).toBe(5);
    }
    await uploads.finish(id, sha256('1234567'), { body: bodyOf(bytes('67')), offset: 5 });
  });

  test('a wrong digest ends the session, and nothing of it can be read', async () => {
    const { driver, repository } = get();
    const { uploads, blobs } = repository();
    for (const [first, last] of [
      ['', 'content'],
      ['content', ''],
      ['con', 'tent'],
    ] as const) {
      const { id } = await uploads.start();
      if (first !== '') await uploads.append(id, { body: bodyOf(bytes(first)) });
      const chunk = { body: last === '' ? null : bodyOf(bytes(last)) };
      expect(await refusalOf(uploads.finish(id, sha256('another'), chunk))).toBe('DIGEST_INVALID');
      expect(await refusalOf(uploads.status(id))).toBe('BLOB_UPLOAD_UNKNOWN');
    }
    for (const text of ['content', 'another']) {
      expect(await refusalOf(blobs.stat(sha256(text)))).toBe('BLOB_UNKNOWN');
    }
    expect(await keysOf(driver, ROOT)).toEqual([]);
    expect(await repository().exists()).toBe(false);
  });

  test('sha512: announced, or only named at the end, in one piece or several', async () => {
    const { uploads, blobs } = get().repository();
    const content = randomBytes('sha512', 700_000);
    const digest = digestBy('sha512', content);
    for (const algorithm of ['sha512', 'sha256'] as const) {
      for (const cut of [0, 10, 400_000, content.length]) {
        const { id } = await uploads.start({ algorithm });
        if (cut > 0) await uploads.append(id, { body: bodyOf(content.subarray(0, cut)) });
        const body = cut === content.length ? null : bodyOf(content.subarray(cut));
        expect(await uploads.finish(id, digest, { body })).toMatchObject({ digest, size: content.length });
        expect((await collect((await blobs.open(digest)).body)).equals(content)).toBe(true);
        await blobs.delete(digest);
      }
    }
    const { id } = await uploads.start({ algorithm: 'sha512' });
    await uploads.append(id, { body: bodyOf(content) });
    await uploads.finish(id, sha256(content), { body: null });
    expect((await blobs.stat(sha256(content))).size).toBe(content.length);
  });

  test('a blob without bytes', async () => {
    const { uploads, blobs } = get().repository();
    for (const body of [null, streamOf([])]) {
      const { id } = await uploads.start();
      expect(await uploads.finish(id, sha256(''), { body, size: 0 })).toMatchObject({ size: 0 });
      expect((await collect((await blobs.open(sha256(''))).body)).length).toBe(0);
    }
  });

  test('what arrived before a body broke off stays and counts', async () => {
    const { uploads, blobs } = get().repository();
    const content = randomBytes('broken', 900_000);
    for (const cut of [1, 100_000, 600_000]) {
      const { id } = await uploads.start();
      const pieces = [content.subarray(0, cut >> 1), content.subarray(cut >> 1, cut)];
      const chunk = { body: brokenStream(pieces, new Error('connection reset')), size: content.length };
      expect((await failureOf(uploads.append(id, chunk))).message).toBe('connection reset');
      expect((await uploads.status(id)).offset).toBe(cut);
      const failing = { body: brokenStream([], new Error('again')), offset: cut };
      expect((await failureOf(uploads.finish(id, sha256(content), failing))).message).toBe('again');
      expect((await uploads.status(id)).offset).toBe(cut);
      const rest = { body: bodyOf(content.subarray(cut)), offset: cut };
      await uploads.finish(id, sha256(content), rest);
      expect((await collect((await blobs.open(sha256(content))).body)).equals(content)).toBe(true);
      await blobs.delete(sha256(content));
    }
  });

  test('a body of another size than announced is refused, what fits of it stays', async () => {
    const { uploads } = get().repository();
    const { id } = await uploads.start();
    expect(await refusalOf(uploads.append(id, { body: bodyOf(bytes('12345')), size: 7 }))).toBe(
      'SIZE_INVALID',
    );
    expect((await uploads.status(id)).offset).toBe(5);
    expect(await refusalOf(uploads.append(id, { body: bodyOf(bytes('6789')), size: 2 }))).toBe(
      'SIZE_INVALID',
    );
    expect((await uploads.status(id)).offset).toBe(7);
    const short = { body: bodyOf(bytes('8')), size: 2 };
    expect(await refusalOf(uploads.finish(id, sha256('123456789'), short))).toBe('SIZE_INVALID');
    await uploads.finish(id, sha256('123456789'), { body: bodyOf(bytes('9')), size: 1 });
  });

  test('a body that stalls is given up when the signal says so, and the session goes on', async () => {
    const { uploads } = get().repository();
    const { id } = await uploads.start();
    const controller = new AbortController();
    const reason = new Error('nothing was received');
    const body = stalledStream(bytes('first'), () => controller.abort(reason));
    let progress = 0;
    const appending = uploads.append(id, {
      body,
      signal: controller.signal,
      onProgress: () => (progress += 1),
    });
    expect(await failureOf(appending)).toBe(reason);
    expect(progress).toBe(1);
    expect((await uploads.status(id)).offset).toBe(5);
    await uploads.finish(id, sha256('first'), { body: null });
  });

  test('a blob that is there already is not spoilt by another push of it, nor by a failed one', async () => {
    const { driver, repository } = get();
    const { uploads, blobs } = repository();
    const { digest } = await pushBlob({ uploads }, 'content');
    await pushBlob({ uploads }, 'content');
    await pushBlob(repository('other'), 'content');
    const { id } = await uploads.start();
    await refusalOf(uploads.finish(id, digest, { body: bodyOf(bytes('another')) }));
    expect((await collect((await blobs.open(digest)).body)).toString()).toBe('content');
    const keys = await keysOf(driver, ROOT);
    expect(keys.filter((key) => key.includes('/blobs/'))).toEqual([blobKey(digest)]);
    expect(keys.filter((key) => key.includes('_uploads'))).toEqual([]);
  });
}
