/** What is answered by plain HTTP where the registry itself speaks TLS. */
import type { RootCa } from './exchange.ts';
import { rootCaAnswer } from './root-ca.ts';
import { match, splitTarget } from './router.ts';
import { withoutBody } from './unasked.ts';

/** What there is to tell before TLS can be spoken. */
export interface PlainAnswers {
  /** The certificate of an authority of our own. */
  readonly rootCa?: RootCa | undefined;
  /** The key authorization of an http-01 token (RFC 8555 §8.3), whatever text it is; undefined for an unknown one. */
  readonly token?: ((token: string) => Promise<string | undefined>) | undefined;
}

const CHALLENGES = '/.well-known/acme-challenge/';

/**
 * What is needed before TLS can be spoken, and for all else a redirect to TLS. A client that sends a login by plain HTTP is
 * not asked for one, and nothing of what it sends is used.
 * @param tlsPort where the registry is
 */
export function createPlainHandler(
  { rootCa, token }: PlainAnswers,
  tlsPort: number,
): (request: Request) => Promise<Response> {
  return async (request) => {
    const { path, query } = splitTarget(request.url);
    const { method } = request;
    const isRead = method === 'GET' || method === 'HEAD';
    if (token !== undefined && path.startsWith(CHALLENGES)) {
      const answer = isRead ? await token(path.slice(CHALLENGES.length)) : undefined;
      if (answer === undefined)
        return new Response(null, { status: 404, headers: { 'Content-Length': '0' } });
      const headers = { 'Content-Type': 'application/octet-stream', 'Cache-Control': 'no-store' };
      return withoutBody(method, new Response(answer, { headers }));
    }
    const route = rootCa !== undefined && isRead && path.startsWith('/root-ca.') ? match(path) : undefined;
    if (rootCa !== undefined && route?.resource === 'root-ca')
      return withoutBody(method, rootCaAnswer(rootCa, route.form));
    const host = new URL(request.url, 'http://localhost').hostname;
    const port = tlsPort === 443 ? '' : `:${tlsPort}`;
    const location = `https://${host}${port}${path}${query === '' ? '' : `?${query}`}`;
    return new Response(null, { status: 308, headers: { Location: location, 'Content-Length': '0' } });
  };
}
