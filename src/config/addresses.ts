/** Reading the addresses of the `http` section. */
import { isIP } from 'node:net';

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

/** Reads the path of the metrics, which may be left empty; undefined when no request would ever have it, or health has it. */
export function parseMetricsPath(text: string): string | undefined {
  const isPath = /^\/[\w\-.~/]+$/.test(text) && !text.split('/').some((part) => /^\.\.?$/.test(part));
  return (isPath || text === '') && text !== HEALTH_PATH ? text : undefined;
}

/** As in `registry:2`. */
export const HEALTH_PATH = '/debug/health';

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

/**
 * Whether a connection could come to either of two addresses to listen on. What a name leads to is not known: it counts as
 * any address. Port 0 is another one for each.
 */
export function overlap(
  one: TcpAddress | { readonly unix: string },
  other: TcpAddress | { readonly unix: string },
): boolean {
  if ('unix' in one || 'unix' in other || one.port !== other.port || one.port === 0) return false;
  const [left, right] = [canonicalAddress(one.hostname), canonicalAddress(other.hostname)];
  if (left === right) return true;
  const versions = [isIP(left), isIP(right)];
  if (versions.includes(0) || left === '::' || right === '::') return true;
  return versions[0] === versions[1] && (left === '0.0.0.0' || right === '0.0.0.0');
}

function canonicalAddress(hostname: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(hostname)?.[1];
  if (mapped !== undefined) return mapped;
  return isIP(hostname) === 6 && !hostname.includes('%')
    ? new URL(`http://[${hostname}]`).hostname.slice(1, -1)
    : hostname.toLowerCase();
}

/** Reads a DNS name or an address that a certificate can be for. */
export function parseCertificateName(text: string): string | undefined {
  if (isIP(text) !== 0) return text.includes('%') ? undefined : text;
  return parseDomain(text.replace(/^\*\./, '')) === undefined ? undefined : text;
}

/** Reads a domain, without `*`; a dot before it, as some write it, is left out. */
export function parseDomain(text: string): string | undefined {
  const name = text.replace(/^\./, '');
  const labels = name.split('.');
  const isName = labels.every((label) => /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/i.test(label));
  // What ends in a number is meant for an address, and is none.
  return isName && name.length <= 253 && !/^\d+$/.test(labels.at(-1) ?? '') ? name : undefined;
}

/** Reads a DNS name that a certificate can be chosen by, in lower case; its first label may be `*`. */
export function parseServerName(text: string): string | undefined {
  const name = text.toLowerCase();
  const isName =
    /^(?:\*\.)?[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/.test(name);
  // The names of addresses are not asked for (RFC 6066 §3).
  return isName && name.length <= 255 && isIP(name) === 0 ? name : undefined;
}

/** Reads an address, a block of addresses such as `10.0.0.0/8`, or `unix` for who comes by the unix socket. */
export function parseProxy(text: string): string | undefined {
  if (text === 'unix') return text;
  const [address = '', size, ...more] = text.split('/');
  const version = isIP(address);
  if (version === 0 || address.includes('%') || more.length > 0) return undefined;
  if (size === undefined) return text;
  return /^\d{1,3}$/.test(size) && Number(size) <= (version === 4 ? 32 : 128) ? text : undefined;
}
