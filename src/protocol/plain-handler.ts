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
  /**
   * The names and addresses that TLS is spoken for, in lower case, wildcards too. Nobody is sent elsewhere, as whoever
   * chooses the `Host` of a request may not be who follows the answer.
   */
  readonly hosts: () => readonly string[];
}

const CHALLENGES = '/.well-known/acme-challenge/';

/**
 * What is needed before TLS can be spoken, and for all else a redirect to TLS. A client that sends a login by plain HTTP is
 * not asked for one, and nothing of what it sends is used.
 * @param tlsPort where the registry is
 */
export function createPlainHandler(
  { rootCa, token, hosts }: PlainAnswers,
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
    const host = hostFor(request.url, hosts());
    if (host === undefined) return new Response(null, { status: 400, headers: { 'Content-Length': '0' } });
    const port = tlsPort === 443 ? '' : `:${tlsPort}`;
    const location = `https://${host}${port}${path}${query === '' ? '' : `?${query}`}`;
    return new Response(null, { status: 308, headers: { Location: location, 'Content-Length': '0' } });
  };
}

/** The host to go on with: the one that was asked for, or else the first that is there. Undefined where there is none. */
function hostFor(url: string, hosts: readonly string[]): string | undefined {
  // Ports and zones that no URL can have come this far by Bun's server.
  if (!URL.canParse(url, 'http://localhost')) return undefined;
  const asked = new URL(url, 'http://localhost').hostname.replace(/\.$/, '');
  const known = hosts.map(inUrl);
  if (known.includes(asked) || known.includes(asked.replace(/^[^.]*/, '*'))) return asked;
  const elsewhere = known.filter((host) => !host.startsWith('*'));
  return elsewhere.find((host) => !LOOPBACK.test(host)) ?? elsewhere[0];
}

/** Where only this machine itself gets to. */
const LOOPBACK = /^(?:localhost|127\..*|\[::1\])$/;

/** Addresses are written in several ways, and URLs have one. */
function inUrl(host: string): string {
  const url = `http://${host.includes(':') ? `[${host}]` : host}`;
  return host.startsWith('*') || !URL.canParse(url) ? host : new URL(url).hostname;
}
