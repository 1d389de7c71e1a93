/**
 * What is kept of other registries (ours; no specification has it): `/v2/_cache`, and `/v2/<name>/_cache/<reference>`,
 * which no repository's path can be, as names have no component that begins with `_`.
 */
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { CacheControl } from '../oci/registry.ts';
import { json } from './errors.ts';
import { checkWritable, type Exchange } from './exchange.ts';
import { readable } from './manifests.ts';
import { nothingHere } from './nothing-here.ts';

/** GET `/v2/_cache`: what is kept and what was done, by upstream. For who may see the catalog. */
export async function getCache(exchange: Exchange): Promise<Response> {
  return json(200, await cacheOf(exchange).report(), {});
}

/** GET what is kept of an image, POST to fetch the whole of it ahead (`?platform=`), DELETE to let it go. */
export async function handleKept(
  exchange: Exchange,
  name: RepositoryName,
  reference: string,
): Promise<Response> {
  const { method, query, request } = exchange;
  const cache = cacheOf(exchange);
  const what = readable(reference);
  if (method === 'DELETE') {
    checkWritable(exchange);
    return json(202, await cache.purge(name, what), {});
  }
  if (method !== 'POST') return json(200, await cache.describe(name, what), {});
  checkWritable(exchange);
  await request.body?.cancel();
  const platform = query.one('platform');
  if (platform !== undefined && !/^[a-z0-9]+\/[a-z0-9_]+(?:\/[a-z0-9.]+)?$/.test(platform)) {
    throw new RegistryError('UNSUPPORTED', 'a platform is such as linux/arm64 or linux/arm/v7', {
      status: 400,
    });
  }
  // The client need not wait for all of it: GET tells how far it has come.
  const { digest, done } = await cache.warm(name, what, platform === undefined ? {} : { platform });
  done.catch(() => undefined); // it is logged where it failed
  return json(202, { digest }, { 'Docker-Content-Digest': digest });
}

function cacheOf({ registry }: Exchange): CacheControl {
  if (registry.cache === undefined) throw nothingHere();
  return registry.cache;
}
