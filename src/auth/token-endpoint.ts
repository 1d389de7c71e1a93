/**
 * The token service by HTTP: the GET form of distribution's docs/spec/auth/token.md and the POST form of its oauth.md, on
 * one path, as docker, containerd and the others ask.
 */
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { Action, Names, Requester, TokenEndpoint } from './access.ts';
import type { Acl } from './acl.ts';
import { credentialsOf } from './credentials.ts';
import type { Identification } from './identification.ts';
import { AuthenticationUnavailable, type Identity } from './identity.ts';
import { readForm } from './read-form.ts';
import type { RefreshTokens } from './refresh-tokens.ts';
import type { Granted, RegistryTokens } from './registry-tokens.ts';
import type { TokenKeys } from './token-keys.ts';
import { type AskedScopes, parseScopes } from './token-scopes.ts';

export interface TokenServiceOptions {
  readonly identification: Identification;
  readonly acl: Acl;
  readonly tokens: RegistryTokens;
  readonly refresh: RefreshTokens;
  readonly keys: TokenKeys;
  readonly service: string;
  readonly names: Names;
  /** Told of what goes wrong on our side. */
  readonly onFailure: (error: unknown) => void;
}

/** What both forms come down to. */
interface Asked {
  readonly identity: Identity;
  readonly scopes: AskedScopes;
  /** Whether the client wants a refresh token. */
  readonly offline: boolean;
}

const HEADERS = { 'Content-Type': 'application/json', 'Cache-Control': 'no-store', Pragma: 'no-cache' };

export class TokenService implements TokenEndpoint {
  readonly #options: TokenServiceOptions;

  constructor(options: TokenServiceOptions) {
    this.#options = options;
  }

  async answer(request: Request, requester: Requester): Promise<Response> {
    try {
      const asked =
        request.method === 'POST'
          ? await this.#byPost(request, requester)
          : await this.#byGet(request, requester);
      return await this.#give(asked, requester, request.method === 'POST');
    } catch (error) {
      return this.#refusal(error);
    }
  }

  keys(): Response {
    const body = Buffer.from(JSON.stringify(this.#options.keys.jwks()));
    return new Response(body, {
      headers: {
        'Content-Type': 'application/jwk-set+json',
        'Content-Length': String(body.byteLength),
        'Cache-Control': 'public, max-age=300',
      },
    });
  }

  async #byGet(request: Request, requester: Requester): Promise<Asked> {
    const query = new URL(request.url, 'http://localhost').searchParams;
    this.#checkService(query);
    const credentials = credentialsOf(request);
    const account = query.get('account') ?? '';
    if (account !== '' && credentials?.kind === 'password' && account !== credentials.account) {
      throw badRequest('the parameter "account" names another account than the login');
    }
    const scopes = parseScopes(query.getAll('scope'));
    const foreign = { mayBeForeign: this.#isMirrorRead(scopes) };
    const identity = await this.#options.identification.identify(credentials, requester, foreign);
    return {
      identity,
      scopes,
      offline: query.get('offline_token') === 'true' || query.get('offline_token') === '1',
    };
  }

  async #byPost(request: Request, requester: Requester): Promise<Asked> {
    const form = await readForm(request);
    this.#checkService(form);
    return {
      identity: await this.#identifyByForm(form, requester),
      scopes: parseScopes(form.getAll('scope')),
      offline: form.get('access_type') === 'offline',
    };
  }

  /** dockerd asks a mirror so, with the login of the registry that is mirrored. */
  #isMirrorRead({ repositories, catalog }: AskedScopes): boolean {
    const { isMirrored } = this.#options.names;
    if (catalog || repositories.size === 0) return false;
    return [...repositories].every(
      ([name, actions]) => isMirrored(name) && !actions.has('push') && !actions.has('delete'),
    );
  }

  #identifyByForm(form: URLSearchParams, requester: Requester): Promise<Identity> {
    const { identification, refresh } = this.#options;
    const grant = form.get('grant_type');
    if (grant === 'password') {
      const account = form.get('username') ?? '';
      return identification.identify(
        { kind: 'password', account, password: form.get('password') ?? '' },
        requester,
      );
    }
    if (grant !== 'refresh_token') {
      const text = 'grant_type must be "password" or "refresh_token"';
      return Promise.reject(badRequest(text, 'unsupported_grant_type'));
    }
    const identity = refresh.use(form.get('refresh_token') ?? '');
    if (identity !== undefined) return Promise.resolve(identity);
    return Promise.reject(
      new RegistryError('UNAUTHORIZED', 'the refresh token is no longer good; log in again'),
    );
  }

  /** A client that was sent here by another service would get a token that is good for nothing. */
  #checkService(parameters: URLSearchParams): void {
    const service = parameters.get('service') ?? '';
    if (service !== '' && service !== this.#options.service) {
      throw badRequest('the parameter "service" names another service than this one');
    }
  }

  async #give(
    { identity, scopes, offline }: Asked,
    requester: Requester,
    isPost: boolean,
  ): Promise<Response> {
    const { tokens } = this.#options;
    const granted = this.#granted(identity, scopes, requester);
    const { token, expiresIn, issuedAt } = await tokens.issue(identity, granted);
    // One that was used stays good: a client that lost the answer to its POST must not lose its login.
    const refreshToken = offline && identity.method === 'password' ? this.#refreshToken(identity) : undefined;
    const body = {
      token,
      access_token: token,
      expires_in: expiresIn,
      issued_at: issuedAt,
      ...(isPost ? { token_type: 'Bearer', scope: formatGranted(granted) } : {}),
      ...(refreshToken === undefined ? {} : { refresh_token: refreshToken }),
    };
    return new Response(JSON.stringify(body), { headers: HEADERS });
  }

  /** A login is good without one: where none can be kept, the client keeps the password. */
  #refreshToken(identity: Identity): string | undefined {
    try {
      return this.#options.refresh.create(identity);
    } catch (error) {
      this.#options.onFailure(error);
      return undefined;
    }
  }

  /** What of it the account may do. To be given less than was asked for is no error. */
  #granted(identity: Identity, scopes: AskedScopes, requester: Requester): Granted {
    const { acl, names } = this.#options;
    const subject = { ...identity, remoteAddress: requester.remoteAddress };
    const repositories = new Map<RepositoryName, ReadonlySet<Action>>();
    for (const [name, actions] of scopes.repositories) {
      repositories.set(
        name,
        new Set([...actions].filter((action) => acl.decide(subject, action, names.canonical(name)).allowed)),
      );
    }
    return { repositories, catalog: scopes.catalog && acl.mayPullAnything(subject) };
  }

  /** In one body both forms of an error: OAuth's for POST, and the one that clients of registries print. */
  #refusal(error: unknown): Response {
    if (error instanceof RegistryError) {
      const status = STATUS[error.code] ?? error.status ?? 400;
      const kind =
        OAUTH_ERROR[error.code] ?? (typeof error.detail === 'string' ? error.detail : 'invalid_request');
      const challenge =
        status === 401 ? { 'WWW-Authenticate': `Basic realm="${this.#options.service}"` } : {};
      return refusal(status, error.code, error.message, kind, { ...error.headers, ...challenge });
    }
    this.#options.onFailure(error);
    if (error instanceof AuthenticationUnavailable) {
      const message = 'logins cannot be checked at the moment; try again later';
      return refusal(503, 'UNAVAILABLE', message, 'temporarily_unavailable', { 'Retry-After': '5' });
    }
    return refusal(500, 'UNKNOWN', 'internal error', 'server_error', {});
  }
}

const STATUS: Readonly<Record<string, number>> = { UNAUTHORIZED: 401, TOOMANYREQUESTS: 429 };
const OAUTH_ERROR: Readonly<Record<string, string>> = {
  UNAUTHORIZED: 'invalid_grant',
  TOOMANYREQUESTS: 'slow_down',
};

function refusal(
  status: number,
  code: string,
  message: string,
  kind: string,
  headers: Readonly<Record<string, string>>,
): Response {
  const body = { error: kind, error_description: message, errors: [{ code, message }] };
  return new Response(JSON.stringify(body), { status, headers: { ...HEADERS, ...headers } });
}

function badRequest(message: string, kind = 'invalid_request'): RegistryError {
  return new RegistryError('UNSUPPORTED', message, { status: 400, detail: kind });
}

function formatGranted({ repositories, catalog }: Granted): string {
  const scopes = [...repositories].map(([name, actions]) => `repository:${name}:${[...actions].join(',')}`);
  return [...scopes, ...(catalog ? ['registry:catalog:*'] : [])].join(' ');
}
