/** One other registry, as a client sees it. */
import { parseBearerChallenge } from './bearer-challenge.ts';
import { proxyFor } from './http-proxy.ts';
import { outgoing } from './outgoing.ts';
import { publicAddressOf } from './public-address.ts';
import type { Send, TlsTrust } from './send.ts';
import type { CredentialSource, UpstreamCredentials } from './upstream-credentials.ts';
import { UpstreamFailure } from './upstream-failure.ts';
import { UpstreamTokens } from './upstream-tokens.ts';

export interface UpstreamOptions {
  /** The host that names it in paths, such as `docker.io`. */
  readonly name: string;
  /** Where it is, such as `https://registry-1.docker.io`. */
  readonly url: URL;
  readonly credentials: CredentialSource;
  readonly trust: TlsTrust;
  /** Whether the operator named its URL: then it may be in a private network. */
  readonly isConfigured: boolean;
  /** Other hosts that it may send us to, for tokens and content, also in a private network. */
  readonly hosts: readonly string[];
  /** Milliseconds for an answer to begin. */
  readonly timeoutMs: number;
}

export interface UpstreamRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH';
  /** Behind `/v2/`; or a URL that the upstream named for the next step of an upload or list. */
  readonly path: string | URL;
  /** The upstream's name of the repository. */
  readonly repository: string;
  /** What a token is asked for; `pull` unless told otherwise. */
  readonly actions?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | (() => Promise<ReadableStream<Uint8Array>>);
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds for an answer to begin, if fewer than usual; with a body, if more. */
  readonly patienceMs?: number | undefined;
}

const MAX_REDIRECTS = 5;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

export class Upstream {
  readonly name: string;
  readonly #options: UpstreamOptions;
  readonly #tokens: UpstreamTokens;
  readonly #send: Send;
  /** Whether it has asked for a password by itself, so that it need not ask each time. */
  #wantsBasic = false;

  constructor(options: UpstreamOptions) {
    this.#options = options;
    this.name = options.name;
    this.#send = outgoing(options.trust);
    const { url, isConfigured } = options;
    const isInside = (realm: URL) => isConfigured && realm.hostname === url.hostname;
    const isNamed = (realm: URL) =>
      options.hosts.includes(realm.host) || options.hosts.includes(realm.hostname);
    this.#tokens = new UpstreamTokens(url, isNamed, async (request) => {
      const address = isInside(request.url) ? undefined : await this.#publicAddress(request.url, 'a token');
      return this.#send({ ...request, address });
    });
  }

  /** Where it is. */
  get url(): URL {
    return this.#options.url;
  }

  /** A URL of its API. It may be below a path of its host. */
  api(path: string): URL {
    const { url } = this.#options;
    return new URL(`${url.pathname.replace(/\/+$/, '')}/v2/${path}`, url);
  }

  /**
   * The upstream's answer, of whatever status; its body is to be read or cancelled. The time limit is for its beginning
   * only: a body is watched by whoever reads it.
   * @throws UpstreamFailure when there is none
   */
  async ask(request: UpstreamRequest): Promise<Response> {
    const limit = new AbortController();
    const { timeoutMs } = this.#options;
    const patience =
      request.body === undefined
        ? Math.min(timeoutMs, request.patienceMs ?? timeoutMs)
        : (request.patienceMs ?? timeoutMs);
    const timer = setTimeout(() => limit.abort(new Error('it took too long')), patience);
    const signal =
      request.signal === undefined ? limit.signal : AbortSignal.any([limit.signal, request.signal]);
    try {
      return await this.#authorised(request, signal);
    } catch (error) {
      request.signal?.throwIfAborted();
      if (error instanceof UpstreamFailure) throw error;
      const timedOut = limit.signal.aborted;
      const reason = timedOut ? `no answer within ${patience} ms` : messageOf(error);
      throw new UpstreamFailure(`${this.name}: ${reason}`, { timedOut, cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  async #authorised(request: UpstreamRequest, signal: AbortSignal): Promise<Response> {
    const credentials = await this.#options.credentials();
    const scope = `repository:${request.repository}:${request.actions ?? 'pull'}`;
    const known = this.#tokens.known(scope, credentials);
    const basic = this.#wantsBasic && credentials !== undefined ? basicOf(credentials) : undefined;
    const first = await this.#follow(request, known === undefined ? basic : `Bearer ${known}`, signal);
    if (first.status !== 401) return first;
    this.#tokens.forget(scope, credentials);
    const header = first.headers.get('www-authenticate');
    const challenge = parseBearerChallenge(header);
    if (challenge !== undefined) {
      await first.body?.cancel();
      const token = await this.#tokens.get(challenge, scope, credentials, signal);
      return this.#follow(request, `Bearer ${token}`, signal);
    }
    if (credentials === undefined || basic !== undefined || !/^basic\b/i.test(header ?? '')) return first;
    await first.body?.cancel();
    this.#wantsBasic = true;
    return this.#follow(request, basicOf(credentials), signal);
  }

  async #follow(
    request: UpstreamRequest,
    authorization: string | undefined,
    signal: AbortSignal,
  ): Promise<Response> {
    const { url: origin, isConfigured } = this.#options;
    const { method, path, body } = request;
    let url = path instanceof URL ? path : this.api(path);
    for (let hop = 0; ; hop += 1) {
      const isOwn = url.origin === origin.origin;
      const address =
        isOwn && isConfigured ? undefined : await this.#publicAddress(url, isOwn ? undefined : 'a redirect');
      const headers: Record<string, string> = { 'accept-encoding': 'identity', ...request.headers };
      // Of nobody's concern but the upstream's own.
      if (authorization !== undefined && isOwn) headers['authorization'] = authorization;
      const sent = typeof body === 'function' ? await body() : body;
      const answer = await this.#send({
        method,
        url,
        headers,
        address,
        signal,
        ...(sent === undefined ? {} : { body: sent }),
      });
      const location = REDIRECTS.has(answer.status) ? answer.headers.get('location') : null;
      if (location === null) return answer;
      await answer.body?.cancel();
      if (hop === MAX_REDIRECTS) throw new UpstreamFailure(`${this.name} redirects without an end`);
      url = this.locate(location, url);
    }
  }

  /**
   * The URL that an answer of this upstream leads to.
   * @throws UpstreamFailure when it is less safe than the upstream itself, or none at all
   */
  locate(location: string, from: URL = this.#options.url): URL {
    if (!URL.canParse(location, from.href)) throw new UpstreamFailure(`${this.name} sends us to nowhere`);
    const url = new URL(location, from);
    const isSafe = url.protocol === 'https:' || url.protocol === this.#options.url.protocol;
    if (isSafe && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '') return url;
    throw new UpstreamFailure(`${this.name} sends us to ${url.protocol}//${url.host}, which is not safe`);
  }

  /**
   * The address by which a host is to be reached that the operator did not name: only a public one (CVE-2026-2376).
   * Undefined where an HTTP proxy finds it for us.
   */
  async #publicAddress(url: URL, by: string | undefined): Promise<string | undefined> {
    if (url.hostname === this.#options.url.hostname && this.#options.isConfigured) {
      // Another port of the same machine is no way to another service (CVE-2026-32591).
      if (url.host === this.#options.url.host || by === 'a token') return undefined;
    }
    const { hosts } = this.#options;
    if (hosts.includes(url.host) || hosts.includes(url.hostname)) return undefined;
    const isAddress = /^[\d.]+$|^\[/.test(url.hostname);
    if (!isAddress && proxyFor(url) !== undefined) return undefined;
    const address = await publicAddressOf(url.hostname);
    if (address !== undefined) return address;
    const how = by === undefined ? 'is at' : `leads us by ${by} to`;
    throw new UpstreamFailure(`${this.name} ${how} ${url.host}, an address of a private network`);
  }
}

function basicOf({ username, password }: UpstreamCredentials): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // undici says "fetch failed", and why in the cause.
  const { cause } = error;
  return cause instanceof Error && cause.message !== '' ? cause.message : error.message;
}
