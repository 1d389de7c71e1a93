import { expect, test } from 'bun:test';
import type { Digest } from '../../src/oci/digest.ts';
import { RegistryError } from '../../src/oci/errors.ts';
import { indexBytes, OCI_INDEX, OCI_MANIFEST, pushBlob, pushImage, imageBytes } from './content.ts';
import { type GetCase, nameOf, refusalOf, tagOf } from './subject.ts';

/** Names around the bytes that sort before and after `/`, and that are prefixes of each other. */
const TAGS = [
  '0',
  'V1',
  '_x',
  'a',
  'a-b',
  'a.b',
  'a_b',
  'a0',
  'aa',
  'latest',
  'v1',
  'v1-a',
  'v1.0',
  'v10',
  'v2',
];

/** Refuses unless the tag's present digest is the given one. */
function onlyIf(wanted: Digest | null): (current: Digest | null) => void {
  return (current) => {
    if (current !== wanted) throw new RegistryError('DENIED', 'the condition does not hold', { status: 412 });
  };
}

/** Tags: listing, moving, conditions. */
export function tagCases(get: GetCase): void {
  test('tags are listed in byte order, in pages of any size, from wherever one begins', async () => {
    const { repository } = get();
    await pushImage(repository(), TAGS.toReversed());
    const { tags } = repository();
    const sorted = TAGS.toSorted().map(tagOf);
    for (const limit of [1, 2, 7, TAGS.length - 1, TAGS.length, 100]) {
      const joined: string[] = [];
      for (let last: string | undefined; ;) {
        const page = await tags.list({ limit, ...(last === undefined ? {} : { last }) });
        expect(page.items.length).toBe(Math.min(limit, TAGS.length - joined.length));
        joined.push(...page.items);
        expect(page.more).toBe(joined.length < TAGS.length);
        if (!page.more) break;
        last = page.items.at(-1);
      }
      expect(joined).toEqual(sorted);
    }
    for (const last of ['', '/', 'a-', 'a-b/', 'a/', 'a-a', 'b', 'v1/', 'v1.', 'zz', '~']) {
      const page = await tags.list({ limit: 100, last });
      expect([last, page.items]).toEqual([last, sorted.filter((tag) => tag > last)]);
    }
  });

  test('a page begins behind a tag that is gone', async () => {
    const { repository } = get();
    await pushImage(repository(), ['a', 'b', 'c']);
    await repository().tags.delete(tagOf('b'));
    expect((await repository().tags.list({ limit: 5, last: 'b' })).items).toEqual([tagOf('c')]);
    expect((await repository().tags.list({ limit: 1, last: 'a' })).items).toEqual([tagOf('c')]);
  });

  test('the tags of a repository that is not there are refused, of one without tags empty', async () => {
    const { repository } = get();
    await pushBlob(repository('a/b'), 'x');
    expect(await refusalOf(repository('a').tags.list({ limit: 1 }))).toBe('NAME_UNKNOWN');
    expect(await refusalOf(repository('a/b/c').tags.list({ limit: 1 }))).toBe('NAME_UNKNOWN');
    expect(await repository('a/b').tags.list({ limit: 1 })).toEqual({ items: [], more: false });
    const { digest } = await pushImage(repository('gone'), ['v1']);
    await repository('gone').manifests.delete(digest);
    expect((await repository('gone').tags.list({ limit: 1 })).items).toEqual([]);
  });

  test('a deleted tag leaves its manifest and the other tags, at once for every process', async () => {
    const { repository, another } = get();
    const { digest } = await pushImage(repository(), ['v1', 'v2']);
    const other = another().repository(nameOf('lib/app'));
    await other.tags.list({ limit: 10 });
    await repository().tags.delete(tagOf('v1'));
    expect(await refusalOf(other.tags.resolve(tagOf('v1')))).toBe('MANIFEST_UNKNOWN');
    expect((await other.tags.list({ limit: 10 })).items).toEqual([tagOf('v2')]);
    expect((await other.manifests.get(digest)).digest).toBe(digest);
    expect(await refusalOf(repository().tags.delete(tagOf('v1')))).toBe('MANIFEST_UNKNOWN');
    expect(await refusalOf(repository('other').tags.delete(tagOf('v2')))).toBe('MANIFEST_UNKNOWN');
  });

  test('a tag that is moved about resolves at every moment, to one of the two', async () => {
    const { repository, another } = get();
    const one = await pushImage(repository(), ['moving']);
    const two = await pushImage(repository(), [], { annotations: { number: 'two' } });
    const state = { moving: true };
    const reader = another().repository(nameOf('lib/app'));
    const seen = new Set<string>();
    const watching = (async () => {
      for (let looks = 0; state.moving || looks === 0; looks += 1) {
        const { digest } = await reader.manifests.get(tagOf('moving'));
        seen.add(digest);
        expect([one.digest, two.digest]).toContain(digest);
        expect((await reader.tags.list({ limit: 10 })).items).toEqual([tagOf('moving')]);
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
    })();
    await Promise.all(
      [repository(), another().repository(nameOf('lib/app'))].map(async ({ manifests }, i) => {
        for (let round = 0; round < 15; round += 1) {
          const { bytes } = (round + i) % 2 === 0 ? one : two;
          await manifests.put({ bytes, mediaType: OCI_MANIFEST, tags: [tagOf('moving')] });
        }
      }),
    );
    state.moving = false;
    await watching;
    expect(seen.size).toBeGreaterThan(0);
  });

  test('a condition is asked about the tag as it is, before anything is stored', async () => {
    const { repository } = get();
    const one = await pushImage(repository(), ['v1']);
    const bytes = imageBytes({ annotations: { number: 'two' } });
    const put = (condition: (current: Digest | null) => void, tag: string) =>
      repository().manifests.put({
        bytes,
        mediaType: OCI_MANIFEST,
        tags: [tagOf(tag), tagOf('also')],
        precondition: condition,
      });
    expect(await refusalOf(put(onlyIf(null), 'v1'))).toBe('DENIED 412');
    expect(await refusalOf(put(onlyIf(one.digest), 'v2'))).toBe('DENIED 412');
    expect((await repository().tags.list({ limit: 10 })).items).toEqual([tagOf('v1')]);
    const { content } = await put(onlyIf(one.digest), 'v1');
    expect(await repository().tags.resolve(tagOf('v1'))).toBe(content.digest);
    expect(await repository().tags.resolve(tagOf('also'))).toBe(content.digest);
    await put(onlyIf(null), 'v2');
  });

  test('a condition that fails in an empty repository leaves it empty', async () => {
    const { repository, registry } = get();
    const put = repository().manifests.put({
      bytes: indexBytes([]),
      mediaType: OCI_INDEX,
      tags: [tagOf('v1')],
      precondition: onlyIf('sha256:x' as Digest),
    });
    expect(await refusalOf(put)).toBe('DENIED 412');
    expect(await repository().exists()).toBe(false);
    expect((await registry.repositories({ limit: 1 })).items).toEqual([]);
    expect(await refusalOf(repository().tags.list({ limit: 1 }))).toBe('NAME_UNKNOWN');
  });

  test('of ten that may only make a tag, one does; of ten that may only change it from one digest, one does', async () => {
    const { repository, another } = get();
    await pushBlob(repository(), '{}');
    let current: Digest | null = null;
    for (let round = 0; round < 3; round += 1) {
      const ended = await Promise.all(
        Array.from({ length: 10 }, async (_, i) => {
          const bytes = imageBytes({ annotations: { by: `${round} ${i}` } });
          const put = another()
            .repository(nameOf('lib/app'))
            .manifests.put({
              bytes,
              mediaType: OCI_MANIFEST,
              tags: [tagOf('one')],
              precondition: onlyIf(current),
            });
          return refusalOf(put.then(({ content }) => content.digest));
        }),
      );
      const won = ended.filter((how) => how.startsWith('done'));
      expect(won).toHaveLength(1);
      expect(ended.filter((how) => how === 'DENIED 412')).toHaveLength(9);
      const now = await repository().tags.resolve(tagOf('one'));
      expect(won).toEqual([`done: "${now}"`]);
      current = now;
    }
  });
}
