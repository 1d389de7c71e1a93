/** Tag lists beyond what the specification's suites ask: `n`, `Link`, `last`, order and limits. */
import {
  expectError,
  expectHeaderIs,
  expectJson,
  expectNoBody,
  expectStatus,
  expectThat,
  Unsupported,
} from './check.ts';
import { withQuery } from './client.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import { header } from './exchange.ts';
import { allPages, nextPage } from './paging.ts';
import { pushManifest } from './push.ts';
import { Kept } from './scenario.ts';
import type { Scenario } from './scenario.ts';
import { manifestOf } from './small-manifest.ts';
import { byteOrder, expectTags } from './tags.ts';

/** In byte order; a locale's order is another. */
const TAGS: readonly string[] = [
  '0',
  '1.0',
  '10',
  'A',
  'B',
  'Z.z',
  '_x',
  'a',
  'a-b',
  'a.b',
  'a_b',
  'aB',
  'ab',
  'b',
].toSorted(byteOrder);

/** What is no number of items. */
const BAD_NUMBERS: readonly string[] = ['-1', 'abc', '1e99', '1.5', '0x10'];

function tagsTarget(context: Context, query: Readonly<Record<string, string>> = {}): string {
  return withQuery(path.tags(context.fresh('tag-paging')), query);
}

async function expectPage(
  context: Context,
  query: Readonly<Record<string, string>>,
  expected: readonly string[],
): Promise<void> {
  const answer = await context.get(tagsTarget(context, query));
  expectThat(expectTags(answer).join(' ') === expected.join(' '), `exactly: ${expected.join(' ')}`, answer);
}

/** The tests, on a repository of their own. */
export function tagPaging(): Scenario {
  const manifest = new Kept<Uint8Array>('manifest');
  return {
    name: 'beyond/tags',
    basis: 'spec',
    steps: [
      {
        name: 'push tags in no order',
        run: async (context) => {
          const repository = context.fresh('tag-paging');
          const { bytes } = await manifestOf(context, repository);
          for (const tag of TAGS.toReversed()) await pushManifest(context, repository, tag, bytes);
          manifest.set(bytes);
        },
      },
      { name: 'all, in byte order', run: (context) => expectPage(context, {}, TAGS) },
      {
        name: 'name is the repository',
        run: async (context) => {
          const answer = await context.get(tagsTarget(context));
          expectThat(expectJson(answer)['name'] === context.fresh('tag-paging'), 'the name', answer);
        },
      },
      ...[1, 5, TAGS.length - 1].map((n) => ({
        name: `n=${n} gives exactly so many and a Link`,
        run: async (context: Context) => {
          await expectPage(context, { n: String(n) }, TAGS.slice(0, n));
          const answer = await context.get(tagsTarget(context, { n: String(n) }));
          expectThat(nextPage(context, answer) !== undefined, 'a Link, as more remain', answer);
        },
      })),
      ...[TAGS.length, TAGS.length + 1, 1000].map((n) => ({
        name:
          n > TAGS.length
            ? `n=${n === 1000 ? n : 'more than there are'} gives all and no Link`
            : 'n as many as there are gives all and no Link',
        run: async (context: Context) => {
          await expectPage(context, { n: String(n) }, TAGS);
          const answer = await context.get(tagsTarget(context, { n: String(n) }));
          expectThat(header(answer, 'link') === undefined, 'no Link, as nothing remains', answer);
        },
      })),
      {
        name: 'n=0 gives an empty list and no Link',
        run: async (context) => {
          const answer = await context.get(tagsTarget(context, { n: '0' }));
          expectThat(expectTags(answer).length === 0, 'an empty list', answer);
          expectThat(header(answer, 'link') === undefined, 'no Link', answer);
        },
      },
      ...[1, 3].map((n) => ({
        name: `Link by Link with n=${n} gives everything once`,
        run: async (context: Context) => {
          const pages = await allPages(context, tagsTarget(context, { n: String(n) }), expectTags);
          const all = pages.flatMap(({ items }) => items);
          expectThat(all.join(' ') === TAGS.join(' '), `exactly: ${TAGS.join(' ')}`, pages.at(-1)?.answer);
          expectThat(
            pages.length === Math.ceil(TAGS.length / n),
            'no more pages than it takes',
            pages.at(-1)?.answer,
          );
        },
      })),
      {
        name: 'last is exclusive',
        run: (context) =>
          expectPage(
            context,
            { last: 'a' },
            TAGS.filter((tag) => byteOrder(tag, 'a') > 0),
          ),
      },
      {
        name: 'last with n',
        run: (context) =>
          expectPage(context, { last: 'B', n: '2' }, TAGS.slice(TAGS.indexOf('B') + 1).slice(0, 2)),
      },
      {
        name: 'last need not exist',
        run: (context) =>
          expectPage(
            context,
            { last: 'a0' },
            TAGS.filter((tag) => byteOrder(tag, 'a0') > 0),
          ),
      },
      { name: 'last behind everything', run: (context) => expectPage(context, { last: 'zzz' }, []) },
      {
        name: 'last of a tag that was deleted',
        run: async (context) => {
          const repository = context.fresh('tag-paging');
          await pushManifest(context, repository, 'a-deleted', manifest.get());
          const answer = await context.delete(path.manifest(repository, 'a-deleted'));
          if (answer.status === 405 || answer.status === 400)
            throw new Unsupported('the registry does not delete tags');
          expectStatus(answer, 202);
          await expectPage(
            context,
            { last: 'a-deleted' },
            TAGS.filter((tag) => byteOrder(tag, 'a-deleted') > 0),
          );
        },
      },
      ...BAD_NUMBERS.map((n) => ({
        name: `n=${n} is 400`,
        basis: 'ours' as const,
        run: async (context: Context) => {
          expectError(await context.get(tagsTarget(context, { n })), 400);
        },
      })),
      {
        name: 'n=2147483648 is clamped, not refused',
        basis: 'ours',
        run: (context) => expectPage(context, { n: '2147483648' }, TAGS),
      },
      {
        name: 'HEAD',
        basis: 'ours',
        run: async (context) => {
          const answer = await context.head(tagsTarget(context));
          expectStatus(answer, 200);
          expectNoBody(answer);
          const length = (await context.get(tagsTarget(context))).body.length;
          expectHeaderIs(answer, 'Content-Length', String(length));
        },
      },
      {
        name: 'unknown repository is 404 NAME_UNKNOWN',
        basis: 'ours',
        run: async (context) => {
          expectError(await context.get(path.tags(context.fresh('nothing'))), 404, 'NAME_UNKNOWN');
        },
      },
      {
        name: 'a repository without tags has [], not null',
        basis: 'ours',
        run: async (context) => {
          const repository = context.fresh('untagged');
          const { bytes, digest } = await manifestOf(context, repository);
          await pushManifest(context, repository, digest, bytes);
          const answer = await context.get(path.tags(repository));
          expectThat(expectTags(answer).length === 0, 'an empty list', answer);
        },
      },
    ],
  };
}
