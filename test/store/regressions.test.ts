/** One test a bug that somebody found by attacking the store. */
import { expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import { parseDigest } from '../../src/oci/digest.ts';
import { parseRepositoryName } from '../../src/oci/name.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { blobKey, revisionLinkKey, trashedLinkKey, uploadPrefix } from '../../src/store/layout.ts';
import { Objects } from '../../src/store/objects.ts';
import { guarded } from '../policy/registry.ts';
import { collectOnce } from '../upkeep/collecting.ts';
import { imageBytes, indexBytes, OCI_INDEX, OCI_MANIFEST, pushImage, sha256 } from './content.ts';
import { refusalOf, tagOf } from './subject.ts';

const NAME = parseRepositoryName('lib/app');
const RULES = { enabled: true, requireChild: () => true, allowUrl: () => true };

function bodyOf(bytes: Uint8Array): ReadableStream<Uint8Array> {
  return new Blob([new Uint8Array(bytes)]).stream();
}

test('a checkpoint that a crash left without its bytes does not vouch for other bytes of the same length', async () => {
  const driver = new MemoryDriver();
  const good = Buffer.from('good bytes');
  const evil = Buffer.from('evil bytes');
  const digest = parseDigest(`sha256:${createHash('sha256').update(good).digest('hex')}`);
  const first = new LocalRegistry(driver, RULES).repository(NAME).uploads;
  const { id } = await first.start();
  await first.append(id, { body: bodyOf(good) });
  await driver.delete([`${uploadPrefix(NAME, id)}data`]);

  const { uploads, blobs } = new LocalRegistry(driver, RULES).repository(NAME);
  // Refused for its length, so that no checkpoint of its own replaces the old one; what came stays.
  await uploads.append(id, { body: bodyOf(evil), size: evil.length + 1 }).catch(() => undefined);
  const finished = await uploads.finish(id, digest).then(
    () => 'finished',
    (error: unknown) => (error as { code?: string }).code,
  );
  expect(finished).toBe('DIGEST_INVALID');
  expect(
    await blobs.stat(digest).then(
      () => 'there',
      () => 'not there',
    ),
  ).toBe('not there');
});

test('a small object that is deleted while it is read, and is there again, is read again', async () => {
  const memory = new MemoryDriver();
  await memory.write('lock', Buffer.from('second'));
  const broken = new ReadableStream<Uint8Array>({
    start: (controller) => controller.error(new Error('ENOENT: no such file or directory')),
  });
  const bodies = [broken, broken];
  const five = {
    read: async (key: string) => bodies.pop() ?? (await memory.read(key)),
    write: memory.write.bind(memory),
    stat: memory.stat.bind(memory),
    list: memory.list.bind(memory),
    delete: memory.delete.bind(memory),
  };
  expect(Buffer.from((await new Objects(five).bytes('lock')) ?? []).toString()).toBe('second');
});

test('who tags an index whose child has lost a layer takes nothing away; a new index over that child is refused', async () => {
  const driver = new MemoryDriver();
  const { another } = guarded({}, driver);
  const { bytes } = await pushImage(another(), ['image'], { layers: ['one', 'two'] });
  const put = (document: Uint8Array, tag: string) =>
    refusalOf(another().manifests.put({ bytes: document, mediaType: OCI_INDEX, tags: [tagOf(tag)] }));
  const index = indexBytes([bytes]);
  expect(await put(index, 'stable')).toStartWith('done');
  await driver.delete([blobKey(sha256('one'))]);
  // Written a moment ago, and asked for by its digest, as a client does that tags it.
  await another().manifests.get(sha256(index));
  expect(await put(index, 'new')).toStartWith('done');
  const doubled = indexBytes([bytes, bytes]);
  expect(await put(doubled, 'other')).toBe('MANIFEST_BLOB_UNKNOWN');
  const image = another().manifests.put({ bytes, mediaType: OCI_MANIFEST, tags: [tagOf('again')] });
  expect(await refusalOf(image)).toBe('MANIFEST_BLOB_UNKNOWN');
  const { items } = await another().tags.list({ limit: 9 });
  expect(items.map(String)).toEqual(['image', 'new', 'stable']);
  for (const tag of items) expect((await another().manifests.get(tag)).bytes.length).toBeGreaterThan(0);
});

test('an index that was taken without its children comes back from the trash where a tag needs it', async () => {
  const driver = new MemoryDriver();
  const sparse = { ...RULES, requireChild: () => false };
  const repository = new LocalRegistry(driver, sparse).repository(NAME);
  const index = indexBytes([imageBytes({ layers: ['elsewhere'] })]);
  await repository.manifests.put({ bytes: index, mediaType: OCI_INDEX, tags: [tagOf('v1')] });
  const digest = sha256(index);
  await driver.move(revisionLinkKey(NAME, digest), trashedLinkKey(NAME, 'revisions', digest));
  await collectOnce(driver, { graceMs: 3_600_000, sparseIndexes: true });
  expect(await refusalOf(repository.manifests.get(tagOf('v1')))).toStartWith('done');
});
