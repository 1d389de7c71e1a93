/** What goes and what stays, over every storage: beside a server and without one. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import { blobKey, linkKey, tagCurrentKey, trashedLinkKey } from '../../src/store/layout.ts';
import { Objects } from '../../src/store/objects.ts';
import { DigestSet } from '../../src/upkeep/digest-set.ts';
import type { Subject } from '../drivers/subject.ts';
import {
  imageBytes,
  indexBytes,
  OCI_INDEX,
  OCI_MANIFEST,
  pushBlob,
  pushImage,
  sha256,
} from '../store/content.ts';
import { type Case, nameOf, newCase, refusalOf, STORAGES, tagOf } from '../store/subject.ts';
import { watched } from '../store/watched-driver.ts';
import { collectOnce, isThere, isWhole, keysIn } from './collecting.ts';

for (const [storage, open] of Object.entries(STORAGES)) {
  for (const exclusive of [false, true]) {
    describe(`over ${storage}, ${exclusive ? 'alone' : 'beside a server'}`, () => {
      let subject: Subject;
      let current: Case;
      beforeEach(async () => {
        subject = await open();
        current = newCase(subject.driver);
      });
      afterEach(async () => {
        const left = await subject.leftovers();
        await subject.dispose();
        expect(left.filter((path) => !/\/_(?:uploads|locks)\/$/.test(path))).toEqual([]);
      });
      const run = (settings: Parameters<typeof collectOnce>[1] = {}) =>
        collectOnce(current.driver, { exclusive, now: later(), ...settings });
      // A moment later than everything that was pushed.
      const later = (by = 3 * 60_000) => {
        let skipped = by;
        return () => Date.now() + (skipped += 60_000);
      };

      test('a blob that no manifest refers to goes, and what an image needs stays', async () => {
        const repository = current.repository('team/app');
        await pushImage(repository, ['v1'], { layers: ['one', 'two'] });
        const left = await pushBlob(repository, 'left over');
        const told = await run({ dryRun: true });
        expect(await isThere(current.driver, blobKey(left.digest))).toBe(true);
        const done = await run();
        expect(done.items).toEqual(told.items);
        expect(done.items.map(({ what }) => what)).toEqual(['link', 'blob']);
        expect(done.summary).toMatchObject({ links: 1, blobs: 1, bytes: 9, manifests: 0 });
        expect(await isThere(current.driver, blobKey(left.digest))).toBe(false);
        expect(await isWhole(current.another(), 'team/app', 'v1')).toBe(true);
        expect((await run()).items).toEqual([]);
        expect((await keysIn(current.driver)).filter((key) => /trash|_entrepot/.test(key))).toEqual([]);
      });

      test('what is young stays, and that is told', async () => {
        const repository = current.repository('team/app');
        await pushBlob(repository, 'an earlier layer');
        const settings = { graceMs: 30 * 60_000 };
        const young = await run({ ...settings, now: later(0) });
        expect(young.items.map(({ what, why }) => [what, why])).toEqual([
          ['kept', expect.stringMatching(/^younger than the grace time of 30m; .*--grace 1m/)],
        ]);
        expect(young.summary).toMatchObject({ young: 1, blobs: 0 });
      });

      test('without remove_untagged every manifest stays; with it children, referrers and theirs stay with their image', async () => {
        const repository = current.repository('team/app');
        const children = [imageBytes({ layers: ['amd64'] }), imageBytes({ layers: ['arm64'] })];
        for (const layer of ['amd64', 'arm64', '{}', 'sbom', 'old', 'orphan', 'deep'])
          await pushBlob(repository, layer);
        for (const bytes of children)
          await repository.manifests.put({ bytes, mediaType: OCI_MANIFEST, tags: [] });
        const inner = indexBytes(children);
        await repository.manifests.put({ bytes: inner, mediaType: OCI_INDEX, tags: [] });
        const outer = Buffer.from(
          JSON.stringify({
            schemaVersion: 2,
            mediaType: OCI_INDEX,
            manifests: [{ mediaType: OCI_INDEX, digest: sha256(inner), size: inner.length }],
          }),
        );
        await repository.manifests.put({ bytes: outer, mediaType: OCI_INDEX, tags: [tagOf('multi')] });
        const refer = async (layer: string, to: Uint8Array | string, type: string) => {
          const digest = typeof to === 'string' ? to : sha256(to);
          const bytes = imageBytes({ layers: [layer], subject: { digest, size: 1 }, artifactType: type });
          await repository.manifests.put({ bytes, mediaType: OCI_MANIFEST, tags: [] });
          return bytes;
        };
        const sbom = await refer('sbom', children[0] ?? '', 'application/sbom');
        await refer('deep', sbom, 'application/signature');
        await refer('orphan', sha256('no such manifest'), 'application/orphan');
        const old = await pushImage(repository, ['old'], { layers: ['old'] });
        await repository.tags.delete(tagOf('old'));

        expect((await run()).items).toEqual([]);
        const told = await run({ untagged: true, dryRun: true });
        const done = await run({ untagged: true });
        expect(done.items).toEqual(told.items);
        expect(done.summary).toMatchObject({ manifests: 2, links: 2 });
        expect(await isWhole(current.another(), 'team/app', 'multi')).toBe(true);
        expect((await repository.referrers.list(sha256(children[0] ?? ''), { limit: 9 })).items).toHaveLength(
          1,
        );
        expect((await repository.referrers.list(sha256(sbom), { limit: 9 })).items).toHaveLength(1);
        const keys = await keysIn(current.driver);
        expect(keys.filter((key) => key.includes(old.digest.slice(7)))).toEqual([]);
        expect(keys.filter((key) => key.includes(sha256('no such manifest').slice(7)))).toEqual([]);
        expect((await run({ untagged: true })).items).toEqual([]);
      });

      test('blobs that several repositories share stay with the last of them; an empty repository goes', async () => {
        await pushImage(current.repository('a/one'), ['v1'], { layers: ['shared'] });
        const second = await pushImage(current.repository('b/two'), ['v1'], { layers: ['shared', 'own'] });
        await current.repository('b/two').manifests.delete(second.digest);
        const done = await run();
        expect(done.items.filter(({ what }) => what === 'repository')).toEqual([
          { what: 'repository', repository: 'b/two', why: 'nothing is left in it' },
        ]);
        expect(await isWhole(current.another(), 'a/one', 'v1')).toBe(true);
        const { items } = await current.another().repositories({ limit: 9 });
        expect(items).toEqual([nameOf('a/one')]);
        expect((await keysIn(current.driver)).filter((key) => key.includes('b/two'))).toEqual([]);
        expect(await isThere(current.driver, blobKey(sha256('own')))).toBe(false);
      });

      test('content of other registries is left to its own rules', async () => {
        await pushBlob(current.repository('proxy/docker.io/library/busybox'), 'cached');
        expect((await run({ untagged: true })).items).toEqual([]);
      });

      test.each([
        [
          'a damaged tag',
          async (tag: string, _image: string) => current.driver.write(tag, Buffer.from('garbage')),
        ],
        ['an empty tag', async (tag: string, _image: string) => current.driver.write(tag, new Uint8Array())],
        [
          'an empty manifest',
          async (_tag: string, image: string) => current.driver.write(image, new Uint8Array()),
        ],
        [
          'a damaged manifest',
          async (_tag: string, image: string) => current.driver.write(image, Buffer.from('{}')),
        ],
        ['a manifest without bytes', async (_tag: string, image: string) => current.driver.delete([image])],
      ])('where there is %s nothing of its repository goes, and it is told', async (_what, damage) => {
        const repository = current.repository('team/app');
        const child = imageBytes({ layers: ['one'] });
        for (const layer of ['one', '{}', 'left over']) await pushBlob(repository, layer);
        await repository.manifests.put({ bytes: child, mediaType: OCI_MANIFEST, tags: [] });
        const index = indexBytes([child]);
        await repository.manifests.put({ bytes: index, mediaType: OCI_INDEX, tags: [tagOf('v1')] });
        await damage(tagCurrentKey(nameOf('team/app'), tagOf('v1')), blobKey(sha256(index)));
        const done = await run({ untagged: true });
        expect(done.items.map(({ what }) => what)).toEqual(['kept']);
        expect(done.summary).toMatchObject({ problems: 1, manifests: 0, blobs: 0 });
        expect(await isWhole(current.another(), 'team/app', sha256(child))).toBe(true);
      });

      test('where a manifest’s bytes are gone nothing of its repository goes, as nobody knows what it needs', async () => {
        const repository = current.repository('team/app');
        const { digest } = await pushImage(repository, ['v1'], { layers: ['one'] });
        await current.driver.delete([blobKey(digest)]);
        const done = await run();
        expect(done.items.map(({ what }) => what)).toEqual(['kept']);
        expect(await isThere(current.driver, blobKey(sha256('one')))).toBe(true);
      });

      test('a blob by sha512, and one that another registry keeps by sha256, stay with their image', async () => {
        const repository = current.repository('team/app');
        const layer = 'long digest';
        const { digest } = await pushBlob(repository, layer, 'sha512');
        await pushBlob(repository, '{}');
        const bytes = Buffer.from(
          imageBytes({ layers: [layer] })
            .toString()
            .replace(sha256(layer), digest),
        );
        await repository.manifests.put({ bytes, mediaType: OCI_MANIFEST, tags: [tagOf('v1')] });
        expect((await run({ untagged: true })).items).toEqual([]);
        expect((await repository.blobs.stat(digest)).size).toBe(layer.length);
      });
    });
  }
}

describe('beside a server', () => {
  const open = async () => {
    const subject = await (STORAGES['memory']?.() ?? Promise.reject(new Error('no storage')));
    return newCase(subject.driver);
  };

  test('what was set aside and is asked for comes back, and a crash in between harms nobody', async () => {
    const current = await open();
    const repository = current.repository('team/app');
    const image = await pushImage(repository, ['v1'], { layers: ['one'] });
    await repository.tags.delete(tagOf('v1'));
    // The collector dies when it has set aside what it found.
    const waited = collectOnce(current.driver, {
      untagged: true,
      now: () => Date.now() + 60_000,
      wait: () => Promise.reject(new Error('killed')),
    });
    await waited.catch(() => undefined);
    const trash = trashedLinkKey(nameOf('team/app'), 'revisions', image.digest);
    expect(await isThere(current.driver, trash)).toBe(true);
    expect(await isThere(current.driver, trashedLinkKey(nameOf('team/app'), 'layers', sha256('one')))).toBe(
      true,
    );
    // By digest, and by a push of an index that refers to it.
    expect(await isWhole(current.another(), 'team/app', image.digest)).toBe(true);
    expect(await isThere(current.driver, trash)).toBe(false);
    const index = indexBytes([image.bytes]);
    await repository.manifests.put({ bytes: index, mediaType: OCI_INDEX, tags: [tagOf('index')] });
    await collectOnce(current.driver, { untagged: true, now: () => Date.now() + 60_000 });
    expect(await isWhole(current.another(), 'team/app', 'index')).toBe(true);
  });

  test('an image that is asked for between the second look and the deletion comes back with its layers', async () => {
    const current = await open();
    const repository = current.repository('team/app');
    const image = await pushImage(repository, ['v1'], { layers: ['one'] });
    await repository.tags.delete(tagOf('v1'));
    const { driver } = current;
    let asked: Promise<unknown> | undefined;
    const asking = new Proxy(driver, {
      get(target, property: keyof typeof driver) {
        if (property !== 'delete') return (target[property] as (...some: unknown[]) => unknown).bind(target);
        return async (keys: readonly string[]) => {
          if (keys.some((key) => key.includes('_trash/'))) {
            asked ??= repository.manifests.get(image.digest).then(async () => {
              const bytes = indexBytes([image.bytes]);
              await repository.manifests.put({ bytes, mediaType: OCI_INDEX, tags: [tagOf('index')] });
            });
            await asked;
          }
          await target.delete(keys);
        };
      },
    });
    await collectOnce(asking, { untagged: true, now: () => Date.now() + 60_000 });
    expect(asked).toBeDefined();
    expect(await isWhole(current.another(), 'team/app', 'index')).toBe(true);
  });

  test('an image whose layer goes between the look at it and its coming back is gone as a whole', async () => {
    const current = await open();
    const repository = current.repository('team/app');
    const image = await pushImage(repository, ['v1'], { layers: ['one'] });
    await repository.tags.delete(tagOf('v1'));
    const name = nameOf('team/app');
    const objects = new Objects(current.driver);
    await objects.move(
      linkKey(name, 'revisions', image.digest),
      trashedLinkKey(name, 'revisions', image.digest),
    );
    const slow = watched(current.driver, {
      before: async (method, key) => {
        if (method !== 'move' || !key.includes(image.digest.slice(-64))) return;
        await current.driver.delete([linkKey(name, 'layers', sha256('one'))]);
      },
    });
    const asked = current.another(slow).repository(name).manifests.get(image.digest);
    expect(await refusalOf(asked)).toBe('MANIFEST_UNKNOWN');
    expect(await isThere(current.driver, linkKey(name, 'revisions', image.digest))).toBe(false);
  });

  test('a question of a pusher keeps a blob for the grace time', async () => {
    const current = await open();
    const repository = current.repository('team/app');
    const { digest } = await pushBlob(repository, 'layer');
    const link = (await keysIn(current.driver)).find((key) => key.includes('_layers')) ?? '';
    const objects = new Objects(current.driver);
    expect((await objects.info(`docker/registry/v2/${link}`))?.size).toBe(digest.length);
    // Its last touch seems two hours ago: by a registry that notes each question.
    const { LocalRegistry } = await import('../../src/store/local-registry.ts');
    const { RULES } = await import('../store/subject.ts');
    const asked = new LocalRegistry(current.driver, RULES, () => 1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const before = (await objects.info(`docker/registry/v2/${link}`))?.modified ?? 0;
    await asked.repository(nameOf('team/app')).blobs.stat(digest);
    expect((await objects.info(`docker/registry/v2/${link}`))?.modified).toBeGreaterThan(before);
  });

  test('bytes of the last minute stay beside a server, and that is told', async () => {
    const current = newCase(new MemoryDriver());
    const { driver } = current;
    await pushImage(current.repository('team/app'), ['v1'], { layers: ['one'] });
    await driver.write(blobKey(sha256('young')), Buffer.from('young'));
    const young = await collectOnce(driver);
    expect(young.items).toEqual([
      { what: 'kept', blobs: 1, why: 'younger than a minute: their link may be on its way' },
    ]);
    expect(young.summary).toMatchObject({ young: 1, blobs: 0 });
    expect((await collectOnce(driver, { exclusive: true })).summary).toMatchObject({ young: 0, blobs: 1 });
  });

  test('alone, another grace time may go', async () => {
    const current = await open();
    await pushBlob(current.repository('team/app'), 'young');
    const settings = { graceMs: 60_000, aloneGraceMs: 0 };
    expect((await collectOnce(current.driver, settings)).summary).toMatchObject({ young: 1, links: 0 });
    await new Promise((resolve) => setTimeout(resolve, 5));
    const alone = await collectOnce(current.driver, { ...settings, exclusive: true });
    expect(alone.items.map(({ what }) => what)).toContain('blob');
  });

  test('only one collects at a time, and one that is stopped goes on where it was', async () => {
    const current = await open();
    for (const name of ['a/one', 'b/two', 'c/three']) await pushBlob(current.repository(name), name);
    const stop = new AbortController();
    let visited = 0;
    const now = () => Date.now() + 60_000;
    const stopped = collectOnce(current.driver, {
      signal: stop.signal,
      now,
      isCached: () => {
        visited += 1;
        if (visited === 2) stop.abort(new Error('stopped'));
        return false;
      },
    });
    const second = collectOnce(current.driver);
    expect(await second.catch((error: Error) => error.name)).toBe('AlreadyCollecting');
    expect(await stopped.catch((error: Error) => error.message)).toBe('stopped');
    const seen: string[] = [];
    const again = await collectOnce(current.driver, { now, dryRun: true });
    expect(again.summary['repositories']).toBe(3);
    await collectOnce(current.driver, {
      now,
      resume: true,
      isCached: (name) => {
        seen.push(name);
        return false;
      },
    });
    expect(seen).toEqual(['c/three']);
    await collectOnce(current.driver, { now });
    expect(await keysIn(current.driver)).toEqual([]);
  });
});

test('a set of digests holds what was added, grows, and survives being written down', () => {
  const set = new DigestSet(4);
  const digests = Array.from({ length: 5000 }, (_, index) => sha256(String(index)));
  for (const digest of digests) expect(set.add(digest)).toBe(true);
  expect(set.add(digests[7] ?? sha256(''))).toBe(false);
  expect(set.size).toBe(5000);
  const again = DigestSet.from(set.bytes());
  expect(digests.every((digest) => again?.has(digest) === true)).toBe(true);
  expect(again?.has(sha256('another'))).toBe(false);
  expect(DigestSet.from(new Uint8Array(12))).toBeUndefined();
});
