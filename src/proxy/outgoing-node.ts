/** The Node twin of what `outgoing.ts` does on Bun: there the trust, the address and the proxy are a dispatcher's. */
import type { LookupFunction } from 'node:net';
import { Readable } from 'node:stream';
import { Agent, type Dispatcher, ProxyAgent, request as send } from 'undici';
import { proxyFor } from './http-proxy.ts';
import type { Send, TlsTrust } from './send.ts';

/** Connections that are kept, by where they lead. */
const MAX_DISPATCHERS = 100;

export function onNode({ ca, insecure }: TlsTrust): Send {
  const connect = {
    ...(ca === undefined ? {} : { ca }),
    ...(insecure === true ? { rejectUnauthorized: false } : {}),
  };
  // The time limits are those of the caller's signal.
  const patience = { headersTimeout: 0, bodyTimeout: 0 };
  const dispatchers = new Map<string, Dispatcher>();
  const dispatcherFor = (url: URL, address: string | undefined): Dispatcher => {
    const via = proxyFor(url);
    const key = via === undefined ? `${url.hostname} ${address ?? ''}` : `${url.protocol} by ${via.href}`;
    const known = dispatchers.get(key);
    if (known !== undefined) return known;
    const made =
      via === undefined
        ? new Agent({
            ...patience,
            connect: { ...connect, ...(address === undefined ? {} : { lookup: always(address) }) },
          })
        : new ProxyAgent({
            ...patience,
            uri: via.href,
            requestTls: connect,
            // As curl and Bun do: many proxies open tunnels to the port of HTTPS only.
            proxyTunnel: url.protocol === 'https:',
          });
    dispatchers.set(key, made);
    for (const [oldest, dispatcher] of dispatchers) {
      if (dispatchers.size <= MAX_DISPATCHERS) break;
      dispatchers.delete(oldest);
      void dispatcher.close().catch(() => undefined);
    }
    return made;
  };
  // Not by `fetch`, which would decompress what a digest is of.
  return async ({ url, address, body, ...request }) => {
    const answer = await send(url, {
      ...request,
      dispatcher: dispatcherFor(url, address),
      ...(body === undefined
        ? {}
        : { body: body instanceof ReadableStream ? Readable.fromWeb(body as never) : body }),
    });
    const headers = new Headers();
    for (const [name, value] of Object.entries(answer.headers)) {
      for (const one of [value ?? []].flat()) headers.append(name, one);
    }
    const { statusCode: status } = answer;
    if (request.method === 'HEAD' || status === 204 || status === 304) {
      await answer.body.dump();
      return new Response(null, { status, headers });
    }
    return new Response(Readable.toWeb(answer.body) as ReadableStream<Uint8Array>, { status, headers });
  };
}

function always(address: string): LookupFunction {
  const family = address.includes(':') ? 6 : 4;
  return (_hostname, options, done) => {
    if (options.all === true) done(null, [{ address, family }]);
    else done(null, address, family);
  };
}
