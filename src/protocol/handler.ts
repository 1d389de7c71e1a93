/** A request's life: match, authorise, handle, map errors, log. */
import type { Access, Actor, Requester, Scope } from '../auth/access.ts';
import type { AccessRecord, Audit, Logger } from '../log.ts';
import { redactQuery } from '../log.ts';
import { RegistryError } from '../oci/errors.ts';
import type { Registry } from '../oci/registry.ts';
import { changeMade } from './audit.ts';
import { drainRefused, lingering } from './body.ts';
import { deleteBlob, getBlob } from './blobs.ts';
import { getCache, handleKept } from './cache.ts';
import { deleteRepository, deleteTags } from './deletion.ts';
import { errorResponse, type Failure, failureResponse } from './errors.ts';
import { actionsOf, type Change, type Connection, type Exchange, type ProtocolSettings } from './exchange.ts';
import { connectionOf, type Origin } from './forwarded-connection.ts';
import { getCatalog, getReferrers, getTags } from './lists.ts';
import { deleteManifest, getManifest, putManifest } from './manifests.ts';
import { Query } from './query.ts';
import { search } from './search.ts';
import { nothingHere } from './nothing-here.ts';
import { answerUnasked, isUnasked, type UnaskedRoute, withoutBody } from './unasked.ts';
import { match, METHODS, type Route, splitTarget } from './router.ts';
import { deleteUpload, getUpload, patchUpload, putUpload, startUpload } from './uploads.ts';

export interface HandlerOptions {
  readonly registry: Registry;
  readonly access: Access;
  readonly settings: ProtocolSettings;
  readonly log: Logger;
  /** Told of every request when its answer begins. */
  readonly onAccess?: (record: AccessRecord) => void;
  /** Where a request comes from that proxies in front hand on; undefined for what the connection tells. */
  readonly originOf?: (request: Request, requester: Requester) => Origin | undefined;
  /** Told of every change that was made. */
  readonly audit?: Audit;
  /** What a client may know of an error that is not a `RegistryError`; undefined for nothing. */
  readonly describeFailure: (error: unknown) => Failure | undefined;
}

const API_VERSION = 'Docker-Distribution-Api-Version';
const READS = new Set(['GET', 'HEAD', 'OPTIONS']);

/** The handler of the whole API. It never rejects. */
export function createHandler(
  options: HandlerOptions,
): (request: Request, connection: Connection) => Promise<Response> {
  const { settings, onAccess } = options;
  const common = { [API_VERSION]: 'registry/2.0', 'X-Content-Type-Options': 'nosniff', ...settings.headers };
  const extra = Object.entries(common);
  return async (request, connection) => {
    const arrived = onAccess === undefined ? 0 : performance.now();
    const { path, query } = splitTarget(request.url);
    const who = { name: '', connection };
    const response = await answer(options, request, path, query, who);
    const { headers } = response;
    for (const [name, value] of extra) if (!headers.has(name)) headers.set(name, value);
    if (onAccess !== undefined) {
      const size = headers.get('content-length');
      onAccess({
        remoteAddress: who.connection.remoteAddress,
        method: request.method,
        target: redactQuery(query === '' ? path : `${path}?${query}`),
        status: response.status,
        size: size === null ? undefined : Number(size),
        duration: performance.now() - arrived,
        account: who.name,
        userAgent: request.headers.get('user-agent') ?? '',
        referer: request.headers.get('referer') ?? '',
      });
    }
    return response;
  };
}

async function answer(
  options: HandlerOptions,
  request: Request,
  path: string,
  query: string,
  who: { name: string; connection: Connection },
): Promise<Response> {
  const { access, registry, settings, log, describeFailure } = options;
  const { method } = request;
  /** What is asked for, once it is known that who asks has the right. */
  let admitted: Route | undefined;
  try {
    const connection = connectionOf(request, who.connection, options.originOf);
    who.connection = connection;
    const isOwn = (namespace: string) =>
      settings.ownNames.includes(namespace) || namespace === (connection.host ?? request.headers.get('host'));
    const { route, namespace } = mirrored(find(path, settings.prefix), method, query, registry, isOwn);
    if (method === 'OPTIONS') return preflight(route, settings);
    const allowed = METHODS[route.resource];
    if (!allowed.includes(method)) throw methodNotAllowed(allowed);
    if (isUnasked(route)) return await answerUnasked(access, route, request, connection, settings.rootCa);
    const actor: Actor = await access.authorize(request, connection, scopesOf(route, method));
    who.name = actor.name;
    admitted = route;
    const noted: Change[] = [];
    const note = (change: Change) => void noted.push(change);
    const exchange = {
      request,
      method,
      query: new Query(query),
      actor,
      registry,
      settings,
      connection,
      note,
    };
    const response = await (READS.has(method)
      ? handle(exchange, route)
      : settings.writes.during(async () => handle(exchange, route)));
    if (namespace !== undefined) response.headers.set('OCI-Namespace', namespace);
    if (options.audit !== undefined) {
      const { remoteAddress } = connection;
      const change = noted.length > 0 ? undefined : changeMade(route, method, query, response);
      for (const made of change === undefined ? noted : [change])
        options.audit({ ...made, account: actor.name, remoteAddress, result: 'done' });
    }
    return response;
  } catch (error) {
    const unwanted = READS.has(method) ? undefined : await drainRefused(request);
    const whileItComes = (response: Response): Response =>
      unwanted === undefined ? response : lingering(unwanted, response);
    if (error instanceof RegistryError) {
      const response = errorResponse(readable(error, method), settings.headers);
      // Who was let in may still be refused what it asks for: by a rule of the content's, not of the account's.
      if (admitted !== undefined && error.code === 'DENIED')
        options.audit?.({
          event: 'denied',
          account: who.name,
          remoteAddress: who.connection.remoteAddress,
          result: 'refused',
          ...('name' in admitted ? { repository: admitted.name } : {}),
          detail: error.message,
        });
      return whileItComes(response);
    }
    if (request.signal.aborted) return new Response(null, { status: 499 }); // the client has left; for the log
    const failure = describeFailure(error);
    const told = `${method} ${redactQuery(path)} failed`;
    if (failure?.isExpected === true && error instanceof Error) log.warn(told, { error: error.message });
    else log.error(told, { error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    return whileItComes(
      failureResponse(failure ?? { status: 500, message: 'internal error' }, settings.headers),
    );
  }
}

/**
 * The repository that is meant, by its one name: rights are asked for that. A read that names another registry is one of the repository that caches it here, also for its rights. Clients send `ns`
 * with everything that goes by a mirror's name; where nothing is cached it means nothing.
 */
function mirrored(
  route: Route,
  method: string,
  query: string,
  registry: Registry,
  isOwn: (namespace: string) => boolean,
): { readonly route: Route; readonly namespace?: string } {
  if (!('name' in route)) return { route };
  if (!query.includes('ns=') || !READS.has(method)) {
    const canonical = registry.canonicalName?.(route.name) ?? route.name;
    return { route: canonical === route.name ? route : { ...route, name: canonical } };
  }
  const namespace = new Query(query).one('ns');
  const name = namespace === undefined ? undefined : registry.mirrorOf?.(namespace, route.name);
  if (name !== undefined && namespace !== undefined) return { route: { ...route, name }, namespace };
  // What another registry has must not come from here by chance of its name: the client then asks that one itself.
  if (registry.mirrorOf !== undefined && namespace !== undefined && !isOwn(namespace)) {
    throw new RegistryError('NAME_UNKNOWN', 'this registry is no mirror of that one', {
      status: 404,
      detail: { ns: namespace.slice(0, 256) },
    });
  }
  return { route: { ...route, name: registry.canonicalName?.(route.name) ?? route.name } };
}

function find(path: string, prefix: string): Route {
  const route = path.startsWith(`${prefix}/`) ? match(path.slice(prefix.length)) : undefined;
  if (route !== undefined) return route;
  throw nothingHere();
}

/** A name that cannot exist is merely not found by a read. */
function readable(error: RegistryError, method: string): RegistryError {
  if (error.code !== 'NAME_INVALID' || error.status !== undefined || !READS.has(method)) return error;
  return new RegistryError(error.code, error.message, { status: 404, detail: error.detail });
}

function scopesOf(route: Route, method: string): readonly Scope[] {
  if (route.resource === 'catalog' || route.resource === 'search') return [{ type: route.resource }];
  if (route.resource === 'cache') return [{ type: 'catalog' }];
  if (!('name' in route)) return [];
  return [{ type: 'repository', name: route.name, actions: actionsOf(method, route.resource) }];
}

function handle(exchange: Exchange, route: Exclude<Route, UnaskedRoute>): Promise<Response> | Response {
  const { method } = exchange;
  switch (route.resource) {
    case 'manifest':
      if (method === 'PUT') return putManifest(exchange, route.name, route.reference);
      if (method === 'DELETE') return deleteManifest(exchange, route.name, route.reference);
      return getManifest(exchange, route.name, route.reference);
    case 'blob':
      if (method === 'DELETE') return deleteBlob(exchange, route.name, route.digest);
      return getBlob(exchange, route.name, route.digest);
    case 'uploads':
      return startUpload(exchange, route.name);
    case 'upload':
      if (method === 'PATCH') return patchUpload(exchange, route.name, route.id);
      if (method === 'PUT') return putUpload(exchange, route.name, route.id);
      if (method === 'DELETE') return deleteUpload(exchange, route.name, route.id);
      return getUpload(exchange, route.name, route.id);
    case 'tags':
      return headOf(method, getTags(exchange, route.name));
    case 'referrers':
      return headOf(method, getReferrers(exchange, route.name, route.digest));
    case 'catalog':
      return headOf(method, getCatalog(exchange));
    case 'base':
      return new Response(method === 'HEAD' ? null : '{}', {
        headers: { 'Content-Type': 'application/json', 'Content-Length': '2' },
      });
    case 'search':
      return headOf(method, search(exchange));
    case 'cache':
      return headOf(method, getCache(exchange));
    case 'repository':
      return deleteRepository(exchange, route.name);
    case 'tag-pattern':
      return deleteTags(exchange, route.name);
    case 'kept':
      return headOf(method, handleKept(exchange, route.name, route.reference));
  }
}

async function headOf(method: string, answer: Promise<Response>): Promise<Response> {
  return withoutBody(method, await answer);
}

function methodNotAllowed(allowed: readonly string[]): RegistryError {
  return new RegistryError('UNSUPPORTED', 'the method is not supported here', {
    headers: { Allow: [...allowed, 'OPTIONS'].join(', ') },
  });
}

/** What browser pages need to see of our answers. */
const EXPOSED = 'Docker-Content-Digest, Link, WWW-Authenticate, OCI-Filters-Applied, OCI-Subject, OCI-Tag';

/**
 * A browser asks before it sends a login, so this is never challenged. Whether another origin may read us
 * at all is the operator's to say, by `http.headers`, as with `registry:2`; we only complete what is said.
 */
function preflight(route: Route, { headers }: ProtocolSettings): Response {
  const methods = [...METHODS[route.resource], 'OPTIONS'].join(', ');
  const allowed = Object.keys(headers).some((name) => name.toLowerCase() === 'access-control-allow-origin');
  return new Response(null, {
    status: 204,
    headers: {
      Allow: methods,
      ...(allowed
        ? {
            'Access-Control-Allow-Methods': methods,
            'Access-Control-Allow-Headers':
              'Authorization, Accept, Content-Type, Cache-Control, If-None-Match, Range',
            'Access-Control-Expose-Headers': EXPOSED,
            'Access-Control-Max-Age': '600',
            ...headers,
          }
        : {}),
    },
  });
}
