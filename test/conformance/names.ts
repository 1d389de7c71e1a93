/** The grammar of repository names and tags, and names that look like parts of the API. */
import { expectBody, expectError, expectStatus, expectThat } from './check.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import { newBlob, pushBlob, pushManifest, putManifest } from './push.ts';
import type { Scenario, Step } from './scenario.ts';
import { manifestOf } from './small-manifest.ts';
import { expectTags } from './tags.ts';
import { TYPE } from './vocabulary.ts';

const VALID_NAMES: readonly string[] = [
  'a',
  '0',
  'a.b',
  'a_b',
  'a__b',
  'a-b',
  'a---b',
  'a/b/c',
  'a.b_c__d-e/f',
];

/** Names that the grammar does not have, and that reach a registry as names all the same. */
const INVALID_NAMES: readonly string[] = [
  'A',
  'aB',
  'a..b',
  'a___b',
  'a_-b',
  'a._b',
  '.a',
  '_a/b',
  '-a',
  'a.',
  'a_',
  'a-',
  'a/-b',
  'a/.b',
  'a/b_',
  'a+b',
  'a~b',
  'a:b',
  'a@b',
];

/** The API's own words as components of names (N4: parse from the right). */
const API_NAMES: readonly string[] = [
  'blobs',
  'manifests',
  'tags/list',
  'blobs/uploads',
  'uploads',
  'referrers',
  'manifests/latest',
  'blobs/uploads/x',
  'tags/list/manifests/tags/list',
];

const VALID_TAGS: readonly string[] = [
  'a',
  '_',
  '0',
  'A.b-c_D',
  'latest',
  'list',
  'uploads',
  'x'.repeat(128),
  'sha256-abc',
];

const INVALID_TAGS: readonly string[] = [
  '.a',
  '-a',
  'a+b',
  'a~b',
  'a b',
  'ä',
  'x'.repeat(129),
  'a@b',
  'sha256:',
];

async function roundTrip(context: Context, repository: string): Promise<void> {
  const { bytes, digest } = await manifestOf(context, repository);
  const blob = newBlob();
  await pushBlob(context, repository, blob);
  await pushManifest(context, repository, 'latest', bytes);
  const byTag = await context.get(path.manifest(repository, 'latest'), { Accept: TYPE.image });
  expectStatus(byTag, 200);
  expectBody(byTag, bytes);
  expectStatus(await context.get(path.manifest(repository, digest), { Accept: TYPE.image }), 200);
  expectStatus(await context.get(path.blob(repository, blob.digest)), 200);
  const list = await context.get(path.tags(repository));
  expectThat(expectTags(list).join(' ') === 'latest', 'exactly the tag that was pushed', list);
}

/** The tests; valid names hang below a repository of the run, invalid ones stand alone or below it. */
export const names: Scenario = {
  name: 'beyond/names',
  basis: 'spec',
  steps: [
    ...VALID_NAMES.map((name): Step => ({
      name: `repository …/${name} works`,
      run: (context) => roundTrip(context, context.fresh(name)),
    })),
    ...API_NAMES.map((name): Step => ({
      name: `repository …/${name} works`,
      run: (context) => roundTrip(context, context.fresh(`api/${name}`)),
    })),
    {
      name: 'a repository and one below it do not mix',
      run: async (context) => {
        await roundTrip(context, context.fresh('outer'));
        await roundTrip(context, context.fresh('outer/inner'));
        const blob = newBlob();
        await pushBlob(context, context.fresh('outer/inner'), blob);
        expectStatus(await context.get(path.blob(context.fresh('outer'), blob.digest)), 404);
      },
    },
    ...INVALID_NAMES.map((name): Step => ({
      name: `repository …/${name} is refused: 400 NAME_INVALID on writes, 404 on reads`,
      basis: 'ours',
      run: async (context) => {
        const repository = `${context.fresh('names')}/${name}`;
        const empty = { headers: { 'Content-Length': '0' } };
        expectError(await context.send('POST', path.uploads(repository), empty), 400, 'NAME_INVALID');
        expectError(await putManifest(context, repository, 'latest', '{}'), 400, 'NAME_INVALID');
        expectStatus(await context.get(path.manifest(repository, 'latest')), 404);
        expectStatus(await context.get(path.blob(repository, newBlob().digest)), 404);
        expectStatus(await context.get(path.tags(repository)), 404);
      },
    })),
    {
      name: 'a name of 256 characters is refused',
      basis: 'ours',
      run: async (context) => {
        const start = `${context.fresh('long')}/`;
        const fill = (length: number): string => start + 'x'.repeat(length - start.length);
        const empty = { headers: { 'Content-Length': '0' } };
        expectError(await context.send('POST', path.uploads(fill(256)), empty), 400, 'NAME_INVALID');
        await roundTrip(context, fill(255));
      },
    },
    {
      name: 'valid tags work, and differ by case',
      run: async (context) => {
        const repository = context.fresh('tag-names');
        const { bytes } = await manifestOf(context, repository);
        for (const tag of [...VALID_TAGS, 'Latest', 'LATEST']) {
          await pushManifest(context, repository, tag, bytes);
          expectStatus(await context.head(path.manifest(repository, tag), { Accept: TYPE.image }), 200);
        }
        const listed = expectTags(await context.get(path.tags(repository)));
        const absent = [...VALID_TAGS, 'Latest', 'LATEST'].filter((tag) => !listed.includes(tag));
        expectThat(absent.length === 0, `all tags in the list, of which absent: ${absent.join(' ')}`);
      },
    },
    ...INVALID_TAGS.map((tag): Step => ({
      name: `tag ${tag.length > 20 ? `of ${tag.length} characters` : tag} is refused: 400 on writes`,
      run: async (context) => {
        const repository = context.fresh('tag-names');
        const { bytes } = await manifestOf(context, repository);
        expectStatus(await putManifest(context, repository, encodeURIComponent(tag), bytes), 400, 404);
      },
    })),
    ...INVALID_TAGS.filter((tag) => !tag.includes(':')).map((tag): Step => ({
      name: `tag ${tag.length > 20 ? `of ${tag.length} characters` : tag} is 404 on reads`,
      basis: 'previous',
      run: async (context) => {
        const target = path.manifest(context.fresh('tag-names'), encodeURIComponent(tag));
        expectStatus(await context.get(target), 404);
        expectStatus(await context.head(target), 404);
      },
    })),
  ],
};
