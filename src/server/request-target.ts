/** The body of an answer to a request that the handler failed on: the form of an OCI error, and no detail. */
export const FAILURE_BODY = '{"errors":[]}';

/** Status and headers that go with `FAILURE_BODY`. */
export const FAILURE_INIT = { status: 500, headers: { 'content-type': 'application/json' } } as const;

/**
 * Makes the URL of a request absolute that has no usable `Host` header. Without the header (HTTP/1.0, as the
 * health checks of load balancers) the host is `localhost`; a malformed or doubled header, and the target of a
 * CONNECT, is answered 400.
 */
export function repairRequest(request: Request, encrypted: boolean): Request | Response {
  const target = request.url;
  if (request.headers.get('host') === null && target.startsWith('/')) {
    return new Request(`${encrypted ? 'https' : 'http'}://localhost${target}`, request);
  }
  return new Response(FAILURE_BODY, { ...FAILURE_INIT, status: 400 });
}
