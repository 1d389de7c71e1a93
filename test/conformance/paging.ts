import { expectThat, Failure } from './check.ts';
import type { Context } from './context.ts';
import { header } from './exchange.ts';
import type { Exchange } from './exchange.ts';

/** The target that an answer's `Link: <…>; rel="next"` (RFC 8288) leads to; undefined when there is no Link. */
export function nextPage(context: Context, answer: Exchange): string | undefined {
  const link = header(answer, 'link');
  if (link === undefined) return undefined;
  const match = /^<([^>]+)>\s*;\s*rel="?next"?\s*$/.exec(link);
  expectThat(match?.[1] !== undefined, 'a Link of the form <…>; rel="next"', answer);
  return context.client.resolve(answer, match[1]);
}

/** Follows `next` links from a first page, and gives each page with its items. */
export async function allPages<T>(
  context: Context,
  first: string,
  items: (answer: Exchange) => readonly T[],
): Promise<readonly { readonly answer: Exchange; readonly items: readonly T[] }[]> {
  const pages: { answer: Exchange; items: readonly T[] }[] = [];
  const seen = new Set<string>();
  for (let target: string | undefined = first; target !== undefined;) {
    if (seen.has(target))
      throw new Failure(`a Link that leads on, not back to ${target}`, pages.at(-1)?.answer);
    seen.add(target);
    const answer: Exchange = await context.get(target);
    pages.push({ answer, items: items(answer) });
    target = nextPage(context, answer);
  }
  return pages;
}
