/** Access by our own accounts and rights. */
import type { Audit } from '../log.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { Access, Action, Actor, Names, Requester, Scope, TokenEndpoint } from './access.ts';
import type { Acl } from './acl.ts';
import { basicRefusal, bearerRefusal, formatScope, originOf, type TokenError } from './challenge.ts';
import { credentialsOf } from './credentials.ts';
import type { Identification } from './identification.ts';
import type { Identity } from './identity.ts';

/** What one of our tokens says. */
export interface TokenContent {
  readonly identity: Identity;
  /** Whether the token was made for it; what the account may do now is asked beside it. */
  grants(action: Action, repository: RepositoryName): boolean;
  readonly catalog: boolean;
}

export interface OwnAccessOptions {
  readonly identification: Identification;
  /** Reads a token of ours; undefined when it is none, or no longer good. */
  readonly readToken: (token: string) => TokenContent | undefined | Promise<TokenContent | undefined>;
  /** The rights as they are now. */
  readonly acl: Acl;
  /** How a login is asked for. */
  readonly challenge:
    | { readonly kind: 'basic'; readonly realm: string }
    /** `realm` is the token service's URL, or only its path, to be found at the request's own host. */
    | { readonly kind: 'bearer'; readonly realm: string; readonly service: string };
  readonly tokens?: TokenEndpoint;
  readonly names: Names;
  readonly audit: Audit;
}

/** Somebody known, and what narrows the rights that the account has. */
interface Known {
  readonly identity: Identity;
  readonly token: TokenContent | undefined;
}

export class OwnAccess implements Access {
  readonly tokens?: TokenEndpoint;
  readonly #options: OwnAccessOptions;

  constructor(options: OwnAccessOptions) {
    this.#options = options;
    if (options.tokens !== undefined) this.tokens = options.tokens;
  }

  async authorize(request: Request, requester: Requester, scopes: readonly Scope[]): Promise<Actor> {
    const refuse = (error?: TokenError) => this.#refusal(request, requester, scopes, error);
    const { isMirrored } = this.#options.names;
    // dockerd sends a mirror the login of the registry that is mirrored.
    const mayBeForeign =
      scopes.length > 0 &&
      scopes.every(
        (scope) =>
          scope.type === 'repository' &&
          scope.actions.every((action) => action === 'pull') &&
          isMirrored(scope.name),
      );
    const known = await this.#known(request, requester, mayBeForeign, refuse);
    const { identity, token } = known;
    // A token for nobody in particular is a login too: clients that hold one try it on `/v2/`.
    if (scopes.length === 0 && identity.account === '' && token === undefined) throw refuse();
    for (const scope of scopes) {
      if (this.#isGranted(known, requester, scope)) continue;
      this.#options.audit({
        event: 'denied',
        account: identity.account,
        remoteAddress: requester.remoteAddress,
        result: 'refused',
        detail: formatScope(scope),
        ...(scope.type === 'repository' ? { repository: scope.name } : {}),
      });
      if (token !== undefined) throw refuse('insufficient_scope');
      if (identity.account === '') throw refuse();
      throw new RegistryError('DENIED', 'this account may not do that', { detail: formatScope(scope) });
    }
    // By Basic nobody could say that he has no login and wants what everybody may see.
    const mayAsk = request.headers.get('authorization') === null && this.#options.challenge.kind === 'bearer';
    const challenge = mayAsk && identity.account === '' ? () => refuse() : undefined;
    return this.#actor(known, requester, challenge);
  }

  async #known(
    request: Request,
    requester: Requester,
    mayBeForeign: boolean,
    refuse: (error?: TokenError) => RegistryError,
  ): Promise<Known> {
    try {
      const credentials = credentialsOf(request);
      if (credentials?.kind === 'bearer') {
        const token = await this.#options.readToken(credentials.token);
        if (token !== undefined) return { identity: token.identity, token };
      }
      const identity = await this.#options.identification.identify(credentials, requester, {
        mayBeForeign,
      });
      return { identity, token: undefined };
    } catch (error) {
      if (!(error instanceof RegistryError) || error.code !== 'UNAUTHORIZED') throw error;
      throw refuse(request.headers.get('authorization')?.startsWith('Bearer ') ? 'invalid_token' : undefined);
    }
  }

  #isGranted({ identity, token }: Known, requester: Requester, scope: Scope): boolean {
    if (scope.type === 'search') return true; // shows what the actor sees, which may be nothing
    if (scope.type === 'catalog') {
      const { acl } = this.#options;
      return (token?.catalog ?? true) && acl.mayPullAnything({ ...identity, ...requester });
    }
    return scope.actions.every((action) => this.#may({ identity, token }, requester, action, scope.name));
  }

  #may({ identity, token }: Known, requester: Requester, action: Action, name: RepositoryName): boolean {
    if (token?.grants(action, name) === false) return false;
    return this.#options.acl.decide({ ...identity, ...requester }, action, name).allowed;
  }

  #actor(known: Known, requester: Requester, challenge: Actor['challenge']): Actor {
    const { identity } = known;
    return {
      name: identity.account,
      challenge,
      may: (action, name) => Promise.resolve(this.#may(known, requester, action, name)),
      sees: (name) => Promise.resolve(this.#may({ identity, token: undefined }, requester, 'pull', name)),
    };
  }

  #refusal(
    request: Request,
    requester: Requester,
    scopes: readonly Scope[],
    error: TokenError | undefined,
  ): RegistryError {
    const { challenge } = this.#options;
    if (challenge.kind === 'basic') return basicRefusal(challenge.realm, scopes);
    const { realm: told, service } = challenge;
    const realm = told.startsWith('/') ? originOf(request, requester) + told : told;
    return bearerRefusal({ realm, service }, scopes, error);
  }
}
