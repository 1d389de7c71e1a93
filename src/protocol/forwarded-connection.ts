import type { Requester } from '../auth/access.ts';
import type { Connection } from './exchange.ts';

/** Who the client is, as proxies say. */
export type Origin = Pick<Requester, 'remoteAddress' | 'encrypted' | 'host'>;

/** A request's connection: the client's own, or that of a proxy which tells of the client. @throws what `originOf` throws */
export function connectionOf(
  request: Request,
  peer: Connection,
  originOf: ((request: Request, requester: Requester) => Origin | undefined) | undefined,
): Connection {
  const origin = originOf?.(request, peer);
  if (origin === undefined) return peer;
  // The peer's certificate is left out: it proves who the proxy is, and not the client.
  return { ...origin, liftIdleLimit: () => peer.liftIdleLimit() };
}
