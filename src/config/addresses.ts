/** Reading the addresses of the `http` section. */

/** A TCP address to listen on; an empty hostname means every address of the machine. */
export interface TcpAddress {
  readonly hostname: string;
  readonly port: number;
}

const HOST_AND_PORT = /^(?:\[([0-9a-fA-F:.]+(?:%[\w.-]+)?)\]|([^:[\]/\s]*)):(\d{1,5})$/;

/** Reads `:5000`, `127.0.0.1:5000`, `localhost:5000`, `[::1]:5000`; undefined when it is none of that form. */
export function parseTcpAddress(text: string): TcpAddress | undefined {
  const match = HOST_AND_PORT.exec(text);
  if (match === null) return undefined;
  const port = Number(match[3]);
  return port > 65_535 ? undefined : { hostname: match[1] ?? match[2] ?? '', port };
}

/**
 * Reads the path under which the API lies. Slashes at the ends may be missing; the result has both, and is `/`
 * for none. Undefined when requests could never match it.
 */
export function parsePrefix(text: string): string | undefined {
  if (!/^[\w\-.~!$&'()*+,;=:@/%]*$/.test(text)) return undefined;
  const parts = text.split('/').filter((part) => part !== '');
  return parts.some((part) => part === '.' || part === '..')
    ? undefined
    : `/${parts.map((p) => `${p}/`).join('')}`;
}

/**
 * Reads the base URL by which clients reach the registry: `http` or `https`, without query or user. The result
 * has no trailing slash. Undefined when it is no such URL.
 */
export function parseHost(text: string): string | undefined {
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  const plain = url.username === '' && url.password === '' && url.search === '' && url.hash === '';
  return plain ? `${url.protocol}//${url.host}${url.pathname.replace(/\/+$/, '')}` : undefined;
}

/** The address as `http.addr` has it. */
export function formatTcpAddress({
  hostname,
  port,
}: {
  readonly hostname: string;
  readonly port: number;
}): string {
  return `${hostname.includes(':') ? `[${hostname}]` : hostname}:${port}`;
}

export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '::1' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}
