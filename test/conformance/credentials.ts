import type { Exchange } from './exchange.ts';
import { transact } from './wire.ts';

/**
 * Answers a registry's challenge with a user's name and password: by Basic, or by a Bearer token that the
 * realm gives for them (the GET form of the token protocol). Without a user it asks for an anonymous token.
 */
export class Credentials {
  readonly #basic: string | undefined;
  #useBasic = false;
  /** Tokens by method and repository part of the path, which is what a token's scope comes from. */
  readonly #tokens = new Map<string, string>();

  constructor(username?: string, password?: string) {
    if (username !== undefined)
      this.#basic = `Basic ${Buffer.from(`${username}:${password ?? ''}`).toString('base64')}`;
  }

  /** The `Authorization` to send, as far as earlier challenges have told. */
  authorization(method: string, target: string): string | undefined {
    return this.#useBasic ? this.#basic : this.#tokens.get(scopeKey(method, target));
  }

  /** Reads a 401; true when the request is worth repeating. */
  async learn(answer: Exchange): Promise<boolean> {
    const challenges = answer.headers.get('www-authenticate') ?? [];
    const bearer = challenges.find((challenge) => /^bearer /i.test(challenge));
    if (bearer !== undefined) return await this.#fetchToken(bearer, answer);
    if (this.#useBasic || this.#basic === undefined) return false;
    this.#useBasic = challenges.some((challenge) => /^basic\b/i.test(challenge));
    return this.#useBasic;
  }

  async #fetchToken(challenge: string, answer: Exchange): Promise<boolean> {
    const parameters = new Map(
      [...challenge.matchAll(/([a-z_]+)="([^"]*)"/gi)].map(([, name = '', value = '']) => [name, value]),
    );
    const realm = new URL(parameters.get('realm') ?? '/', answer.origin);
    for (const scope of (parameters.get('scope') ?? '').split(' ').filter((scope) => scope !== ''))
      realm.searchParams.append('scope', scope);
    const service = parameters.get('service');
    if (service !== undefined) realm.searchParams.set('service', service);
    const reply = await transact(new URL(realm.origin), {
      method: 'GET',
      target: realm.pathname + realm.search,
      headers: this.#basic === undefined ? [] : [['Authorization', this.#basic]],
    });
    const token = reply.status === 200 ? readToken(Buffer.from(reply.body).toString('utf8')) : undefined;
    if (token === undefined) return false;
    this.#tokens.set(scopeKey(answer.method, answer.target), `Bearer ${token}`);
    return true;
  }
}

function readToken(body: string): string | undefined {
  const reply: unknown = JSON.parse(body);
  if (typeof reply !== 'object' || reply === null) return undefined;
  if ('token' in reply && typeof reply.token === 'string') return reply.token;
  return 'access_token' in reply && typeof reply.access_token === 'string' ? reply.access_token : undefined;
}

/** Requests of one key need the same rights: the method, the repository and a mount's source decide. */
function scopeKey(method: string, target: string): string {
  const [path = '', query = ''] = target.split('?');
  const repository = path.replace(/\/(?:blobs|manifests|tags|referrers)\/.*$/, '');
  return `${method} ${repository} ${new URLSearchParams(query).get('from') ?? ''}`;
}
