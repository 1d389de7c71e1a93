import { expect, test } from 'bun:test';
import type { Digest } from '../../src/oci/digest.ts';
import { RegistryError } from '../../src/oci/errors.ts';
import { tagLockKey } from '../../src/store/layout.ts';
import { newOwner } from '../../src/store/owner.ts';
import { keysOf } from '../drivers/subject.ts';
import { imageBytes, OCI_MANIFEST, pushBlob, pushImage } from './content.ts';
import { type GetCase, nameOf, refusalOf, tagOf } from './subject.ts';
import { watched } from './watched-driver.ts';

const NAME = nameOf('lib/app');
const TAG = tagOf('v1');

/** Changes of one tag, or of its manifest, that come at the same moment in several processes. */
export function tagRaceCases(get: GetCase): void {
  test('a condition holds against an unconditional change that comes at the same moment', async () => {
    const { repository, another } = get();
    await pushBlob(repository(), '{}');
    for (let round = 0; round < 20; round += 1) {
      const first = await pushImage(repository(), ['v1'], { annotations: { by: `start ${round}` } });
      const order: string[] = [];
      const put = async (by: string, precondition?: (current: Digest | null) => void) => {
        const bytes = imageBytes({ annotations: { by: `${by} ${round}` } });
        const change = { bytes, mediaType: OCI_MANIFEST, tags: [TAG] };
        const { content } = await another()
          .repository(NAME)
          .manifests.put(precondition === undefined ? change : { ...change, precondition });
        order.push(by);
        return content.digest;
      };
      const conditional = put('conditional', (current) => {
        if (current !== first.digest) throw new RegistryError('DENIED', 'changed', { status: 412 });
      });
      const [plain, how] = await Promise.all([put('plain'), refusalOf(conditional)]);
      // Where both were done, the conditional one came first: it had seen the tag before the other moved it.
      expect(await repository().tags.resolve(TAG)).toBe(plain);
      if (how.startsWith('DENIED')) expect(order).toEqual(['plain']);
    }
  });

  test('no listed tag is without its manifest, whether that is deleted or pushed at the same moment', async () => {
    const { repository, another } = get();
    const { bytes, digest } = await pushImage(repository(), ['v1']);
    for (let round = 0; round < 25; round += 1) {
      await Promise.all([
        refusalOf(another().repository(NAME).manifests.delete(digest)),
        another()
          .repository(NAME)
          .manifests.put({ bytes, mediaType: OCI_MANIFEST, tags: [TAG] }),
      ]);
      for (const tag of (await repository().tags.list({ limit: 10 })).items) {
        expect((await repository().manifests.get(tag)).digest).toBe(digest);
      }
    }
  });

  test('a manifest that is pushed anew while it is deleted keeps its tag and its place among the referrers', async () => {
    const { driver, repository, another } = get();
    const subject = await pushImage(repository(), []);
    const referrer = {
      annotations: { a: 'b' },
      subject: { mediaType: OCI_MANIFEST, digest: subject.digest, size: subject.bytes.byteLength },
    };
    const { bytes, digest } = await pushImage(repository(), ['v1'], referrer);
    let again: Promise<unknown> | undefined;
    const slow = watched(driver, {
      async after(method, key) {
        if (method !== 'delete' || !key.includes('/revisions/')) return;
        again ??= another()
          .repository(NAME)
          .manifests.put({ bytes, mediaType: OCI_MANIFEST, tags: [TAG] });
        await again;
      },
    });
    await another(slow).repository(NAME).manifests.delete(digest);
    expect(await repository().tags.resolve(TAG)).toBe(digest);
    const { items } = await repository().referrers.list(subject.digest, { limit: 10 });
    expect(items.map((item) => item.digest)).toEqual([digest]);
  });

  test('a manifest that is deleted while a tag is moved to it is stored anew', async () => {
    const { driver, repository, another } = get();
    const { bytes, digest } = await pushImage(repository(), []);
    let commits = 0;
    let deleted: string | undefined;
    const slow = watched(driver, {
      async before(method, key) {
        commits += method === 'commit' ? 1 : 0;
        const moves = commits === 2 || (method === 'write' && key.includes('/current/'));
        if (moves && deleted === undefined) {
          deleted = '';
          deleted = await refusalOf(another().repository(NAME).manifests.delete(digest));
        }
      },
    });
    await another(slow)
      .repository(NAME)
      .manifests.put({ bytes, mediaType: OCI_MANIFEST, tags: [TAG] });
    expect(deleted).toStartWith('done');
    expect((await repository().manifests.get(TAG)).digest).toBe(digest);
  });

  test('a lock that a crash left behind does not keep anybody waiting', async () => {
    const { driver, repository } = get();
    const dead = newOwner().replace(/-\d+-\d+-/, '-4194999-1-');
    const key = tagLockKey(NAME, TAG);
    await driver.write(key, Buffer.from(dead));
    const { digest } = await pushImage(repository(), ['v1']);
    expect(await repository().tags.resolve(TAG)).toBe(digest);
    await driver.write(key, Buffer.from(dead));
    await repository().tags.delete(TAG);
    expect((await keysOf(driver, '')).filter((left) => left.includes('/_locks/'))).toEqual([]);
  });
}
