import { expect, test } from 'bun:test';
import { compareRepositoryNames } from '../../src/oci/name.ts';
import { pushBlob, pushImage } from './content.ts';
import { type GetCase, nameOf } from './subject.ts';

/** In the order that the catalog has: component by component. */
const NAMES = [
  'a',
  'a/b',
  'a/b/c',
  'a/b-c',
  'a/b.c/d',
  'a/d',
  'a-b',
  'a-b/c',
  'a.c',
  'a0',
  'a_b',
  'aa/x/y/z',
  'b/deep/er/still',
  'v1',
  'v1-a',
  'v1.0',
  'v10',
  'z',
];

/** The catalog: its order and its pages. */
export function catalogCases(get: GetCase): void {
  async function push(names: readonly string[]): Promise<void> {
    for (const name of names) await pushBlob(get().repository(name), 'x');
  }

  test('repositories are listed component by component, in pages of any size', async () => {
    await push(NAMES.toReversed());
    expect(NAMES.toSorted(compareRepositoryNames)).toEqual(NAMES);
    for (const registry of [get().registry, get().another()]) {
      for (const limit of [1, 2, 5, NAMES.length - 1, NAMES.length, 1000]) {
        const joined: string[] = [];
        for (let last: string | undefined; ;) {
          const page = await registry.repositories({ limit, ...(last === undefined ? {} : { last }) });
          expect(page.items.length).toBe(Math.min(limit, NAMES.length - joined.length));
          joined.push(...page.items);
          expect(page.more).toBe(joined.length < NAMES.length);
          if (!page.more) break;
          last = page.items.at(-1);
        }
        expect(joined).toEqual(NAMES);
      }
    }
  });

  test('a page begins behind any text, whether or not it is a repository', async () => {
    await push(NAMES);
    const lasts = [
      'a/a',
      'a/b/',
      'a/b/a',
      'a/b/d',
      'a/b-',
      'a/e',
      'a/z/z',
      'a-a',
      'a.b/c',
      'aa',
      'aa/x',
      'aa/x/y',
      'b',
      'c',
      'v1.',
      'y/y/y',
      'z/z',
      'zz',
    ];
    for (const last of [...NAMES, ...lasts]) {
      const { items } = await get().registry.repositories({ limit: 1000, last });
      const wanted = NAMES.filter((name) => compareRepositoryNames(name, last) > 0);
      expect([last, items as readonly string[]]).toEqual([last, wanted]);
    }
    for (const last of ['', '/', '..', '../..', 'A', '_', 'a//b', '\u{10ffff}', 'a\0']) {
      const { items } = await get().registry.repositories({ limit: 1000, last });
      for (const name of items) expect(NAMES).toContain(name);
    }
  });

  test('an upload alone is no repository, nor is what lies between', async () => {
    const { registry, repository } = get();
    await repository('only/upload').uploads.start();
    await pushBlob(repository('x/y/z'), 'x');
    const { id } = await repository('w').uploads.start();
    await repository('w').uploads.cancel(id);
    expect((await registry.repositories({ limit: 10 })).items).toEqual([nameOf('x/y/z')]);
    for (const name of ['only/upload', 'only', 'x', 'x/y', 'w']) {
      expect(await repository(name).exists()).toBe(false);
    }
    expect(await repository('x/y/z').exists()).toBe(true);
  });

  test('what another process pushes and deletes shows at once', async () => {
    const { registry, another } = get();
    await push(['m', 'm/n']);
    const other = another();
    expect((await other.repositories({ limit: 10 })).items).toHaveLength(2);
    const { digest } = await pushImage(registry.repository(nameOf('m/a')), ['v1']);
    expect((await other.repositories({ limit: 10 })).items).toEqual([
      nameOf('m'),
      nameOf('m/a'),
      nameOf('m/n'),
    ]);
    const mine = registry.repository(nameOf('m/a'));
    await mine.manifests.delete(digest);
    const { digest: config } = await pushBlob(mine, '{}');
    await mine.blobs.delete(config);
    expect(await mine.exists()).toBe(false);
    expect((await other.repositories({ limit: 10 })).items).toEqual([nameOf('m'), nameOf('m/n')]);
  });

  test('nothing is listed where nothing is', async () => {
    expect(await get().registry.repositories({ limit: 10 })).toEqual({ items: [], more: false });
    expect(await get().registry.repositories({ limit: 10, last: 'x' })).toEqual({ items: [], more: false });
  });
}
