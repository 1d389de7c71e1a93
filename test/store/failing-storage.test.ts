/** What is left when the storage fails in the middle of a change: all of it or nothing, and never a lie. */
import { describe, expect, test } from 'bun:test';
import { type StorageDriver, StorageFailure } from '../../src/drivers/driver.ts';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import type { Repository } from '../../src/oci/registry.ts';
import { collect, keysOf } from '../drivers/subject.ts';
import { FiveMethods } from '../drivers/five-methods.ts';
import { bodyOf, imageBytes, OCI_MANIFEST, pushBlob, pushImage, sha256 } from './content.ts';
import { nameOf, newCase, tagOf } from './subject.ts';
import { watched } from './watched-driver.ts';

const CHANGES = new Set(['write', 'move', 'delete', 'openAppend', 'commit']);
const NAME = nameOf('lib/app');

/** Where a driver fails: at its n-th change (from 1), before or after it took effect, once or from then on. */
interface Fault {
  readonly at: number;
  readonly when: 'before' | 'after';
  readonly lasting: boolean;
}

function failing(
  driver: StorageDriver,
  { at, when, lasting }: Fault,
): { driver: StorageDriver; failed(): boolean } {
  let count = 0;
  let failed = false;
  const fail = (method: string, key: string) => {
    if (!CHANGES.has(method)) return;
    count += 1;
    if (count !== at && !(lasting && count > at)) return;
    failed = true;
    throw new StorageFailure(`${method} of ${key} fails (ENOSPC)`, 'ENOSPC');
  };
  return { driver: watched(driver, { [when]: fail }), failed: () => failed };
}

/** Every fault that work with at most so many changes can meet, until one comes that it does not reach. */
function* faults(): Iterable<Fault> {
  for (const when of ['before', 'after'] as const) {
    for (const lasting of [false, true]) for (let at = 1; at <= 40; at += 1) yield { at, when, lasting };
  }
}

const DRIVERS: Readonly<Record<string, () => StorageDriver>> = {
  memory: () => new MemoryDriver(),
  'five methods only': () => new FiveMethods(new MemoryDriver()),
};

async function tagsOf(repository: Repository, tags: readonly string[]): Promise<(string | undefined)[]> {
  return Promise.all(
    tags.map((tag) =>
      repository.manifests.get(tagOf(tag)).then(
        ({ digest }) => digest,
        () => undefined,
      ),
    ),
  );
}

for (const [name, newDriver] of Object.entries(DRIVERS)) {
  describe(`${name}: a storage that fails at any one of its changes`, () => {
    test('a push with several tags moves all of them or none, and can be repeated', async () => {
      const tags = ['v1', 'v2', 'new'];
      let reached = 0;
      for (const fault of faults()) {
        const driver = newDriver();
        const { repository, another } = newCase(driver);
        const old = await pushImage(repository(), ['v1', 'v2']);
        const bytes = imageBytes({ annotations: { is: 'new' }, subject: old });
        const { driver: faulty, failed } = failing(driver, fault);
        const put = (one: Repository) =>
          one.manifests.put({ bytes, mediaType: OCI_MANIFEST, tags: tags.map(tagOf) });
        const acknowledged = await put(another(faulty).repository(NAME)).then(
          () => true,
          () => false,
        );
        if (failed()) reached += 1;
        expect(acknowledged || failed()).toBe(true); // what fails after all is done is not refused
        const now = await tagsOf(another().repository(NAME), tags);
        const before = [old.digest, old.digest, undefined];
        const after = tags.map(() => sha256(bytes));
        if (acknowledged) expect([fault, now]).toEqual([fault, after]);
        else if (!fault.lasting) expect([fault, now]).toEqual([fault, before]);
        // A storage that goes on failing cannot be put back; but each tag leads to a whole manifest.
        else
          for (const [i, digest] of now.entries())
            expect(digest === before[i] || digest === after[i]).toBe(true);
        await put(another().repository(NAME));
        expect(await tagsOf(another().repository(NAME), tags)).toEqual(after);
        const { items } = await repository().referrers.list(old.digest, { limit: 5 });
        expect(items.map(({ digest }) => digest)).toEqual([sha256(bytes)]);
      }
      expect(reached).toBeGreaterThan(20);
    });

    test('an upload is acknowledged only when its blob is there, and nothing unverified is ever reachable', async () => {
      const content = Buffer.from('the content of a blob');
      const digest = sha256(content);
      let reached = 0;
      for (const fault of faults()) {
        const driver = newDriver();
        const { another } = newCase(driver);
        const { driver: faulty, failed } = failing(driver, fault);
        const { uploads } = another(faulty).repository(NAME);
        const started: string[] = [];
        const push = async () => {
          const { id } = await uploads.start();
          started.push(id);
          await uploads.append(id, { body: bodyOf(content.subarray(0, 9)) });
          await uploads.append(id, { body: bodyOf(content.subarray(9)), offset: 9 });
          await uploads.finish(id, digest, { body: null });
        };
        const acknowledged = await push().then(
          () => true,
          () => false,
        );
        if (failed()) reached += 1;
        const { blobs } = another().repository(NAME);
        const body = await blobs.open(digest).then(
          (found) => found.body,
          () => undefined,
        );
        if (acknowledged) expect([fault, body]).not.toEqual([fault, undefined]);
        if (body !== undefined) expect((await collect(body)).equals(content)).toBe(true);
        for (const key of await keysOf(driver, 'docker/registry/v2/blobs/'))
          expect(key).toContain(digest.slice(7));
        // A storage that failed once: the session goes on where it is, or has become the blob.
        const [id] = started;
        if (!acknowledged && !fault.lasting && id !== undefined) {
          const again = another().repository(NAME).uploads;
          const status = await again.status(id).catch(() => undefined);
          if (status === undefined) expect([fault, (await blobs.stat(digest)).size]).toEqual([fault, 21]);
          else {
            const rest = content.subarray(status.offset);
            await again.finish(id, digest, { body: bodyOf(rest), offset: status.offset });
          }
        }
        await pushBlob(another().repository(NAME), content);
        expect((await blobs.stat(digest)).size).toBe(content.length);
      }
      expect(reached).toBeGreaterThan(20);
    });

    test('a deletion that was refused or not: the manifest is whole or gone, and can be deleted again', async () => {
      let finished = 0;
      for (const fault of faults()) {
        const driver = newDriver();
        const { repository, another } = newCase(driver);
        const subject = await pushImage(repository(), []);
        const { digest, size } = await pushImage(repository(), ['a', 'b'], { subject });
        const { driver: faulty, failed } = failing(driver, fault);
        await another(faulty)
          .repository(NAME)
          .manifests.delete(digest)
          .catch(() => undefined);
        const after = another().repository(NAME);
        const found = await after.manifests.get(digest).catch(() => undefined);
        if (!failed()) expect(found).toBeUndefined();
        if (found !== undefined) expect(found.size).toBe(size);
        const tags = await tagsOf(after, ['a', 'b']);
        for (const tag of tags) expect(tag === undefined || tag === digest).toBe(true);
        if (found === undefined) expect(tags).toEqual([undefined, undefined]);
        const listed = (await after.referrers.list(subject.digest, { limit: 5 })).items;
        expect(listed.length).toBe(found === undefined ? 0 : 1);
        // Repeated, it finishes what was left, and only then is there nothing to delete.
        const keys = async () =>
          (await keysOf(driver, '')).filter((key) => /\/tags\/[^/]+\/current\/|\/_referrers\//.test(key));
        const left = await keys();
        const deleteAgain = () =>
          after.manifests.delete(digest).then(
            () => 'done',
            ({ code }) => String(code),
          );
        const isLeft = found !== undefined || left.length > 0;
        expect([fault, await deleteAgain()]).toEqual([fault, isLeft ? 'done' : 'MANIFEST_UNKNOWN']);
        finished += found === undefined && isLeft ? 1 : 0;
        expect([fault, await keys(), await deleteAgain()]).toEqual([fault, [], 'MANIFEST_UNKNOWN']);
      }
      expect(finished).toBeGreaterThan(2);
    });
  });
}

test('what another process stored a moment ago is stored again: it may not have been made durable yet', async () => {
  const driver = new MemoryDriver();
  const { repository, another } = newCase(driver);
  const subject = await pushImage(repository(), []);
  await pushBlob(repository(), '{}');
  const written: string[][] = [[], []];
  const bytes = imageBytes({ annotations: { by: 'two at once' }, subject });
  for (const keys of written) {
    const recording = watched(driver, {
      before: (method, key) => {
        if (method === 'write') keys.push(key);
      },
    });
    await another(recording)
      .repository(NAME)
      .manifests.put({ bytes, mediaType: OCI_MANIFEST, tags: [tagOf('v1'), tagOf('v2')] });
  }
  const [first = [], second = []] = written;
  expect(first.length).toBeGreaterThan(6);
  expect([...new Set(second)].toSorted()).toEqual(first.toSorted());
});
