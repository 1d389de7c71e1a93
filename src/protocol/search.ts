/** What is left of the first registry API: `docker search`, and the ping that comes before it. */
import { json } from './errors.ts';
import type { Exchange } from './exchange.ts';
import { visibleRepositories } from './visible-repositories.ts';

/** Results for which the client names no number, and the most that it can ask for (Docker Hub's). */
const USUAL_RESULTS = 25;
const MAX_RESULTS = 100;

/** GET `/v1/_ping`. */
export function ping(): Response {
  return json(200, true, { 'X-Docker-Registry-Standalone': 'true' });
}

/**
 * GET `/v1/search?q=&n=`: the repositories that have the text in their name, as far as the actor may pull them. In the
 * form that docker's and podman's clients read (moby, api/types/registry: `SearchResults`).
 */
export async function search(exchange: Exchange): Promise<Response> {
  const { query, request } = exchange;
  const wanted = (query.one('q') ?? '').toLowerCase();
  const limit = query.pageSize(USUAL_RESULTS, MAX_RESULTS);
  const { items } = await visibleRepositories(
    exchange,
    { limit: Math.max(1, limit), signal: request.signal },
    (name) => name.includes(wanted),
  );
  const results = items.slice(0, limit).map((name) => ({
    name,
    description: '',
    star_count: 0,
    is_official: false,
    is_automated: false,
    is_trusted: false,
  }));
  return json(200, { query: wanted, num_results: results.length, results }, {});
}
