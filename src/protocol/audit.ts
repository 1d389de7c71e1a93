import type { Change } from './exchange.ts';
import type { Route } from './router.ts';

/** What of a request is kept for later: the changes that it made. undefined for all others. */
export function changeMade(
  route: Route,
  method: string,
  query: string,
  response: Response,
): Change | undefined {
  const { status, headers } = response;
  if (!('name' in route)) return undefined;
  const repository = route.name;
  const digest = headers.get('docker-content-digest');
  const content = digest === null ? {} : { reference: digest };
  switch (route.resource) {
    case 'manifest':
      if (method === 'PUT' && status === 201)
        return { event: 'push', repository, reference: route.reference };
      if (method === 'DELETE' && status === 202)
        return { event: 'delete', repository, reference: route.reference };
      return undefined;
    case 'blob':
      if (method === 'DELETE' && status === 202)
        return { event: 'delete', repository, reference: route.digest };
      return undefined;
    case 'upload':
      return method === 'PUT' && status === 201 ? { event: 'push', repository, ...content } : undefined;
    case 'uploads':
      if (status !== 201) return undefined;
      return isMount(query)
        ? { event: 'mount', repository, ...content, ...sourceOf(query) }
        : { event: 'push', repository, ...content };
    case 'kept':
      return method === 'DELETE' && status === 202
        ? { event: 'delete', repository, reference: route.reference, detail: 'from the cache' }
        : undefined;
    // What went is noted where it is known.
    case 'repository':
    case 'tag-pattern':
    case 'tags':
    case 'referrers':
      return undefined;
  }
}

function isMount(query: string): boolean {
  return new URLSearchParams(query).has('mount');
}

function sourceOf(query: string): { detail?: string } {
  const from = new URLSearchParams(query).get('from');
  return from === null ? {} : { detail: `from ${from}` };
}
