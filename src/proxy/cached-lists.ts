/** Lists of an upstream and of what is kept of it, as one: tags, and the referrers of a manifest. */
import type { Descriptor } from '../oci/descriptor.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import { isTag, type Tag } from '../oci/name.ts';
import type { Page, PageRequest, Referrers } from '../oci/registry.ts';
import { readStoredManifest } from '../oci/stored-manifest.ts';
import { Recent } from '../recent.ts';
import { type CachedPlace, shared } from './cached-place.ts';
import { found } from './found.ts';
import { UpstreamFailure } from './upstream-failure.ts';

/** What is read of one list: more than any list has, and little enough to be held for a moment. */
const MOST = { pages: 200, bytes: 8 * 1024 * 1024 };
/** Tags on a page that is asked for. */
const PAGE = 1000;
/** Milliseconds for which a list that was read is served again: its pages are asked for one after the other. */
const KEPT_FOR = 15_000;
const MAX_KEPT = 100;
/** Items of all of them. */
const MAX_ITEMS = 200_000;

interface Kept<T> {
  readonly items: readonly T[] | undefined;
  readonly until: number;
}

/** Lists that were read a moment ago, of all repositories. */
export class RecentLists {
  readonly #kept = new Recent<Kept<unknown>>({
    most: MAX_KEPT,
    weight: (_key, { items }) => items?.length ?? 0,
    budget: MAX_ITEMS,
  });

  get<T>(key: string, now: number): Kept<T> | undefined {
    const kept = this.#kept.get(key);
    return kept !== undefined && now < kept.until ? (kept as Kept<T>) : undefined;
  }

  /** What was read last, however long ago: for when it cannot be read again. */
  last(key: string): readonly unknown[] | undefined {
    return this.#kept.get(key)?.items;
  }

  set<T>(key: string, items: readonly T[] | undefined, now: number): Kept<T> {
    const kept = { items, until: now + KEPT_FOR };
    this.#kept.set(key, kept);
    return kept;
  }
}

export class CachedLists {
  readonly #place: CachedPlace;
  readonly #recent: RecentLists;

  constructor(place: CachedPlace, recent: RecentLists) {
    this.#place = place;
    this.#recent = recent;
  }

  /** The upstream's tags and those that are kept here, in byte order. */
  async tags(page: PageRequest): Promise<Page<Tag>> {
    const { local } = this.#place;
    const upstream = await this.#whole('tags', `tags/list?n=${PAGE}`, (bytes) => tagsIn(bytes));
    const { last = '', limit } = page;
    const kept = await found(local.tags.list({ ...page, limit: limit + 1 }));
    if (upstream.items === undefined && kept === undefined) {
      // What is not known is not nothing.
      if (upstream.failure !== undefined) throw upstream.failure;
      return local.tags.list(page);
    }
    const others = (upstream.items ?? []).filter((tag) => tag > last);
    const all = [...new Set([...others, ...(kept?.items ?? [])])].sort();
    const stale = upstream.failure === undefined ? {} : { stale: true };
    return { items: all.slice(0, limit), more: all.length > limit, ...stale };
  }

  async referrers(digest: Digest, query: Parameters<Referrers['list']>[1]): Promise<Page<Descriptor>> {
    const { local } = this.#place;
    const { last = '', limit, artifactTypes = [] } = query;
    const upstream = await this.#referrersOf(digest);
    const kept = await local.referrers.list(digest, { ...query, limit: limit + 1 });
    const all = new Map(kept.items.map((descriptor) => [descriptor.digest, descriptor]));
    for (const descriptor of upstream.items ?? []) {
      const isAsked = artifactTypes.length === 0 || artifactTypes.includes(descriptor.artifactType ?? '');
      if (isAsked && descriptor.digest > last) all.set(descriptor.digest, descriptor);
    }
    // Who looks for a signature must not take an upstream that is away for one that has none.
    if (upstream.failure !== undefined && upstream.items === undefined && all.size === 0)
      throw upstream.failure;
    const digests = [...all.keys()].sort();
    const items = digests.slice(0, limit).flatMap((one) => all.get(one) ?? []);
    const stale = upstream.failure === undefined ? {} : { stale: true };
    return { items, more: digests.length > limit, ...stale };
  }

  async #referrersOf(digest: Digest) {
    const byApi = await this.#whole('referrers', `referrers/${digest}`, (bytes) => descriptorsIn(bytes));
    if (byApi.items !== undefined || byApi.failure !== undefined) return byApi;
    // A registry without the API: clients keep them in an index under a tag (the specification's fallback).
    const tag = digest.replace(':', '-');
    return this.#whole('referrers', `manifests/${tag}`, (bytes) => descriptorsIn(bytes));
  }

  /** A whole list; without items where the upstream has none (it is unknown there). With a failure it is the last known. */
  async #whole<T>(
    what: string,
    path: string,
    read: (bytes: Uint8Array) => readonly T[],
  ): Promise<{ readonly items: readonly T[] | undefined; readonly failure?: UpstreamFailure }> {
    const { local, upstream, tools } = this.#place;
    const key = `${local.name} ${path}`;
    const recent = this.#recent.get<T>(key, tools.now());
    if (recent !== undefined) return { items: recent.items };
    try {
      return await shared(this.#place, key, async () => {
        const items: T[] = [];
        let isThere = false;
        for await (const bytes of upstream.pages(path, MOST, { canDoWithout: true })) {
          isThere = true;
          for (const item of read(bytes)) items.push(item);
        }
        const kept = this.#recent.set<T>(key, isThere ? items : undefined, tools.now());
        return { items: kept.items };
      });
    } catch (error) {
      if (!(error instanceof UpstreamFailure)) throw error;
      if (error.isRefusal) return { items: undefined };
      tools.statistics.count(upstream.upstream, 'stale');
      tools.onStale(local.name, `${what}: ${error.message}`);
      return { items: this.#recent.last(key) as readonly T[] | undefined, failure: error };
    }
  }
}

function tagsIn(bytes: Uint8Array): readonly Tag[] {
  const { tags } = (parse(bytes) ?? {}) as { tags?: unknown };
  return (Array.isArray(tags) ? (tags as unknown[]) : []).filter(
    (tag): tag is Tag => typeof tag === 'string' && isTag(tag),
  );
}

function descriptorsIn(bytes: Uint8Array): readonly Descriptor[] {
  try {
    return readStoredManifest(bytes).manifests.filter(({ digest }) => isDigest(digest));
  } catch {
    throw new UpstreamFailure('the upstream gave a list of referrers that cannot be read');
  }
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    throw new UpstreamFailure('the upstream gave a list that cannot be read');
  }
}
