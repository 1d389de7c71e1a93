/** Tokens for one upstream: one for each scope, kept until shortly before it ends. */
import { type BearerRequest, isTrustedRealm } from './bearer-challenge.ts';
import { UpstreamFailure } from './upstream-failure.ts';

/** What a token service that says nothing about it means, in seconds (distribution). */
const USUAL_LIFE = 60;
/** Seconds before its end at which a token is no longer used. */
const RENEW_BEFORE = 10;
const MAX_ANSWER = 64 * 1024;
const MAX_KEPT = 1_000;

export interface UpstreamCredentials {
  readonly username: string;
  readonly password: string;
}

interface Kept {
  readonly token: string;
  /** Milliseconds since 1970. */
  readonly until: number;
}

export class UpstreamTokens {
  readonly #registry: URL;
  readonly #credentials: UpstreamCredentials | undefined;
  readonly #kept = new Map<string, Kept>();
  readonly #running = new Map<string, Promise<string>>();

  constructor(registry: URL, credentials: UpstreamCredentials | undefined) {
    this.#registry = registry;
    this.#credentials = credentials;
  }

  /** A token for the scope that is known to be good for a while. */
  known(scope: string): string | undefined {
    const kept = this.#kept.get(scope);
    return kept !== undefined && kept.until > Date.now() ? kept.token : undefined;
  }

  forget(scope: string): void {
    this.#kept.delete(scope);
  }

  /** Asks for a token; those who ask for the same one at the same moment share the question. @throws UpstreamFailure */
  get(challenge: BearerRequest, scope: string, signal: AbortSignal): Promise<string> {
    const running =
      this.#running.get(scope) ??
      this.#ask(challenge, scope, signal).finally(() => this.#running.delete(scope));
    this.#running.set(scope, running);
    return running;
  }

  async #ask({ realm, service }: BearerRequest, scope: string, signal: AbortSignal): Promise<string> {
    if (!isTrustedRealm(realm, this.#registry)) {
      throw new UpstreamFailure(
        `${this.#registry.host} sends us to ${realm.host} for a token, which is another domain`,
      );
    }
    const url = new URL(realm);
    if (service !== undefined) url.searchParams.set('service', service);
    url.searchParams.set('scope', scope);
    const headers: Record<string, string> = { accept: 'application/json' };
    if (this.#credentials !== undefined) {
      const { username, password } = this.#credentials;
      headers['authorization'] = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
    }
    // Not followed anywhere: the credentials are for the realm.
    const answer = await fetch(url, { headers, redirect: 'manual', signal });
    if (answer.status !== 200) {
      await answer.body?.cancel();
      throw new UpstreamFailure(`${url.host} answered ${answer.status} to the question for a token`, {
        status: answer.status,
      });
    }
    const text = await readText(answer);
    const body = JSON.parse(text) as { token?: unknown; access_token?: unknown; expires_in?: unknown } | null;
    const token = body?.token ?? body?.access_token;
    if (typeof token !== 'string' || token === '' || /[^\x21-\x7e]/.test(token)) {
      throw new UpstreamFailure(`${url.host} gave no token`);
    }
    const life = typeof body?.expires_in === 'number' ? body.expires_in : USUAL_LIFE;
    this.#kept.set(scope, { token, until: Date.now() + Math.max(1, life - RENEW_BEFORE) * 1000 });
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= MAX_KEPT) break;
      this.#kept.delete(oldest);
    }
    return token;
  }
}

async function readText(answer: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of answer.body ?? []) {
    size += chunk.byteLength;
    if (size > MAX_ANSWER) throw new UpstreamFailure('the answer to the question for a token is too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
