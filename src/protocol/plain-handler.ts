/** What is answered by plain HTTP where the registry itself speaks TLS by an authority of its own. */
import type { RootCa } from './exchange.ts';
import { rootCaAnswer } from './root-ca.ts';
import { match, splitTarget } from './router.ts';
import { withoutBody } from './unasked.ts';

/**
 * The authority's certificate, which is needed before TLS can be spoken, and for all else a redirect to TLS. A client
 * that sends a login by plain HTTP is not asked for one, and nothing of what it sends is used.
 * @param tlsPort where the registry is
 */
export function createPlainHandler(rootCa: RootCa, tlsPort: number): (request: Request) => Promise<Response> {
  return (request) => {
    const { path, query } = splitTarget(request.url);
    const { method } = request;
    const isRead = method === 'GET' || method === 'HEAD';
    const route = isRead && path.startsWith('/root-ca.') ? match(path) : undefined;
    if (route?.resource === 'root-ca')
      return Promise.resolve(withoutBody(method, rootCaAnswer(rootCa, route.form)));
    const host = new URL(request.url, 'http://localhost').hostname;
    const port = tlsPort === 443 ? '' : `:${tlsPort}`;
    const location = `https://${host}${port}${path}${query === '' ? '' : `?${query}`}`;
    return Promise.resolve(
      new Response(null, { status: 308, headers: { Location: location, 'Content-Length': '0' } }),
    );
  };
}
