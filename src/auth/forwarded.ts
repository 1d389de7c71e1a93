/** Who the client is behind proxies: what `Forwarded` (RFC 7239) and `X-Forwarded-*` say, where they may be believed. */
import { RegistryError } from '../oci/errors.ts';
import type { Requester } from './access.ts';
import { ipRange, parseAddress, plainAddress } from './ip-range.ts';

/** What a request says of the client that it was made for. */
export type Origin = Pick<Requester, 'remoteAddress' | 'encrypted' | 'host'>;

/** One hop, as the proxy that it came to tells of it. */
interface Hop {
  /** Without port and brackets; `''` for one that is hidden or no address, undefined where nothing is said of it. */
  readonly address?: string | undefined;
  readonly scheme?: string | undefined;
  readonly host?: string | undefined;
}

const NOTHING: Hop = {};

const FAMILY = ['x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host'] as const;

/** Proxies whose word counts. */
export class TrustedProxies {
  readonly #isListed: (address: ReturnType<typeof parseAddress>) => boolean;
  readonly #trustsSockets: boolean;

  /** @param proxies addresses, blocks, and `unix` for who comes by the unix socket. @throws Error for anything else */
  constructor(proxies: readonly string[]) {
    this.#isListed = ipRange(proxies.filter((proxy) => proxy !== 'unix'));
    this.#trustsSockets = proxies.includes('unix');
  }

  /** Whether the peer of a connection is one of the proxies; its address is `''` for a unix socket. */
  trusts(remoteAddress: string): boolean {
    return remoteAddress === '' ? this.#trustsSockets : this.#isListed(parseAddress(remoteAddress));
  }

  /**
   * Who the client is: of the hops from the nearest on the first one that is no proxy of ours. Each hop was told by the one
   * before it, so what is behind the first stranger may be made up, and does not count. Undefined where the peer is no
   * proxy of ours, or tells nothing.
   * @throws RegistryError 400 when `Forwarded` cannot be read, or when the two kinds of headers name different clients: a
   * proxy sets one of them, and hands on what the client wrote into the other
   */
  originOf(request: Request, requester: Requester): Origin | undefined {
    if (!isForwarded(request) || !this.trusts(requester.remoteAddress)) return undefined;
    const { headers } = request;
    const forwarded = headers.get('forwarded');
    const older = FAMILY.some((name) => headers.has(name)) ? this.#client(hopsOf(headers)) : undefined;
    const newer = forwarded === null ? undefined : this.#client(parseForwarded(forwarded));
    if (older !== undefined && newer !== undefined && older.address !== newer.address) throw contradiction();
    const { address, scheme, host } = older ?? newer ?? NOTHING;
    return {
      remoteAddress: address ?? requester.remoteAddress,
      encrypted: scheme === undefined ? requester.encrypted : scheme === 'https',
      host: host ?? requester.host,
    };
  }

  #client(hops: readonly Hop[]): Hop | undefined {
    return hops.findLast(({ address = '' }) => !this.#isListed(parseAddress(address))) ?? hops[0];
  }
}

function contradiction(): RegistryError {
  return refusal('Forwarded and X-Forwarded-For name different clients: set or remove both');
}

function refusal(what: string): RegistryError {
  const message = `the proxy in front of this registry sends headers that cannot be used: ${what}`;
  return new RegistryError('UNSUPPORTED', message, { status: 400 });
}

/** Whether a request has a word of some proxy about its client. */
export function isForwarded({ headers }: Request): boolean {
  return headers.has('forwarded') || FAMILY.some((name) => headers.has(name));
}

/**
 * The hops of `X-Forwarded-For`, nearest last, with `-Proto` and `-Host` beside them: proxies add to those as well, or
 * leave one value for all.
 */
function hopsOf(headers: Headers): readonly Hop[] {
  const [addresses, schemes, hosts] = FAMILY.map((name) =>
    headers
      .get(name)
      ?.split(',')
      .map((item) => item.trim()),
  );
  const fromBehind = (items: readonly string[] | undefined, behind: number) =>
    items?.[Math.max(0, items.length - 1 - behind)]?.toLowerCase() || undefined;
  return (addresses ?? [undefined]).map((address, index, { length }) => ({
    address: address === undefined ? undefined : addressOf(address),
    scheme: fromBehind(schemes, length - 1 - index),
    host: fromBehind(hosts, length - 1 - index),
  }));
}

/** One `name=value` of RFC 7239 §4, and what ends it. */
const PAIR = /\s*([\w!#$%&'*+.^`|~-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",;]*))\s*([;,]|$)/y;

/** The hops of `Forwarded`, nearest last. @throws RegistryError for text that is none: what is meant is not guessed at */
function parseForwarded(text: string): readonly Hop[] {
  const hops: Hop[] = [];
  let pairs = new Map<string, string>();
  for (PAIR.lastIndex = 0; PAIR.lastIndex < text.length;) {
    const found = PAIR.exec(text);
    if (found === null) throw refusal('Forwarded is not of the form that RFC 7239 has');
    const [, name = '', quoted, plain = '', end] = found;
    pairs.set(name.toLowerCase(), quoted?.replaceAll(/\\(.)/g, '$1') ?? plain);
    if (end === ';') continue;
    const address = pairs.get('for');
    hops.push({
      address: address === undefined ? undefined : addressOf(address),
      scheme: pairs.get('proto')?.toLowerCase(),
      host: pairs.get('host')?.toLowerCase(),
    });
    pairs = new Map();
  }
  return hops;
}

/** Of `1.2.3.4`, `1.2.3.4:5`, `2001:db8::1`, `[2001:db8::1]` and `[2001:db8::1]:5`; `''` for anything else. */
function addressOf(text: string): string {
  const [, bracketed, withPort] = /^(?:\[([^\]]+)\](?::\w+)?|([\d.]+):\w+)$/.exec(text) ?? [];
  const address = plainAddress(bracketed ?? withPort ?? text);
  return parseAddress(address) === undefined ? '' : address;
}
