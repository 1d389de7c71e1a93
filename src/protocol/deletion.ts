/**
 * Deleting much at once (ours; no specification has it): `/v2/<name>/_entrepot/repository` and `/v2/<name>/_entrepot/tags`,
 * which no repository's path can be, as names have no component that begins with `_`.
 */
import { glob } from '../oci/glob.ts';
import { isTagPattern, type RepositoryName } from '../oci/name.ts';
import { badParameter, json } from './errors.ts';
import { checkDeletable, type Exchange, location } from './exchange.ts';

/** DELETE `/v2/<name>/_entrepot/repository[?dry-run]`: all that is in it. Tells how much went, or would. */
export async function deleteRepository(exchange: Exchange, name: RepositoryName): Promise<Response> {
  checkDeletable(exchange);
  const { query, registry, connection, note } = exchange;
  query.only('dry-run');
  const dryRun = query.flag('dry-run');
  connection.liftIdleLimit(); // nothing comes until all of it is gone
  const deleted = await registry.repository(name).delete({ dryRun });
  const { tags, manifests, blobs, uploads } = deleted;
  if (!dryRun) {
    const detail = `the repository: ${tags} tags, ${manifests} manifests, ${blobs} blobs, ${uploads} uploads`;
    note({ event: 'delete', repository: name, detail });
  }
  return json(dryRun ? 200 : 202, { name, dryRun, ...deleted }, {});
}

/**
 * DELETE `/v2/<name>/_entrepot/tags?match=PATTERN[&dry-run][&n=][&last=]`: the tags that match, and not their manifests. Tells
 * of each what became of it. One page of all tags is looked at; `Link` and `next` tell where the next one begins.
 */
export async function deleteTags(exchange: Exchange, name: RepositoryName): Promise<Response> {
  checkDeletable(exchange);
  const { query, registry, settings, connection, note } = exchange;
  query.only('match', 'dry-run', 'n', 'last');
  const pattern = query.one('match');
  if (pattern === undefined || !isTagPattern(pattern))
    throw badParameter('match must be a pattern of tags such as "dev-*", in which only * is special');
  const dryRun = query.flag('dry-run');
  const limit = Math.max(1, query.pageSize(settings.maxTags, settings.maxTags));
  const last = query.one('last');
  connection.liftIdleLimit();
  const { tags, next } = await registry
    .repository(name)
    .deleteTags(glob(pattern), { limit, ...(last === undefined ? {} : { last }) }, { dryRun });
  const told = tags.map(({ tag, digest, kept }) => ({
    tag,
    digest,
    deleted: kept === undefined && !dryRun,
    ...(kept === undefined ? {} : { reason: kept }),
  }));
  for (const { tag, deleted } of told) {
    if (deleted) note({ event: 'delete', repository: name, reference: tag, detail: `by ${pattern}` });
  }
  const response = json(
    dryRun ? 200 : 202,
    { name, match: pattern, dryRun, tags: told, ...(next === undefined ? {} : { next }) },
    {},
  );
  if (next !== undefined) {
    const more = `match=${encodeURIComponent(pattern)}&n=${limit}&last=${next}${dryRun ? '&dry-run=true' : ''}`;
    response.headers.set('Link', `<${location(exchange, `/v2/${name}/_entrepot/tags?${more}`)}>; rel="next"`);
  }
  return response;
}
