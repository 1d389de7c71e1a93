import type { RepositoryName } from '../oci/name.ts';
import type { Page, PageRequest } from '../oci/registry.ts';
import { type Exchange, visible } from './exchange.ts';

/** Names that are looked at together where some have to be left out. */
const LOOKED_AT = 1000;

/**
 * A page of the repositories that the actor sees and that `fits` takes. Whoever sees all of them pays for the page; else
 * the walk goes on until the page is full, past any number of names, as none of them may show as the page's end.
 * `onHidden` is told of each name that is left out for want of a right; it may throw.
 */
export async function visibleRepositories(
  exchange: Exchange,
  request: PageRequest,
  fits: (name: RepositoryName) => boolean = () => true,
  onHidden: () => void = () => undefined,
): Promise<Page<RepositoryName>> {
  const { registry } = exchange;
  const sees = visible(exchange);
  const items: RepositoryName[] = [];
  let next = request;
  for (;;) {
    const page = await registry.repositories(next);
    for (const name of page.items) {
      request.signal?.throwIfAborted();
      if (!fits(name)) continue;
      if (!(await sees(name))) {
        onHidden();
        continue;
      }
      if (items.length === request.limit) return { items, more: true };
      items.push(name);
    }
    const last = page.items.at(-1);
    // The very page that was asked for, with nothing left out of it.
    if (next === request && items.length === page.items.length) return page;
    if (!page.more || last === undefined) return { items, more: false };
    next = { ...request, last, limit: LOOKED_AT };
  }
}
