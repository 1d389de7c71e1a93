/** The lists: catalog, tags, referrers. Each has a next page, named by `Link` (RFC 8288), as long as there is one. */
import { MEDIA_TYPE, type Descriptor } from '../oci/descriptor.ts';
import { parseDigest } from '../oci/digest.ts';
import { MAX_MANIFEST_BYTES } from '../oci/manifest.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { Page, PageRequest } from '../oci/registry.ts';
import { json } from './errors.ts';
import { type Exchange, location, STALE } from './exchange.ts';
import { visibleRepositories } from './visible-repositories.ts';

/** Entries of a catalog page for which the client names no size (`registry:2`'s). */
const USUAL_CATALOG = 100;
/** Most referrers on a page. */
const MAX_REFERRERS = 1000;

/** GET `/v2/_catalog` (an extension that every client knows): what the actor may pull. */
export async function getCatalog(exchange: Exchange): Promise<Response> {
  const { query, settings } = exchange;
  const limit = query.pageSize(USUAL_CATALOG, settings.maxCatalog);
  const { challenge } = exchange.actor;
  const askLogin = () => {
    if (challenge !== undefined) throw challenge();
  };
  const page = await pageOf(exchange, limit, (request) =>
    visibleRepositories(exchange, request, undefined, askLogin),
  );
  return list(exchange, '/v2/_catalog', limit, page, { repositories: page.items });
}

/** GET `/v2/<name>/tags/list` (end-8a, end-8b). */
export async function getTags(exchange: Exchange, name: RepositoryName): Promise<Response> {
  const { query, registry, settings } = exchange;
  const limit = query.pageSize(settings.maxTags, settings.maxTags);
  const { tags } = registry.repository(name);
  const page = await pageOf(exchange, limit, (request) => tags.list(request));
  return list(exchange, `/v2/${name}/tags/list`, limit, page, { name, tags: page.items });
}

/** GET `/v2/<name>/referrers/<digest>` (end-12a, end-12b): an index, also for what nobody has ever pushed. */
export async function getReferrers(
  exchange: Exchange,
  name: RepositoryName,
  reference: string,
): Promise<Response> {
  const { query, registry } = exchange;
  const digest = parseDigest(reference);
  const limit = query.pageSize(MAX_REFERRERS, MAX_REFERRERS);
  const types = query.all('artifactType');
  const { referrers } = registry.repository(name);
  const filter = types.length === 0 ? {} : { artifactTypes: types };
  const page = fitting(
    await pageOf(exchange, limit, (request) => referrers.list(digest, { ...request, ...filter })),
  );
  const response = list(
    exchange,
    `/v2/${name}/referrers/${digest}`,
    limit,
    { ...page, items: page.items.map((item) => item.digest) },
    { schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: page.items },
    types.map((type) => `&artifactType=${encodeURIComponent(type)}`).join(''),
  );
  response.headers.set('Content-Type', MEDIA_TYPE.ociIndex);
  if (types.length > 0) response.headers.set('OCI-Filters-Applied', 'artifactType');
  return response;
}

/** Asks for a page; one of no entries is empty and has no next one (the specification, for `n=0`). */
function pageOf<T>(
  { query, request }: Exchange,
  limit: number,
  ask: (page: PageRequest) => Promise<Page<T>>,
): Promise<Page<T>> {
  const last = query.one('last');
  const page = { limit: Math.max(1, limit), signal: request.signal, ...(last === undefined ? {} : { last }) };
  return limit === 0 ? ask(page).then(() => ({ items: [], more: false })) : ask(page);
}

/** Cuts a page of referrers to what fits into one manifest; the rest is on the next page. */
function fitting(page: Page<Descriptor>): Page<Descriptor> {
  let size = 256;
  const items: Descriptor[] = [];
  for (const item of page.items) {
    size += Buffer.byteLength(JSON.stringify(item)) + 1;
    if (size > MAX_MANIFEST_BYTES && items.length > 0) return { items, more: true };
    items.push(item);
  }
  return page;
}

function list(
  exchange: Exchange,
  path: string,
  limit: number,
  page: Page<string>,
  body: unknown,
  more = '',
): Response {
  const last = page.items.at(-1);
  const stale = page.stale === true ? STALE : {};
  const response = json(200, body, { 'X-Content-Type-Options': 'nosniff', ...stale });
  if (page.more && last !== undefined) {
    const next = location(exchange, `${path}?n=${limit}&last=${encodeURIComponent(last)}${more}`);
    response.headers.set('Link', `<${next}>; rel="next"`);
  }
  return response;
}
