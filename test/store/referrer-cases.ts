import { expect, test } from 'bun:test';
import type { Digest } from '../../src/oci/digest.ts';
import type { Repository } from '../../src/oci/registry.ts';
import { bytes as textBytes } from '../drivers/subject.ts';
import { referrersPrefix } from '../../src/store/layout.ts';
import {
  ABSENT,
  digestBy,
  imageBytes,
  indexBytes,
  OCI_INDEX,
  OCI_MANIFEST,
  pushBlob,
  pushImage,
} from './content.ts';
import { type GetCase, nameOf, refusalOf, tagOf } from './subject.ts';

/** Pushes referrers of a subject, and returns their digests in order. */
async function refer(
  repository: Repository,
  subject: { digest: string; size: number },
  count: number,
  type = 'application/x.sbom',
): Promise<Digest[]> {
  const digests: Digest[] = [];
  for (let i = 0; i < count; i += 1) {
    const parts = { subject, artifactType: type, annotations: { number: `${type} ${i}` } };
    digests.push((await pushImage(repository, [], parts)).digest);
  }
  return digests.sort();
}

async function digestsOf(repository: Repository, subject: Digest, limit = 100): Promise<string[]> {
  return (await repository.referrers.list(subject, { limit })).items.map(({ digest }) => digest);
}

/** Referrers: the index, the tag scheme, both together. */
export function referrerCases(get: GetCase): void {
  test('a referrer is described by its own type, artifact type and annotations', async () => {
    const { repository, another } = get();
    const { digest, size } = await pushImage(repository(), ['v1']);
    const bytes = imageBytes({
      subject: { digest, size },
      artifactType: 'application/x.sig',
      annotations: { 'org.example': 'yes' },
    });
    const put = await repository().manifests.put({ bytes, mediaType: OCI_MANIFEST, tags: [] });
    expect(put.subject).toBe(digest);
    for (const registry of [get().registry, another()]) {
      expect(await registry.repository(nameOf('lib/app')).referrers.list(digest, { limit: 5 })).toEqual({
        items: [
          {
            mediaType: OCI_MANIFEST,
            digest: put.content.digest,
            size: bytes.length,
            artifactType: 'application/x.sig',
            annotations: { 'org.example': 'yes' },
          },
        ],
        more: false,
      });
    }
    const configured = imageBytes({ subject: { digest, size } });
    const plain = await repository().manifests.put({ bytes: configured, mediaType: OCI_MANIFEST, tags: [] });
    const { items } = await repository().referrers.list(digest, { limit: 5 });
    const described = items.find((item) => item.digest === plain.content.digest);
    expect(described?.artifactType).toBe('application/vnd.oci.image.config.v1+json');
  });

  test('no referrers: of a manifest without any, of one that is not there, in another repository', async () => {
    const { repository } = get();
    const subject = await pushImage(repository(), []);
    await refer(repository(), subject, 1);
    const nothing = { items: [], more: false };
    expect(await repository().referrers.list(ABSENT, { limit: 1 })).toEqual(nothing);
    expect(await repository().referrers.list(digestBy('sha512', textBytes('x')), { limit: 1 })).toEqual(
      nothing,
    );
    expect(await repository('other').referrers.list(subject.digest, { limit: 1 })).toEqual(nothing);
  });

  test('a subject may come later, be deleted, and be named by sha512', async () => {
    const { repository } = get();
    for (const algorithm of ['sha256', 'sha512'] as const) {
      const bytes = imageBytes({ annotations: { algorithm } });
      const digest = digestBy(algorithm, bytes);
      const digests = await refer(repository(), { digest, size: bytes.length }, 2);
      expect(await digestsOf(repository(), digest)).toEqual(digests);
      await repository().manifests.put({ bytes, mediaType: OCI_MANIFEST, digest, tags: [] });
      expect(await digestsOf(repository(), digest)).toEqual(digests);
      await repository().manifests.delete(digest);
      expect(await digestsOf(repository(), digest)).toEqual(digests);
    }
  });

  test('pages in the order of digests join to the whole, with and without a filter', async () => {
    const { repository } = get();
    const subject = await pushImage(repository(), []);
    const boms = await refer(repository(), subject, 7, 'application/x.sbom');
    const signatures = await refer(repository(), subject, 5, 'application/x.sig');
    const wanted: readonly (readonly [string[] | undefined, Digest[]])[] = [
      [undefined, [...boms, ...signatures].sort()],
      [['application/x.sbom'], boms],
      [['application/x.sig', 'application/x.sbom'], [...boms, ...signatures].sort()],
      [['application/x.none'], []],
    ];
    for (const [artifactTypes, all] of wanted) {
      for (const limit of [1, 3, 5, 12, 50]) {
        const joined: string[] = [];
        for (let last: string | undefined; ;) {
          const { items, more } = await repository().referrers.list(subject.digest, {
            limit,
            ...(artifactTypes === undefined ? {} : { artifactTypes }),
            ...(last === undefined ? {} : { last }),
          });
          joined.push(...items.map(({ digest }) => digest));
          expect(more).toBe(joined.length < all.length);
          if (!more) break;
          last = joined.at(-1);
        }
        expect(joined).toEqual(all);
      }
    }
    const after = boms[3] ?? ABSENT;
    const { items } = await repository().referrers.list(subject.digest, {
      limit: 50,
      last: `${after.slice(0, -1)}0`,
    });
    for (const { digest } of items) expect(digest >= `${after.slice(0, -1)}0`).toBe(true);
  });

  test('a deleted referrer is no longer listed, in any process', async () => {
    const { repository, another } = get();
    const subject = await pushImage(repository(), []);
    const [first, second] = await refer(repository(), subject, 2);
    if (first === undefined || second === undefined) throw new Error('two were pushed');
    const other = another().repository(nameOf('lib/app'));
    await digestsOf(other, subject.digest);
    await repository().manifests.delete(first);
    expect(await digestsOf(other, subject.digest)).toEqual([second]);
    await repository().manifests.delete(second);
    expect(await digestsOf(other, subject.digest)).toEqual([]);
  });

  test('referrers that were recorded by the tag scheme are listed, once each, if they truly refer', async () => {
    const { driver, repository } = get();
    const subject = await pushImage(repository(), ['v1']);
    const digests = await refer(repository(), subject, 4);
    const stranger = await pushImage(repository(), [], { annotations: { refers: 'to nothing' } });
    const manifests = await Promise.all(
      [...digests, stranger.digest].map(async (digest) => (await repository().manifests.get(digest)).bytes),
    );
    // As a registry without the referrers API leaves it: no index of ours, but a tag.
    await driver.delete([referrersPrefix(nameOf('lib/app'), subject.digest)]);
    expect(await digestsOf(repository(), subject.digest)).toEqual([]);
    const tag = tagOf(subject.digest.replace(':', '-'));
    await repository().manifests.put({ bytes: indexBytes(manifests), mediaType: OCI_INDEX, tags: [tag] });
    expect(await digestsOf(repository(), subject.digest)).toEqual(digests);
    // One of them is pushed again, now to us.
    await repository().manifests.put({
      bytes: manifests[1] ?? new Uint8Array(),
      mediaType: OCI_MANIFEST,
      tags: [],
    });
    await driver.delete([referrersPrefix(nameOf('lib/app'), subject.digest)]);
    const more = await refer(repository(), subject, 6);
    const all = [...new Set([...digests, ...more])].sort();
    const joined: string[] = [];
    for (let last: string | undefined; ;) {
      const page = await repository().referrers.list(subject.digest, {
        limit: 2,
        ...(last === undefined ? {} : { last }),
      });
      joined.push(...page.items.map(({ digest }) => digest));
      if (!page.more) break;
      last = joined.at(-1);
    }
    expect(joined).toEqual(all);
    const [first] = digests;
    if (first !== undefined) await repository().manifests.delete(first);
    expect(await digestsOf(repository(), subject.digest)).toEqual(all.slice(1));
  });

  test('what is damaged in the index is left out', async () => {
    const { driver, repository } = get();
    const subject = await pushImage(repository(), []);
    const digests = await refer(repository(), subject, 2);
    const prefix = referrersPrefix(nameOf('lib/app'), subject.digest);
    for (const [i, text] of ['', 'null', '{}', '[]', '{"digest":7}', '{"digest":"sha256:x"}'].entries()) {
      await driver.write(`${prefix}sha256-${i}`, textBytes(text));
    }
    expect(await digestsOf(repository(), subject.digest)).toEqual(digests);
    expect(await refusalOf(digestsOf(repository(), ABSENT))).toBe('done: []');
    await pushBlob(repository(), 'unrelated');
  });
}
