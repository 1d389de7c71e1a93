/** Tokens for one upstream: one for each scope and login, kept until shortly before it ends. */
import { createHash } from 'node:crypto';
import { Recent } from '../recent.ts';
import { type BearerRequest, isTrustedRealm } from './bearer-challenge.ts';
import { readLimited } from './read-limited.ts';
import type { OutgoingRequest } from './send.ts';
import type { UpstreamCredentials } from './upstream-credentials.ts';
import { retryAfterOf, UpstreamFailure } from './upstream-failure.ts';

/** What a token service that says nothing about it means, in seconds (distribution). */
const USUAL_LIFE = 60;
/** Seconds before its end at which a token is no longer used. */
const RENEW_BEFORE = 10;
const MAX_ANSWER = 64 * 1024;
const MAX_KEPT = 1_000;
/** The name by which a credential helper says that the secret is a refresh token (docker). */
const IDENTITY_TOKEN = '<token>';

interface Kept {
  readonly token: string;
  /** Milliseconds since 1970. */
  readonly until: number;
}

export class UpstreamTokens {
  readonly #registry: URL;
  readonly #isNamed: (realm: URL) => boolean;
  readonly #send: (request: OutgoingRequest) => Promise<Response>;
  readonly #kept = new Recent<Kept>({ most: MAX_KEPT });
  readonly #running = new Map<string, Promise<string>>();

  /** @param isNamed whether the operator has named the token service's host */
  constructor(
    registry: URL,
    isNamed: (realm: URL) => boolean,
    send: (request: OutgoingRequest) => Promise<Response>,
  ) {
    this.#registry = registry;
    this.#isNamed = isNamed;
    this.#send = send;
  }

  /** A token for the scope that is known to be good for a while. */
  known(scope: string, credentials: UpstreamCredentials | undefined): string | undefined {
    const kept = this.#kept.get(keyOf(scope, credentials));
    return kept !== undefined && kept.until > Date.now() ? kept.token : undefined;
  }

  forget(scope: string, credentials: UpstreamCredentials | undefined): void {
    this.#kept.delete(keyOf(scope, credentials));
  }

  /** Asks for a token; those who ask for the same one at the same moment share the question. @throws UpstreamFailure */
  get(
    challenge: BearerRequest,
    scope: string,
    credentials: UpstreamCredentials | undefined,
    signal: AbortSignal,
  ): Promise<string> {
    const key = keyOf(scope, credentials);
    const running =
      this.#running.get(key) ??
      this.#ask(challenge, scope, credentials, signal).finally(() => this.#running.delete(key));
    this.#running.set(key, running);
    return running;
  }

  async #ask(
    { realm, service }: BearerRequest,
    scope: string,
    credentials: UpstreamCredentials | undefined,
    signal: AbortSignal,
  ): Promise<string> {
    const isSafe = realm.protocol === 'https:' || realm.protocol === this.#registry.protocol;
    if (!(isSafe && this.#isNamed(realm)) && !isTrustedRealm(realm, this.#registry)) {
      throw new UpstreamFailure(
        `${this.#registry.host} sends us to ${realm.host} for a token, which is another domain`,
      );
    }
    // Not followed anywhere: the credentials are for the realm.
    const answer = await this.#send({ ...requestFor(realm, service, scope, credentials), signal });
    const { status } = answer;
    if (status !== 200) {
      await answer.body?.cancel();
      throw new UpstreamFailure(`${realm.host} answered ${status} to the question for a token`, {
        status,
        retryAfter: retryAfterOf(answer.headers.get('retry-after')),
      });
    }
    const { token, life } = readToken(await readLimited(answer, MAX_ANSWER, 'token'), realm.host);
    this.#kept.set(keyOf(scope, credentials), {
      token,
      until: Date.now() + Math.max(1, life - RENEW_BEFORE) * 1000,
    });
    return token;
  }
}

function requestFor(
  realm: URL,
  service: string | undefined,
  scope: string,
  credentials: UpstreamCredentials | undefined,
): Omit<OutgoingRequest, 'signal'> {
  const headers: Record<string, string> = { accept: 'application/json', 'accept-encoding': 'identity' };
  if (credentials?.username === IDENTITY_TOKEN) {
    const form = new URLSearchParams({
      grant_type: 'refresh_token',
      refresh_token: credentials.password,
      client_id: 'entrepot',
      scope,
      ...(service === undefined ? {} : { service }),
    });
    const type = { 'content-type': 'application/x-www-form-urlencoded' };
    return { method: 'POST', url: realm, headers: { ...headers, ...type }, body: form.toString() };
  }
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set('service', service);
  url.searchParams.set('scope', scope);
  if (credentials !== undefined) {
    const { username, password } = credentials;
    headers['authorization'] = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
  }
  return { method: 'GET', url, headers };
}

function readToken(bytes: Uint8Array, host: string): { readonly token: string; readonly life: number } {
  let body: { token?: unknown; access_token?: unknown; expires_in?: unknown } | null;
  try {
    body = JSON.parse(Buffer.from(bytes).toString('utf8')) as typeof body;
  } catch {
    body = null;
  }
  const token = body?.token ?? body?.access_token;
  if (typeof token !== 'string' || token === '' || /[^\x21-\x7e]/.test(token)) {
    throw new UpstreamFailure(`${host} gave no token`);
  }
  return { token, life: typeof body?.expires_in === 'number' ? body.expires_in : USUAL_LIFE };
}

/** Tokens of one login are not those of another, and no key holds a password. */
function keyOf(scope: string, credentials: UpstreamCredentials | undefined): string {
  if (credentials === undefined) return scope;
  const { username, password } = credentials;
  const login = createHash('sha256').update(`${username.length}:${username}${password}`).digest('base64');
  return `${scope} ${login}`;
}
