/** What a scrub finds and repairs, over each kind of storage. */
import { afterEach, describe, expect, test } from 'bun:test';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import type { Digest } from '../../src/oci/digest.ts';
import type { Repository } from '../../src/oci/registry.ts';
import {
  layerLinkKey,
  QUARANTINE,
  referrerKey,
  repositoryMarkKey,
  revisionLinkKey,
  tagCurrentKey,
} from '../../src/store/layout.ts';
import type { LocalRegistry } from '../../src/store/local-registry.ts';
import type { Subject } from '../drivers/subject.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { ABSENT, indexBytes, OCI_INDEX, pushBlob, pushImage, sha256 } from '../store/content.ts';
import { nameOf, refusalOf, STORAGES, tagOf } from '../store/subject.ts';
import { linkBytes } from '../../src/store/objects.ts';
import { describeItem } from '../../src/cli/job-report.ts';
import { tagOfManifest } from '../../src/upkeep/scrub-whereabouts.ts';
import { APP, contextOf, damage, openRegistry, scrubbed, snapshot } from './scrubbing.ts';

/** Above what is hashed at once, so that a thread, or several reads, do it. */
const LARGE = randomBytes('large', 700_000).toString('latin1');

for (const [kind, open] of Object.entries(STORAGES)) {
  describe(`scrub over ${kind}`, () => {
    let subject: Subject;
    let registry: LocalRegistry;
    let app: Repository;
    const start = async () => {
      subject = await open();
      registry = openRegistry(subject.driver);
      app = registry.repository(APP);
      return pushImage(app, ['v1', 'latest'], { layers: ['one', LARGE] });
    };
    afterEach(async () => {
      await subject.dispose();
    });

    test('a store that is whole is clean, and stays as it is', async () => {
      const image = await start();
      const child = await pushImage(app, [], { layers: ['two'] });
      const bytes = indexBytes([image.bytes, child.bytes]);
      await app.manifests.put({ bytes, mediaType: OCI_INDEX, tags: [tagOf('multi')] });
      await pushImage(app, [], { layers: ['signature'], subject: image });
      const before = await snapshot(subject.driver);
      for (const repair of [false, true]) {
        const { items, summary } = await scrubbed(subject.driver, { repair });
        expect(items).toEqual([]);
        expect(summary).toMatchObject({
          complete: true,
          found: 0,
          problems: 0,
          repositories: 1,
          manifests: 4,
        });
        expect(summary['blobs']).toBe(9);
      }
      expect(await snapshot(subject.driver)).toEqual(before);
    });

    test('wrong bytes are found, put aside only to repair, and never served again', async () => {
      const { digest: manifest } = await start();
      const large = sha256(Buffer.from(LARGE));
      const one = sha256('one');
      const damages: readonly [string, Digest, (bytes: Buffer) => Uint8Array][] = [
        ['a flipped bit', large, (bytes) => bytes.with(600_000, 1 ^ (bytes[600_000] ?? 0))],
        ['cut short', large, (bytes) => bytes.subarray(0, 300_000)],
        ['nothing left', one, () => new Uint8Array()],
        ["another one's", one, () => Buffer.from('two')],
      ];
      for (const [name, digest, change] of damages) {
        await damage(subject.driver, digest, change);
        const before = await snapshot(subject.driver);
        const found = await scrubbed(subject.driver);
        expect([name, found.told]).toEqual([name, ['wrong digest']]);
        expect(found.items[0]).toMatchObject({ digest, repositories: [APP] });
        expect(await snapshot(subject.driver)).toEqual(before);
        const repaired = await scrubbed(subject.driver, { repair: true });
        expect([name, repaired.told]).toEqual([
          name,
          ['dangling link: removed', 'missing layer', 'wrong digest: quarantined'],
        ]);
        expect(repaired.summary).toMatchObject({ found: 3, repaired: 2, problems: 1 });
        expect(await refusalOf(app.blobs.stat(digest))).toBe('BLOB_UNKNOWN');
        const text = digest === one ? 'one' : LARGE;
        await pushBlob(app, text);
        expect((await scrubbed(subject.driver)).told).toEqual([]);
      }
      const kept: string[] = [];
      for await (const { key, size } of subject.driver.list(QUARANTINE))
        kept.push(`${key.slice(QUARANTINE.length, -60)}${key.slice(-4)} ${size}`);
      expect(kept).toHaveLength(4);
      // The manifest's own bytes.
      await damage(subject.driver, manifest, (bytes) => bytes.subarray(1));
      const fresh = openRegistry(subject.driver).repository(APP);
      // Nothing damaged gets into a cache that would outlive the repair.
      expect(await refusalOf(fresh.manifests.get(manifest))).toBe('MANIFEST_UNKNOWN');
      const told = ['dangling link: removed', 'dangling tag: removed', 'dangling tag: removed'];
      expect((await scrubbed(subject.driver, { repair: true })).told).toEqual([
        ...told,
        'wrong digest: quarantined',
      ]);
      expect(await refusalOf(fresh.manifests.get(tagOf('v1')))).toBe('MANIFEST_UNKNOWN');
      await pushImage(app, ['v1'], { layers: ['one', LARGE] });
      expect((await scrubbed(subject.driver)).told).toEqual([]);
    });

    test('links, tags and what manifests name', async () => {
      const image = await start();
      const { driver } = subject;
      const child = await pushImage(app, [], { layers: ['two'] });
      const bytes = indexBytes([image.bytes, child.bytes]);
      const { content: index } = await app.manifests.put({
        bytes,
        mediaType: OCI_INDEX,
        tags: [tagOf('multi')],
      });
      const one = layerLinkKey(APP, sha256('one'));
      // Empty, as after a crash; another's; of something that is not there.
      await driver.write(one, new Uint8Array());
      await driver.write(layerLinkKey(APP, sha256('two')), Buffer.from(sha256('one')));
      await driver.write(layerLinkKey(APP, ABSENT), Buffer.from(ABSENT));
      await driver.write(revisionLinkKey(APP, image.digest), Buffer.from('sha256:12'));
      const found = await scrubbed(driver);
      expect(found.told).toEqual([
        'damaged link',
        'damaged link',
        'dangling link',
        'dangling tag',
        'dangling tag',
        'missing child',
        'wrong link',
      ]);
      const repaired = await scrubbed(driver, { repair: true });
      expect(repaired.told).toEqual([
        'damaged link: rewritten',
        'damaged link: rewritten',
        'dangling link: removed',
        'wrong link: rewritten',
      ]);
      expect((await scrubbed(driver)).told).toEqual([]);
      expect((await app.blobs.stat(sha256('two'))).size).toBe(3);

      await driver.write(tagCurrentKey(APP, tagOf('v1')), new Uint8Array());
      await driver.write(tagCurrentKey(APP, tagOf('multi')), Buffer.from(ABSENT));
      expect((await scrubbed(driver, { repair: true })).told).toEqual([
        'damaged tag: rewritten',
        'dangling tag: removed',
      ]);
      expect(await app.tags.resolve(tagOf('v1'))).toBe(image.digest);
      // What a deletion that was killed leaves: the link has gone, the bytes and the tag are there.
      const half = await pushImage(app, ['half']);
      await driver.delete([revisionLinkKey(APP, half.digest)]);
      expect((await scrubbed(driver)).told).toEqual(['dangling tag']);
      expect((await scrubbed(driver, { repair: true })).told).toEqual(['dangling tag: removed']);
      // Deleted on purpose or not: nothing brings it back but a push.
      await app.manifests.delete(child.digest);
      await app.blobs.delete(sha256('one'));
      for (const repair of [false, true]) {
        const { items, summary } = await scrubbed(driver, { repair });
        expect(items).toContainEqual({
          what: 'missing child',
          repository: APP,
          manifest: index.digest,
          digest: child.digest,
        });
        expect(items).toContainEqual({
          what: 'missing layer',
          repository: APP,
          manifest: image.digest,
          digest: sha256('one'),
          tag: 'latest',
        });
        expect(summary).toMatchObject({ found: 2, problems: 2 });
      }
      const rules = { enabled: true, requireChild: () => false };
      expect((await scrubbed(driver, { rules })).told).toEqual(['missing layer']);
      expect((await scrubbed(driver, { isOnDemand: () => true })).told).toEqual([]);
    });

    test('referrers and marks', async () => {
      const image = await start();
      const { driver } = subject;
      const signature = await pushImage(app, [], { layers: ['signature'], subject: image });
      const other = await pushImage(app, [], { layers: ['sbom'], subject: image });
      await driver.delete([referrerKey(APP, image.digest, signature.digest)]);
      await driver.write(referrerKey(APP, image.digest, other.digest), Buffer.from('{"digest":'));
      await driver.write(referrerKey(APP, image.digest, ABSENT), Buffer.from('{}'));
      expect((await scrubbed(driver)).told).toEqual([
        'damaged referrer',
        'missing referrer',
        'orphan referrer',
      ]);
      expect((await scrubbed(driver, { repair: true })).told).toEqual([
        'damaged referrer: rewritten',
        'missing referrer: rewritten',
        'orphan referrer: removed',
      ]);
      const listed = await app.referrers.list(image.digest, { limit: 10 });
      expect(listed.items.map(({ digest }) => digest).sort()).toEqual(
        [signature.digest, other.digest].sort(),
      );
      const lone = registry.repository('lone' as typeof APP);
      await lone.manifests.put({ bytes: indexBytes([]), mediaType: OCI_INDEX, tags: [tagOf('empty')] });
      await driver.delete([repositoryMarkKey(lone.name)]);
      expect((await scrubbed(driver, { repair: true })).told).toEqual(['missing mark: rewritten']);
      expect((await scrubbed(driver)).told).toEqual([]);
    });

    test('leftovers are removed to repair, strays only told', async () => {
      await start();
      const { driver } = subject;
      await app.uploads.start();
      const strays = ['blobs/sha256/zz/data', 'blobs/md5/x', 'notes.txt', 'repositories/lib/app/_other/x']
        .concat('repositories/lib/readme.md', 'repositories/lib/app/_manifests/x', 'repositories/Upper/x')
        .map((path) => `docker/registry/v2/${path}`);
      for (const key of strays) await driver.write(key, Buffer.from('x'));
      const kept = await scrubbed(driver, { repair: true });
      expect(kept.told).toEqual(strays.map(() => 'stray'));
      expect(kept.summary).toMatchObject({ found: 0, strays: strays.length });
      await new Promise((resolve) => setTimeout(resolve, 5));
      const old = await scrubbed(driver, { uploadAgeMs: 1 });
      expect(old.told.filter((what) => what !== 'stray')).toEqual(['orphan upload']);
      // Nothing is damaged by it.
      expect(old.summary).toMatchObject({ found: 1, repaired: 0, leftovers: 1, problems: 0 });
      const removed = await scrubbed(driver, { uploadAgeMs: 1, repair: true });
      expect(removed.told.filter((what) => what !== 'stray')).toEqual(['orphan upload: removed']);
      expect(removed.summary).toMatchObject({ found: 1, repaired: 1, leftovers: 0, problems: 0 });
      const gone = await scrubbed(driver, { uploadAgeMs: 1 });
      expect(gone.told).toEqual(strays.map(() => 'stray'));
    });
  });
}

test('the tag of a manifest is found through nested indexes, and a circle of them ends', async () => {
  const driver = new MemoryDriver();
  const { digest: top } = await pushImage(openRegistry(driver).repository(APP), ['v1']);
  const [middle, child, other] = [sha256('middle'), sha256('child'), sha256('other')];
  const children = new Map([
    [top, [middle]],
    [middle, [top, child]],
  ]);
  const read = (digest: Digest) =>
    Promise.resolve({
      manifests: (children.get(digest) ?? []).map((one) => ({ mediaType: '', digest: one, size: 1 })),
    });
  const tools = { ...contextOf(driver), name: APP };
  expect(await tagOfManifest(tools, child, read)).toBe(tagOf('v1'));
  expect(await tagOfManifest(tools, other, read)).toBeUndefined();
});

test('of all repositories that have what is damaged each is named, up to a number', async () => {
  const driver = new MemoryDriver();
  await pushImage(openRegistry(driver).repository(APP), ['v1'], { layers: ['one'] });
  const names = Array.from({ length: 102 }, (_, index) => nameOf(`many/r${String(index).padStart(3, '0')}`));
  for (const name of names) await driver.write(layerLinkKey(name, sha256('one')), linkBytes(sha256('one')));
  await damage(driver, sha256('one'), () => Buffer.from('two'));
  const { items } = await scrubbed(driver);
  const found = items.find(({ what }) => what === 'wrong digest') ?? { what: 'none' };
  expect(found).toMatchObject({ repositories: [APP, ...names.slice(0, 99)], moreRepositories: 3 });
  expect(describeItem(found)).toContain(` repositories ${APP}, many/r000, many/r001 and 100 more`);
});
