/** HTTP requests to other registries, on either runtime. What differs between the two is here and in outgoing-node.ts. */
import { proxyFor } from './http-proxy.ts';
import type { Send, TlsTrust } from './send.ts';

const ON_BUN = typeof Bun !== 'undefined';

/** Sends by what the runtime has. `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of the environment are honoured. */
export function outgoing(trust: TlsTrust): Send {
  if (ON_BUN) return onBun(trust);
  let made: Promise<Send> | undefined;
  return async (request) => {
    made ??= import('./outgoing-node.ts').then(({ onNode }) => onNode(trust));
    return (await made)(request);
  };
}

function onBun({ ca, insecure }: TlsTrust): Send {
  return ({ url, address, headers, ...request }) => {
    const via = proxyFor(url);
    const pinned = address === undefined || via !== undefined ? url : withHost(url, address);
    const tls = {
      ...(ca === undefined ? {} : { ca }),
      ...(insecure === true ? { rejectUnauthorized: false } : {}),
      ...(pinned === url ? {} : { serverName: url.hostname }),
    };
    return fetch(pinned, {
      ...request,
      headers: pinned === url ? headers : { ...headers, host: url.host },
      redirect: 'manual',
      ...(via === undefined ? {} : { proxy: via.href }),
      ...(Object.keys(tls).length === 0 ? {} : { tls }),
      decompress: false,
    });
  };
}

function withHost(url: URL, address: string): URL {
  const pinned = new URL(url);
  pinned.hostname = address.includes(':') ? `[${address}]` : address;
  return pinned;
}
