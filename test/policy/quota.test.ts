/** What quotas let through and what they refuse, over every kind of storage. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { StorageDriver } from '../../src/drivers/driver.ts';
import type { Repository } from '../../src/oci/registry.ts';
import { bodyOf, imageBytes, OCI_MANIFEST, pushBlob, sha256 } from '../store/content.ts';
import { nameOf, refusalOf, STORAGES, tagOf } from '../store/subject.ts';
import { type QuotaCase, quotaCase } from './quota-case.ts';

const text = (size: number, fill: string) => fill.repeat(size);
/** The smallest image there is. */
const putImage = async (repository: Repository) => {
  await pushBlob(repository, '{}');
  return repository.manifests.put({ bytes: imageBytes({}), mediaType: OCI_MANIFEST, tags: [] });
};
const keysOf = async (driver: StorageDriver, prefix = 'docker/registry/v2/') => {
  const keys: string[] = [];
  for await (const { key } of driver.list(prefix)) if (!key.includes('/_entrepot/')) keys.push(key);
  return keys;
};

for (const [storage, open] of Object.entries(STORAGES)) {
  describe(storage, () => {
    let subject: Awaited<ReturnType<typeof open>>;
    let number = 0;
    beforeAll(async () => {
      subject = await open();
    });
    afterAll(async () => {
      await subject.dispose();
    });

    /** A namespace that no other test has, with 1000 bytes and 2 repositories. */
    function fresh(): QuotaCase & { account: string; at: (name: string) => Repository } {
      number += 1;
      const namespace = `team${number}`;
      const one = quotaCase(subject.driver, [
        { repositories: '{namespace}/*', bytes: 1000, maxRepositories: 2 },
      ]);
      return {
        ...one,
        account: `${namespace}/*`,
        at: (name) => one.registry.repository(nameOf(`${namespace}/${name}`)),
      };
    }

    test('exactly what fits is taken, one byte more is not, and nothing of it is left', async () => {
      const { at, book, account, driver } = fresh();
      await pushBlob(at('a'), text(1000, 'x'));
      expect(await book(account)).toEqual({ bytes: 1000, repositories: 0, reserved: 0 });
      const before = await keysOf(driver);
      expect(await refusalOf(at('a').uploads.start())).toBe('DENIED 413');
      expect(await keysOf(driver)).toEqual(before);
    });

    test('an upload that grows too large is gone, whichever request it was', async () => {
      const { at, book, account, driver } = fresh();
      await pushBlob(at('a'), text(500, 'x'));
      const before = await keysOf(driver);
      const { uploads } = at('a');
      const big = Buffer.from(text(501, 'y'));
      const chunk = { body: bodyOf(big), size: big.length };
      const first = await uploads.start();
      expect(await refusalOf(uploads.append(first.id, chunk))).toBe('DENIED 413');
      expect(await refusalOf(uploads.status(first.id))).toBe('BLOB_UPLOAD_UNKNOWN');
      const second = await uploads.start();
      await uploads.append(second.id, { body: bodyOf(big.subarray(0, 400)), size: 400 });
      expect((await book(account)).reserved).toBe(1);
      const rest = { body: bodyOf(big.subarray(400)), size: 101 };
      expect(await refusalOf(uploads.finish(second.id, sha256(big), rest))).toBe('DENIED 413');
      expect(await book(account)).toEqual({ bytes: 500, repositories: 0, reserved: 0 });
      expect(await keysOf(driver)).toEqual(before);
    });

    test('a body of unknown length is cut where the room ends, and its client is not read any further', async () => {
      const { at, driver, book, account } = fresh();
      const { uploads } = at('a');
      const { id } = await uploads.start();
      let given = 0;
      const endless = new ReadableStream<Uint8Array>(
        {
          pull(controller) {
            given += 100;
            controller.enqueue(new Uint8Array(100));
          },
        },
        { highWaterMark: 0 },
      );
      expect(await refusalOf(uploads.append(id, { body: endless }))).toBe('DENIED 413');
      expect(given).toBe(1100);
      expect((await keysOf(driver)).filter((key) => key.includes(id))).toEqual([]);
      expect(await book(account)).toEqual({ bytes: 0, repositories: 0, reserved: 0 });
    });

    test('what the account has costs nothing, pushed or mounted, also when it is full', async () => {
      const { at, book, account, registry } = fresh();
      const shared = text(900, 's');
      const { digest } = await pushBlob(at('a'), shared);
      await pushBlob(at('b'), shared);
      expect(await book(account)).toEqual({ bytes: 900, repositories: 0, reserved: 0 });
      await pushBlob(at('b'), text(100, 't'));
      const from = nameOf(account.replace('*', 'a'));
      const mounted = await at('b').blobs.mount(digest, { from, mayPull: async () => true });
      expect(mounted?.size).toBe(900);
      expect(await book(account)).toEqual({ bytes: 1000, repositories: 0, reserved: 0 });
      // A name for other bytes opens nothing.
      const outside = registry.repository(nameOf('outside'));
      await pushBlob(outside, text(5000, 'o'));
      expect(await book(account)).toMatchObject({ bytes: 1000 });
    });

    test('a mount that does not fit is refused to who may pull it, and is merely not made for others', async () => {
      const { at, inner, driver } = fresh();
      const outside = nameOf(`outside-${number}`);
      const { digest } = await pushBlob(inner.repository(outside), text(1001, 'm'));
      const before = await keysOf(driver);
      const mount = (may: boolean, from?: typeof outside) =>
        at('a').blobs.mount(digest, { mayPull: async () => may, ...(from === undefined ? {} : { from }) });
      expect(await refusalOf(mount(true, outside))).toBe('DENIED 413');
      expect(await mount(false, outside)).toBeUndefined();
      expect(await mount(true)).toBeUndefined();
      expect(await keysOf(driver)).toEqual(before);
    });

    test('a manifest that does not fit leaves nothing', async () => {
      const { at, driver, book, account } = fresh();
      await pushBlob(at('a'), '{}');
      await pushBlob(at('a'), text(900, 'l'));
      const before = await keysOf(driver);
      const bytes = imageBytes({ layers: [text(900, 'l')] });
      const put = () => at('a').manifests.put({ bytes, mediaType: OCI_MANIFEST, tags: [tagOf('v1')] });
      expect(bytes.length).toBeGreaterThan(100);
      expect(await refusalOf(put())).toBe('DENIED 413');
      expect(await keysOf(driver)).toEqual(before);
      expect(await refusalOf(at('a').tags.resolve(tagOf('v1')))).toBe('MANIFEST_UNKNOWN');
      await at('a').blobs.delete(sha256(text(900, 'l')));
      expect(await book(account)).toEqual({ bytes: 2, repositories: 0, reserved: 0 });
      const small = imageBytes({});
      const { content } = await at('a').manifests.put({
        bytes: small,
        mediaType: OCI_MANIFEST,
        tags: [tagOf('v1')],
      });
      expect(await book(account)).toMatchObject({ bytes: 2 + small.length });
      await at('a').manifests.delete(content.digest);
      expect(await book(account)).toMatchObject({ bytes: 2 });
    });

    test('a repository too many is refused before anything is begun, and the others go on', async () => {
      const { at, driver, account, book, truth } = fresh();
      const { digest } = await pushBlob(at('a'), 'one');
      // A repository counts from its first manifest: what comes to nothing takes nobody's place.
      await pushBlob(at('broken'), 'off');
      const begun = await at('late').uploads.start();
      for (const name of ['a', 'b']) await putImage(at(name));
      const used = (await book(account)).bytes;
      expect(await book(account)).toEqual({ bytes: used, repositories: 2, reserved: 0 });
      expect(await refusalOf(at('late').uploads.finish(begun.id, digest))).toBe('DENIED');
      expect(await refusalOf(putImage(at('broken')))).toBe('DENIED');
      const before = await keysOf(driver);
      expect(await refusalOf(at('c').uploads.start())).toBe('DENIED');
      expect(
        await refusalOf(
          at('c').blobs.mount(digest, { from: nameOf(account.replace('*', 'a')), mayPull: async () => true }),
        ),
      ).toBe('DENIED');
      expect(await keysOf(driver)).toEqual(before);
      await pushBlob(at('a'), 'three');
      expect(await book(account)).toEqual({ bytes: used + 5, repositories: 2, reserved: 0 });
      expect((await truth(account)).repositories).toBe(2);
    });

    test('of pushes at once in two processes as many are taken as fit, to the byte', async () => {
      const one = fresh();
      const { another, account, book, truth } = one;
      const registries = [another(), another()];
      const results = await Promise.all(
        Array.from({ length: 24 }, async (_, index) => {
          const registry = registries[index % 2];
          const name = nameOf(account.replace('*', 'a'));
          return refusalOf(
            pushBlob(registry?.repository(name) ?? one.at('a'), text(100, String.fromCharCode(97 + index))),
          );
        }),
      );
      expect(results.filter((result) => result.startsWith('done')).length).toBe(10);
      expect(results.filter((result) => result === 'DENIED 413').length).toBe(14);
      expect(await book(account)).toEqual({ bytes: 1000, repositories: 0, reserved: 0 });
      expect(await truth(account)).toEqual({ bytes: 1000, repositories: 0 });
    });

    test('of new repositories at once as many are made as may be', async () => {
      const { another, account, truth } = fresh();
      const registries = [another(), another()];
      const results = await Promise.all(
        Array.from({ length: 6 }, (_, index) =>
          refusalOf(
            putImage(
              (registries[index % 2] ?? another()).repository(nameOf(account.replace('*', `r${index}`))),
            ),
          ),
        ),
      );
      expect(results.filter((result) => result.startsWith('done')).length).toBe(2);
      expect((await truth(account)).repositories).toBe(2);
    });
  });
}
