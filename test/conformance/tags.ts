import { expectJson, expectStatus, expectThat } from './check.ts';
import { withQuery } from './client.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import type { DataSet } from './data-set.ts';
import type { Exchange } from './exchange.ts';
import type { Step } from './scenario.ts';

/** The tag list of a data set: all pushed tags are there, and `last` cuts exactly where byte order says. */
export function tagListSteps(set: DataSet): readonly Step[] {
  const run = async (context: Context): Promise<void> => {
    const answer = await context.get(path.tags(context.repository));
    const tags = expectTags(answer);
    const pushed = set.manifests.flatMap((manifest) => manifest.tags);
    const absent = pushed.filter((tag) => !tags.includes(tag));
    expectThat(
      absent.length === 0,
      `all pushed tags, of which these are absent: ${absent.join(', ')}`,
      answer,
    );
    const sorted = tags.toSorted(byteOrder);
    const median = sorted[Math.floor((sorted.length - 1) / 2)] ?? '';
    const rest = await context.get(withQuery(path.tags(context.repository), { last: median }));
    const expected = sorted.filter((tag) => byteOrder(tag, median) > 0);
    expectThat(
      expectTags(rest).join(' ') === expected.join(' '),
      `after last=${median} exactly: ${expected.join(', ')}`,
      rest,
    );
  };
  return [{ name: 'tag-list', run }];
}

/** A tag list: 200 and JSON with a list of strings, which is returned. */
export function expectTags(answer: Exchange): readonly string[] {
  expectStatus(answer, 200);
  const list = expectJson(answer);
  expectThat(typeof list['name'] === 'string', 'a name', answer);
  return expectStrings(answer, list['tags'], 'tags');
}

/** A list of strings. */
export function expectStrings(answer: Exchange, value: unknown, name: string): readonly string[] {
  const items: unknown = value;
  expectThat(Array.isArray(items), `${name} to be a list`, answer);
  return items.map((item: unknown) => {
    expectThat(typeof item === 'string', `${name} to be a list of strings`, answer);
    return item;
  });
}

/** The order of `LC_ALL=C sort`; for the ASCII of tags and names the order of code units. */
export function byteOrder(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
