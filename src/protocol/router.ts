import { isRepositoryName, type RepositoryName } from '../oci/name.ts';
import { RegistryError } from '../oci/errors.ts';

/** A resource of the API and the parts of the path that choose it. */
export type Route =
  | { readonly resource: 'base' | 'catalog' | 'search' | 'cache' }
  | { readonly resource: 'root' | 'v1-ping' | 'token' | 'keys' }
  | { readonly resource: 'root-ca'; readonly form: 'crt' | 'der' | 'mobileconfig' }
  | { readonly resource: 'tags' | 'uploads' | 'repository' | 'tag-pattern'; readonly name: RepositoryName }
  | { readonly resource: 'manifest' | 'kept'; readonly name: RepositoryName; readonly reference: string }
  | { readonly resource: 'blob' | 'referrers'; readonly name: RepositoryName; readonly digest: string }
  | { readonly resource: 'upload'; readonly name: RepositoryName; readonly id: string };

export type Resource = Route['resource'];

/** The methods that each resource answers; a new one belongs here before it belongs anywhere else. */
export const METHODS: Readonly<Record<Resource, readonly string[]>> = {
  root: ['GET', 'HEAD'],
  'root-ca': ['GET', 'HEAD'],
  base: ['GET', 'HEAD'],
  catalog: ['GET', 'HEAD'],
  token: ['GET', 'POST'],
  keys: ['GET', 'HEAD'],
  'v1-ping': ['GET', 'HEAD'],
  search: ['GET', 'HEAD'],
  cache: ['GET', 'HEAD'],
  tags: ['GET', 'HEAD'],
  referrers: ['GET', 'HEAD'],
  manifest: ['GET', 'HEAD', 'PUT', 'DELETE'],
  blob: ['GET', 'HEAD', 'DELETE'],
  kept: ['GET', 'HEAD', 'POST', 'DELETE'],
  repository: ['DELETE'],
  'tag-pattern': ['DELETE'],
  uploads: ['POST'],
  upload: ['GET', 'HEAD', 'PATCH', 'PUT', 'DELETE'],
};

/** Paths without a repository. None of them can be one of a repository: those have two more components. */
const FIXED: ReadonlyMap<string, Route> = new Map<string, Route>([
  ['/', { resource: 'root' }],
  ['/root-ca.crt', { resource: 'root-ca', form: 'crt' }],
  ['/root-ca.der', { resource: 'root-ca', form: 'der' }],
  ['/root-ca.mobileconfig', { resource: 'root-ca', form: 'mobileconfig' }],
  ['/v2', { resource: 'base' }],
  ['/v2/', { resource: 'base' }],
  ['/v2/_catalog', { resource: 'catalog' }],
  ['/v2/_cache', { resource: 'cache' }],
  ['/v2/token', { resource: 'token' }],
  ['/v2/token/jwks.json', { resource: 'keys' }],
  ['/v1/_ping', { resource: 'v1-ping' }],
  ['/v1/search', { resource: 'search' }],
]);

const UPLOAD_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/**
 * Finds the resource of a path. Names may contain components such as `blobs` and `manifests`, so the path is
 * read from its right end; the same reading decides who is let in and what is served. Nothing is decoded: no
 * name, tag, digest or upload id has a character that would need it.
 * @returns undefined when there is no such resource
 * @throws RegistryError `NAME_INVALID` when only the repository's name is wrong
 */
export function match(path: string): Route | undefined {
  const fixed = FIXED.get(path);
  if (fixed !== undefined) return fixed;
  if (!path.startsWith('/v2/')) return undefined;
  if (path.endsWith('/blobs/uploads/'))
    return { resource: 'uploads', name: nameIn(path, '/blobs/uploads/'.length) };
  const slash = path.lastIndexOf('/');
  const last = path.slice(slash + 1);
  const before = path.lastIndexOf('/', slash - 1);
  switch (path.slice(before + 1, slash)) {
    case 'manifests':
      return { resource: 'manifest', name: nameIn(path, path.length - before), reference: last };
    case 'blobs':
      if (last === 'uploads') return { resource: 'uploads', name: nameIn(path, path.length - before) };
      return { resource: 'blob', name: nameIn(path, path.length - before), digest: last };
    case '_cache':
      return { resource: 'kept', name: nameIn(path, path.length - before), reference: last };
    case '_entrepot':
      if (last === 'repository') return { resource: 'repository', name: nameIn(path, path.length - before) };
      return last === 'tags'
        ? { resource: 'tag-pattern', name: nameIn(path, path.length - before) }
        : undefined;
    case 'referrers':
      return { resource: 'referrers', name: nameIn(path, path.length - before), digest: last };
    case 'tags':
      return last === 'list' ? { resource: 'tags', name: nameIn(path, path.length - before) } : undefined;
    case 'uploads':
      return path.slice(0, before).endsWith('/blobs')
        ? upload(path, before - '/blobs'.length, last)
        : undefined;
    default:
      return undefined;
  }
}

function upload(path: string, end: number, id: string): Route {
  const name = nameIn(path, path.length - end);
  if (UPLOAD_ID.test(id)) return { resource: 'upload', name, id };
  throw new RegistryError('BLOB_UPLOAD_UNKNOWN', 'the upload is not known to this repository');
}

/** The name between `/v2/` and the last `tail` characters. */
function nameIn(path: string, tail: number): RepositoryName {
  const name = path.slice('/v2/'.length, path.length - tail);
  if (isRepositoryName(name)) return name;
  throw new RegistryError('NAME_INVALID', 'the repository name is not valid', {
    detail: { name: name.slice(0, 256) },
  });
}

/**
 * The path and query of a request's URL, without building a `URL`. The server gives an absolute URL whose
 * path is normalised as the URL standard says, or a bare path where the Host header was unusable.
 */
export function splitTarget(url: string): { path: string; query: string } {
  let from = 0;
  if (!url.startsWith('/')) {
    const scheme = url.indexOf('://');
    const slash = scheme < 0 ? -1 : url.indexOf('/', scheme + 3);
    if (slash < 0) return { path: '/', query: '' };
    from = slash;
  }
  const fragment = url.indexOf('#', from);
  const end = fragment < 0 ? url.length : fragment;
  const mark = url.indexOf('?', from);
  if (mark < 0 || mark > end) return { path: url.slice(from, end), query: '' };
  return { path: url.slice(from, mark), query: url.slice(mark + 1, end) };
}
