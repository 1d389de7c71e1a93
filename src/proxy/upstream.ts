/** One other registry, as a client sees it: reads only. */
import { parseBearerChallenge } from './bearer-challenge.ts';
import { isPublicHost } from './public-address.ts';
import { UpstreamFailure } from './upstream-failure.ts';
import { type UpstreamCredentials, UpstreamTokens } from './upstream-tokens.ts';

export interface UpstreamOptions {
  /** The host that names it in paths, such as `docker.io`. */
  readonly name: string;
  /** Where it is, such as `https://registry-1.docker.io`. */
  readonly url: URL;
  readonly credentials?: UpstreamCredentials | undefined;
  /** Milliseconds for an answer to begin. */
  readonly timeoutMs: number;
}

export interface UpstreamRequest {
  readonly method: 'GET' | 'HEAD';
  /** Behind `/v2/`. */
  readonly path: string;
  /** The upstream's name of the repository. */
  readonly repository: string;
  readonly accept?: string;
  readonly signal?: AbortSignal | undefined;
}

const MAX_REDIRECTS = 5;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

export class Upstream {
  readonly name: string;
  readonly #options: UpstreamOptions;
  readonly #tokens: UpstreamTokens;

  constructor(options: UpstreamOptions) {
    this.#options = options;
    this.name = options.name;
    this.#tokens = new UpstreamTokens(options.url, options.credentials);
  }

  /**
   * The upstream's answer, of whatever status; its body is to be read or cancelled. The time limit is for its beginning
   * only: a body is watched by whoever reads it.
   * @throws UpstreamFailure when there is none
   */
  async ask(request: UpstreamRequest): Promise<Response> {
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(new Error('it took too long')), this.#options.timeoutMs);
    const signal =
      request.signal === undefined ? limit.signal : AbortSignal.any([limit.signal, request.signal]);
    try {
      return await this.#authorised(request, signal);
    } catch (error) {
      request.signal?.throwIfAborted();
      if (error instanceof UpstreamFailure) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      throw new UpstreamFailure(`${this.name}: ${reason}`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  async #authorised(request: UpstreamRequest, signal: AbortSignal): Promise<Response> {
    const scope = `repository:${request.repository}:pull`;
    const known = this.#tokens.known(scope);
    const first = await this.#follow(
      request,
      known === undefined ? this.#basic() : `Bearer ${known}`,
      signal,
    );
    if (first.status !== 401) return first;
    await first.body?.cancel();
    this.#tokens.forget(scope);
    const challenge = parseBearerChallenge(first.headers.get('www-authenticate'));
    if (challenge === undefined) return first;
    const token = await this.#tokens.get(challenge, scope, signal);
    return this.#follow(request, `Bearer ${token}`, signal);
  }

  /** Credentials are sent at once only where the token protocol is not spoken; a bearer challenge replaces them. */
  #basic(): string | undefined {
    const { credentials, url } = this.#options;
    if (credentials === undefined || url.protocol !== 'https:') return undefined;
    return `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64')}`;
  }

  async #follow(
    { method, path, accept }: UpstreamRequest,
    authorization: string | undefined,
    signal: AbortSignal,
  ): Promise<Response> {
    const origin = this.#options.url;
    let url = new URL(`/v2/${path}`, origin);
    for (let hop = 0; ; hop += 1) {
      const headers: Record<string, string> = { 'accept-encoding': 'identity' };
      if (accept !== undefined) headers['accept'] = accept;
      // Of nobody's concern but the upstream's own.
      if (authorization !== undefined && url.origin === origin.origin)
        headers['authorization'] = authorization;
      const answer = await fetch(url, { method, headers, redirect: 'manual', signal });
      const location = REDIRECTS.has(answer.status) ? answer.headers.get('location') : null;
      if (location === null) return answer;
      await answer.body?.cancel();
      if (hop === MAX_REDIRECTS) throw new UpstreamFailure(`${this.name} redirects without an end`);
      url = await this.#nextHop(location, url);
    }
  }

  /** Where a redirect leads, if that is a place that an upstream may send us to (CVE-2026-2376). */
  async #nextHop(location: string, from: URL): Promise<URL> {
    if (!URL.canParse(location, from.href)) throw new UpstreamFailure(`${this.name} redirects to nowhere`);
    const url = new URL(location, from);
    const isSafer = url.protocol === 'https:' || url.protocol === this.#options.url.protocol;
    if (!isSafer || !/^https?:$/.test(url.protocol)) {
      throw new UpstreamFailure(`${this.name} redirects to ${url.protocol}//${url.host}`);
    }
    if (url.host !== this.#options.url.host && !(await isPublicHost(url.hostname))) {
      throw new UpstreamFailure(
        `${this.name} redirects to ${url.host}, which is an address of a private network`,
      );
    }
    return url;
  }
}
