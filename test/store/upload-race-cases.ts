import { expect, test } from 'bun:test';
import { canMove, hasLocalFiles } from '../../src/drivers/driver.ts';
import { uploadPrefix } from '../../src/store/layout.ts';
import { newOwner } from '../../src/store/owner.ts';
import { bytes, collect, keysOf, streamOf } from '../drivers/subject.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { bodyOf, sha256 } from './content.ts';
import { type GetCase, nameOf, refusalOf } from './subject.ts';
import { watched } from './watched-driver.ts';

const ROOT = 'docker/registry/v2/';

/** A body that gives its first piece, tells of it, and gives the second one when it is let go. */
function heldBody(first: Uint8Array, second: Uint8Array) {
  const taken = Promise.withResolvers<void>();
  const letGo = Promise.withResolvers<void>();
  let pulls = 0;
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        pulls += 1;
        if (pulls === 1) controller.enqueue(first);
        else if (pulls === 2) {
          taken.resolve();
          await letGo.promise;
          controller.enqueue(second);
        } else controller.close();
      },
    },
    { highWaterMark: 0 },
  );
  return { body, taken: taken.promise, letGo: () => letGo.resolve() };
}

/** Uploads that several requests, processes or crashes have to do with. */
export function uploadRaceCases(get: GetCase): void {
  test('any process goes on with an upload, at every step', async () => {
    const content = randomBytes('processes', 1_200_000);
    const name = nameOf('lib/app');
    const processes = [get().registry, get().another(), get().another()].map(
      (registry) => registry.repository(name).uploads,
    );
    const [one, two, three] = processes;
    if (one === undefined || two === undefined || three === undefined) throw new Error('three were made');
    const { id } = await one.start();
    await one.append(id, { body: bodyOf(content.subarray(0, 300_000)), offset: 0 });
    await two.append(id, { body: bodyOf(content.subarray(300_000, 700_000)), offset: 300_000 });
    await one.append(id, { body: bodyOf(content.subarray(700_000, 700_010)), offset: 700_000 });
    expect((await three.status(id)).offset).toBe(700_010);
    const last = { body: bodyOf(content.subarray(700_010)), offset: 700_010 };
    await three.finish(id, sha256(content), last);
    for (const uploads of processes) expect(await refusalOf(uploads.status(id))).toBe('BLOB_UPLOAD_UNKNOWN');
    const { body } = await get().another().repository(name).blobs.open(sha256(content));
    expect((await collect(body)).equals(content)).toBe(true);
  });

  test('a checkpoint lets another process finish without reading the bytes again', async () => {
    const { driver, repository, another } = get();
    if (!canMove(driver)) return; // without moves each step is a copy
    const content = randomBytes('checkpoint', 900_000);
    const { uploads } = repository();
    const { id } = await uploads.start();
    await uploads.append(id, { body: bodyOf(content.subarray(0, 400_000)) });
    await uploads.append(id, { body: bodyOf(content.subarray(400_000)) });
    const looked: string[] = [];
    const counting = watched(driver, {
      before: (method, key) => {
        if (/^(?:read|readSmall|localPath)$/.test(method) && /\/_?data/.test(key)) looked.push(method);
      },
    });
    const second = another(counting).repository(nameOf('lib/app'));
    await second.uploads.finish(id, sha256(content), { body: null });
    expect(looked).toEqual([]);
    expect((await repository().blobs.stat(sha256(content))).size).toBe(900_000);
    // The counter does see what is read.
    await collect((await second.blobs.open(sha256(content))).body);
    expect(looked).toEqual(['read']);
  });

  test('a checkpoint that does not fit the bytes, or is damaged, counts for nothing', async () => {
    const { driver, repository, another } = get();
    const { uploads } = repository();
    const wrong = 'f'.repeat(64);
    for (const text of ['', '{', 'null', '[]', '{"algorithm":"sha256","offset":3,"hex":7}', 'right before']) {
      const { id } = await uploads.start();
      await uploads.append(id, { body: bodyOf(bytes('abc')) });
      const stale = JSON.stringify({ algorithm: 'sha256', offset: 2, hex: wrong });
      const key = `${uploadPrefix(nameOf('lib/app'), id)}_checkpoint`;
      await driver.write(key, bytes(text === 'right before' ? stale : text));
      const second = another().repository(nameOf('lib/app'));
      await second.uploads.finish(id, sha256('abc'), { body: null });
      expect((await second.blobs.stat(sha256('abc'))).size).toBe(3);
    }
  });

  test('an upload whose writer died is taken over, with what had arrived', async () => {
    const { driver, repository, another } = get();
    const content = randomBytes('dead', 700_000);
    const { uploads } = repository();
    const { id } = await uploads.start();
    await uploads.append(id, { body: bodyOf(content.subarray(0, 300_000)) });
    const prefix = uploadPrefix(nameOf('lib/app'), id);
    const [host] = newOwner().split('-');
    // No process has this number; and this process's number with another beginning is another process.
    for (const dead of [`${host}-4194305-1-aa`, `${host}-${process.pid}-1-bb`]) {
      const left = (await keysOf(driver, prefix)).find((key) => /\/_?data(?:\.|$)/.test(key)) ?? '';
      const arrived = await collect(await driver.read(left));
      await driver.write(`${prefix}_data.${dead}`, arrived);
      await driver.delete([left]);
      // It had written a little more when it died.
      const second = another().repository(nameOf('lib/app')).uploads;
      expect((await second.status(id)).offset).toBe(arrived.length);
      const next = {
        body: bodyOf(content.subarray(arrived.length, arrived.length + 100)),
        offset: arrived.length,
      };
      expect((await second.append(id, next)).offset).toBe(arrived.length + 100);
    }
    const rest = { body: bodyOf(content.subarray(300_200)), offset: 300_200 };
    await another().repository(nameOf('lib/app')).uploads.finish(id, sha256(content), rest);
    expect((await keysOf(driver, ROOT)).filter((key) => key.includes('_uploads'))).toEqual([]);
  });

  test('of several that finish one upload one succeeds, for the others it is unknown', async () => {
    const { registry, another, repository } = get();
    for (let round = 0; round < 8; round += 1) {
      const content = bytes(`finished ${round}`);
      const { id } = await repository().uploads.start();
      await repository().uploads.append(id, { body: bodyOf(content) });
      const registries = [registry, registry, another(), another()];
      const ended = await Promise.all(
        registries.map((one) =>
          refusalOf(one.repository(nameOf('lib/app')).uploads.finish(id, sha256(content), { body: null })),
        ),
      );
      expect(ended.filter((how) => how.startsWith('done'))).toHaveLength(1);
      expect(ended.filter((how) => how === 'BLOB_UPLOAD_UNKNOWN')).toHaveLength(3);
      expect((await repository().blobs.stat(sha256(content))).size).toBe(content.length);
    }
    expect((await keysOf(get().driver, ROOT)).filter((key) => key.includes('_uploads'))).toEqual([]);
  });

  test('writers of one upload take turns: nothing is lost, nothing is mixed', async () => {
    const { registry, another, repository } = get();
    const { id } = await repository().uploads.start();
    const pieces = 'abcdef'.split('').map((letter) => bytes(letter.repeat(50_000)));
    const second = another();
    await Promise.all(
      pieces.map((piece, i) =>
        (i % 2 === 0 ? registry : second)
          .repository(nameOf('lib/app'))
          .uploads.append(id, { body: bodyOf(piece), size: piece.length }),
      ),
    );
    expect((await repository().uploads.status(id)).offset).toBe(300_000);
    const [file] = (await keysOf(get().driver, ROOT)).filter((key) => key.endsWith('/data'));
    const text = (await collect(await get().driver.read(file ?? ''))).toString();
    for (let i = 0; i < 6; i += 1) expect(new Set(text.slice(i * 50_000, (i + 1) * 50_000)).size).toBe(1);
    await repository().uploads.finish(id, sha256(text), { body: null });
  });

  test('of two chunks for one place one is taken', async () => {
    const { repository } = get();
    for (let round = 0; round < 5; round += 1) {
      const { id } = await repository().uploads.start();
      const ended = await Promise.all(
        ['aaaa', 'bbbb'].map((text) =>
          refusalOf(repository().uploads.append(id, { body: bodyOf(bytes(text)), offset: 0 })),
        ),
      );
      expect(ended.filter((how) => how === 'BLOB_UPLOAD_INVALID 416')).toHaveLength(1);
      expect((await repository().uploads.status(id)).offset).toBe(4);
      await repository().uploads.cancel(id);
    }
  });

  test('an upload can be cancelled while it is written: its writer cannot finish it, and nothing stays', async () => {
    const { driver, repository, another } = get();
    const { uploads, blobs } = repository();
    for (const how of ['append', 'finish'] as const) {
      const { id } = await uploads.start();
      const held = heldBody(bytes('first '), bytes('second'));
      const writing = refusalOf(
        how === 'append'
          ? uploads.append(id, { body: held.body })
          : uploads.finish(id, sha256('first second'), { body: held.body }),
      );
      await held.taken;
      await another().repository(nameOf('lib/app')).uploads.cancel(id);
      expect(await refusalOf(uploads.status(id))).toBe('BLOB_UPLOAD_UNKNOWN');
      held.letGo();
      expect(await writing).toBe('BLOB_UPLOAD_UNKNOWN');
      expect(await refusalOf(uploads.status(id))).toBe('BLOB_UPLOAD_UNKNOWN');
      expect(await refusalOf(blobs.stat(sha256('first second')))).toBe('BLOB_UNKNOWN');
    }
    expect((await keysOf(driver, ROOT)).filter((key) => key.includes('_uploads'))).toEqual([]);
  });

  test('a status asked for while the upload is written tells what has arrived', async () => {
    const { repository, another } = get();
    const { id } = await repository().uploads.start();
    const held = heldBody(randomBytes('held', 600_000), bytes('rest'));
    const writing = repository().uploads.append(id, { body: held.body });
    await held.taken;
    const { offset } = await another().repository(nameOf('lib/app')).uploads.status(id);
    expect([0, 600_000]).toContain(offset);
    held.letGo();
    expect((await writing).offset).toBe(600_004);
  });

  test('an upload that registry:2 began is gone on with', async () => {
    const { driver, repository } = get();
    const id = '11111111-2222-4333-8444-555555555555';
    const prefix = uploadPrefix(nameOf('lib/app'), id);
    await driver.write(`${prefix}startedat`, bytes('2026-01-02T03:04:05Z'));
    expect(await repository().uploads.status(id)).toEqual({
      id,
      offset: 0,
      startedAt: Date.UTC(2026, 0, 2, 3, 4, 5),
    });
    await driver.write(`${prefix}data`, bytes('theirs '));
    await driver.write(`${prefix}hashstates/sha256/7`, bytes('not ours to read'));
    await repository().uploads.append(id, { body: streamOf([bytes('ours')]), offset: 7 });
    await repository().uploads.finish(id, sha256('theirs ours'), { body: null });
    expect((await keysOf(driver, ROOT)).filter((key) => key.includes('_uploads'))).toEqual([]);
    const other = '11111111-2222-4333-8444-666666666666';
    await driver.write(`${uploadPrefix(nameOf('lib/app'), other)}startedat`, bytes('2026-01-02T03:04:05Z'));
    await repository().uploads.finish(other, sha256('x'), { body: bodyOf(bytes('x')) });
  });

  test('where objects are files, a large upload is hashed from its file, whatever its name becomes', async () => {
    const { driver, repository, another } = get();
    if (!hasLocalFiles(driver)) return;
    const content = randomBytes('large', 12_000_000);
    for (const finisher of [repository(), another().repository(nameOf('lib/app'))]) {
      const { id } = await repository().uploads.start();
      for (let at = 0; at < content.length; at += 1_500_000) {
        const body = bodyOf(content.subarray(at, at + 1_500_000));
        await repository().uploads.append(id, { body, offset: at });
      }
      await finisher.uploads.finish(id, sha256(content), { body: null });
      await finisher.blobs.delete(sha256(content));
    }
  });
}
