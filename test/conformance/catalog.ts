/** `GET /v2/_catalog`: no part of the specification proper, and what every registry has. */
import { expectError, expectJson, expectStatus, expectThat, Unsupported } from './check.ts';
import { withQuery } from './client.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import { header } from './exchange.ts';
import type { Exchange } from './exchange.ts';
import { allPages, nextPage } from './paging.ts';
import { pushManifest, startUpload } from './push.ts';
import type { Scenario, Step } from './scenario.ts';
import { manifestOf } from './small-manifest.ts';
import { byteOrder, expectStrings, expectTags } from './tags.ts';

/** Names whose order differs between bytes (`c-a` before `c/a`) and components (`c/a` before `c-a`). */
const NAMES: readonly string[] = ['b', 'c', 'c/a', 'c/a/b', 'c-a', 'c.a', 'c0'];

const CATALOG = '/v2/_catalog';

function expectRepositories(answer: Exchange): readonly string[] {
  if (answer.status === 404 || answer.status === 405) throw new Unsupported('the registry has no catalog');
  expectStatus(answer, 200);
  return expectStrings(answer, expectJson(answer)['repositories'], 'repositories');
}

/** Component-wise: a name comes before all that begin with it and a slash, and those before its next sibling. */
function componentOrder(a: string, b: string): number {
  return byteOrder(a.replaceAll('/', '\0'), b.replaceAll('/', '\0'));
}

function prefix(context: Context): string {
  return `${context.fresh('catalog')}/`;
}

async function ownNames(
  context: Context,
  query: Readonly<Record<string, string>> = {},
): Promise<readonly string[]> {
  const pages = await allPages(context, withQuery(CATALOG, query), expectRepositories);
  return pages
    .flatMap(({ items }) => items)
    .filter((name) => name.startsWith(prefix(context)))
    .map((name) => name.slice(prefix(context).length));
}

const ordered = NAMES.toSorted(componentOrder);

const badNumbers = ['-1', 'abc', '1e99'].map((n): Step => ({
  name: `n=${n} is 400`,
  run: async (context) => {
    expectError(await context.get(withQuery(CATALOG, { n })), 400);
  },
}));

/** The tests, on repositories of their own among whatever else there is. */
export const catalog: Scenario = {
  name: 'beyond/catalog',
  basis: 'ours',
  steps: [
    {
      name: 'push to several repositories',
      run: async (context) => {
        for (const name of NAMES) {
          const repository = prefix(context) + name;
          await pushManifest(context, repository, 'latest', (await manifestOf(context, repository)).bytes);
        }
      },
    },
    {
      name: 'every repository once, in component-wise order',
      run: async (context) => {
        const names = await ownNames(context);
        expectThat(names.join(' ') === ordered.join(' '), `${ordered.join(' ')}, not ${names.join(' ')}`);
      },
    },
    {
      name: 'Link by Link with n=2 gives everything once',
      run: async (context) => {
        const names = await ownNames(context, { n: '2', last: context.fresh('catalog') });
        expectThat(names.join(' ') === ordered.join(' '), `${ordered.join(' ')}, not ${names.join(' ')}`);
      },
    },
    {
      name: 'n gives exactly so many and a Link',
      run: async (context) => {
        const answer = await context.get(withQuery(CATALOG, { n: '3' }));
        expectThat(expectRepositories(answer).length === 3, 'exactly three names', answer);
        expectThat(nextPage(context, answer) !== undefined, 'a Link, as more remain', answer);
      },
    },
    {
      name: 'last need not exist',
      run: async (context) => {
        const names = await ownNames(context, { last: `${prefix(context)}c/zzz` });
        const expected = ordered.filter((name) => componentOrder(name, 'c/zzz') > 0);
        expectThat(names.join(' ') === expected.join(' '), `${expected.join(' ')}, not ${names.join(' ')}`);
      },
    },
    {
      name: 'last behind everything gives an empty list and no Link',
      run: async (context) => {
        const answer = await context.get(withQuery(CATALOG, { last: 'zzzzzzzz' }));
        expectThat(expectRepositories(answer).length === 0, 'an empty list', answer);
        expectThat(header(answer, 'link') === undefined, 'no Link', answer);
      },
    },
    {
      name: 'a repository with only an upload is not listed',
      run: async (context) => {
        await startUpload(context, `${prefix(context)}d`);
        const names = await ownNames(context);
        expectThat(!names.includes('d'), 'only repositories that hold something');
      },
    },
    ...badNumbers,
    {
      name: 'n=2147483648 is clamped, not refused',
      run: async (context) => {
        expectRepositories(await context.get(withQuery(CATALOG, { n: '2147483648' })));
      },
    },
    {
      name: 'a repository that has lost its only manifest still answers its tag list',
      run: async (context) => {
        const repository = `${prefix(context)}emptied`;
        const { bytes, digest } = await manifestOf(context, repository);
        await pushManifest(context, repository, 'only', bytes);
        const answer = await context.delete(path.manifest(repository, digest));
        if (answer.status === 405) throw new Unsupported('the registry does not delete manifests');
        expectStatus(answer, 202);
        const list = await context.get(path.tags(repository));
        expectThat(expectTags(list).length === 0, 'an empty list', list);
      },
    },
  ],
};
