import { Credentials } from './credentials.ts';
import type { Exchange } from './exchange.ts';
import { transact } from './wire.ts';
import type { WireBody } from './wire.ts';

/** Header names in the spelling to send, with their values; an array sends the header once a value. */
export type RequestHeaders = Readonly<Record<string, string | readonly string[]>>;

export interface RequestOptions {
  readonly headers?: RequestHeaders;
  readonly body?: WireBody;
  /** Hang up after the body. */
  readonly hangUp?: boolean;
  /** The request is malformed on purpose: its answer is neither followed nor shown to the observers. */
  readonly malformed?: boolean;
}

/** Sees each answer. */
export type Observer = (exchange: Exchange) => void;

const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/**
 * Speaks to one registry: adds credentials when it is asked for them and follows redirects of reads, as the
 * specification allows a registry to answer "any request" with one. Everything else is left to the caller.
 */
export class Client {
  readonly origin: URL;
  readonly #credentials: Credentials;
  readonly #observers: Observer[] = [];

  /** @throws Error when `url` is not an http(s) origin */
  constructor(options: { readonly url: string; readonly username?: string; readonly password?: string }) {
    const url = new URL(options.url);
    if (!/^https?:$/.test(url.protocol) || url.pathname !== '/' || url.search !== '')
      throw new Error(`the registry's URL must be http(s)://host[:port] without a path, not ${options.url}`);
    this.origin = url;
    this.#credentials = new Credentials(options.username, options.password);
  }

  observe(observer: Observer): void {
    this.#observers.push(observer);
  }

  /**
   * Sends a request to a target of the registry, or to an absolute URL that the registry gave out.
   * @throws Error when no whole answer comes
   */
  async request(method: string, target: string, options: RequestOptions = {}): Promise<Exchange> {
    let answer = await this.#once(method, target, options);
    const retry = answer.status === 401 && (await this.#credentials.learn(answer));
    if (retry) answer = await this.#once(method, target, options);
    for (let hops = 0; hops < 5 && options.malformed !== true && REDIRECTS.has(answer.status); hops++) {
      const location = answer.headers.get('location')?.[0];
      if ((method !== 'GET' && method !== 'HEAD') || location === undefined) break;
      answer = await this.#once(method, this.resolve(answer, location), options);
    }
    return answer;
  }

  /** The absolute URL, or the target on this registry, that a `Location` or `Link` of an answer means. */
  resolve(answer: Exchange, reference: string): string {
    const url = new URL(reference, new URL(answer.target, answer.origin));
    return url.origin === this.origin.origin ? url.pathname + url.search : url.href;
  }

  async #once(method: string, target: string, options: RequestOptions): Promise<Exchange> {
    const absolute = /^https?:\/\//.test(target) ? new URL(target) : undefined;
    const origin = absolute === undefined ? this.origin : new URL(absolute.origin);
    const path = absolute === undefined ? target : absolute.pathname + absolute.search;
    const sent = Object.entries(options.headers ?? {}).flatMap(([name, value]) =>
      (typeof value === 'string' ? [value] : value).map((one): [string, string] => [name, one]),
    );
    const authorization = this.#credentials.authorization(method, path);
    const carries = sent.some(([name]) => name.toLowerCase() === 'authorization');
    if (authorization !== undefined && !carries && origin.origin === this.origin.origin)
      sent.push(['Authorization', authorization]);
    const answer = await transact(origin, {
      method,
      target: path,
      headers: sent,
      ...(options.body === undefined ? {} : { body: options.body }),
      ...(options.hangUp === undefined ? {} : { hangUp: options.hangUp }),
    });
    const sentSize = options.body === undefined ? 0 : bodySize(options.body);
    const malformed = options.malformed ?? false;
    const record: Exchange = { ...answer, method, target: path, origin, sent, sentSize, malformed };
    if (!malformed && record.status !== 0) for (const observer of this.#observers) observer(record);
    return record;
  }
}

function bodySize(body: WireBody): number | undefined {
  return body instanceof Uint8Array ? body.length : undefined;
}

/** `target` with further query parameters behind those that it has; a list repeats the parameter. */
export function withQuery(
  target: string,
  query: Readonly<Record<string, string | readonly string[]>>,
): string {
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    (typeof value === 'string' ? [value] : value).map((one) => `${name}=${encodeURIComponent(one)}`),
  );
  return pairs.length === 0 ? target : `${target}${target.includes('?') ? '&' : '?'}${pairs.join('&')}`;
}
