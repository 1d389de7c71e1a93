/** `auth.token` of `registry:2`: another server knows the accounts and their rights, and gives out the tokens. */
import { decodeProtectedHeader, jwtVerify } from 'jose';
import type { Audit, Logger } from '../log.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { Access, Action, Actor, Names, Requester, Scope } from './access.ts';
import { bearerRefusal, formatScope, originOf, type TokenError } from './challenge.ts';
import { credentialsOf } from './credentials.ts';
import { ExternalKeys } from './external-keys.ts';
import { Recent } from '../recent.ts';
import { type Granted, grantedBy, weightOf } from './registry-tokens.ts';
import { WatchedFiles } from './watched-files.ts';

export interface ExternalAccessOptions {
  /** URL of the other server's token service; with `autoRedirect` the request's own host and `autoRedirectPath`. */
  readonly realm: string;
  readonly service: string;
  readonly issuer: string;
  /** Paths; at least one. */
  readonly rootCertBundle?: string | undefined;
  readonly jwks?: string | undefined;
  /** Empty for all that keys of either kind can be used with. */
  readonly signingAlgorithms: readonly string[];
  readonly autoRedirect: boolean;
  readonly autoRedirectPath: string;
  readonly names: Names;
  readonly log: Logger;
  readonly audit: Audit;
}

/** Seconds by which clocks may differ, as in `registry:2`. */
const LEEWAY = 60;
const REMEMBERED = { most: 10_000, budget: 16 * 1024 * 1024, weight: weightOf };
const PUBLIC_KEY_ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
];
const SECRET_ALGORITHMS = ['HS256', 'HS384', 'HS512'];

interface Verified {
  readonly account: string;
  readonly granted: Granted;
  /** Milliseconds since 1970. */
  readonly until: number;
}

export class ExternalAccess implements Access {
  readonly #options: ExternalAccessOptions;
  readonly #keys: WatchedFiles<ExternalKeys>;
  #verified = new Recent<Verified>(REMEMBERED);
  #verifiedBy: ExternalKeys;

  /** @throws Error when there is no key to verify by */
  constructor(options: ExternalAccessOptions) {
    this.#options = options;
    const { rootCertBundle, jwks, log } = options;
    const paths = [rootCertBundle, jwks].filter((path) => path !== undefined);
    this.#keys = new WatchedFiles(
      paths,
      (texts) =>
        new ExternalKeys({
          bundle: rootCertBundle === undefined ? undefined : texts[0],
          jwks: jwks === undefined ? undefined : texts.at(-1),
        }),
      log,
    );
    this.#verifiedBy = this.#keys.value;
  }

  async authorize(request: Request, requester: Requester, scopes: readonly Scope[]): Promise<Actor> {
    const token = await this.#token(request, requester, scopes);
    for (const scope of scopes) {
      if (isGranted(token.granted, scope)) continue;
      const { account } = token;
      const { remoteAddress } = requester;
      const detail = formatScope(scope);
      this.#options.audit({ event: 'denied', account, remoteAddress, result: 'refused', detail });
      throw this.#refusal(request, requester, scopes, 'insufficient_scope');
    }
    const { account, granted } = token;
    return {
      name: account,
      may: (action, name) => Promise.resolve(has(granted, action, name)),
      // Whoever may see the catalog sees all of it: the rights are known to the other server only.
      sees: (name) => Promise.resolve(granted.catalog || has(granted, 'pull', name)),
    };
  }

  async #token(request: Request, requester: Requester, scopes: readonly Scope[]): Promise<Verified> {
    let credentials: ReturnType<typeof credentialsOf>;
    try {
      credentials = credentialsOf(request);
    } catch {
      throw this.#refusal(request, requester, scopes);
    }
    if (credentials?.kind !== 'bearer') throw this.#refusal(request, requester, scopes);
    const token = await this.#read(credentials.token);
    if (token === undefined) throw this.#refusal(request, requester, scopes, 'invalid_token');
    return token;
  }

  async #read(token: string): Promise<Verified | undefined> {
    const keys = this.#keys.value;
    if (keys !== this.#verifiedBy) {
      this.#verified = new Recent<Verified>(REMEMBERED);
      this.#verifiedBy = keys;
    }
    const known = this.#verified.get(token);
    if (known !== undefined && known.until > Date.now()) return known;
    this.#verified.delete(token);
    const verified = await this.#verify(token, keys);
    if (verified === undefined) return undefined;
    this.#verified.set(token, verified);
    return verified;
  }

  async #verify(token: string, keys: ExternalKeys): Promise<Verified | undefined> {
    const { issuer, service, signingAlgorithms } = this.#options;
    try {
      const key = keys.find(decodeProtectedHeader(token));
      if (key === undefined) return undefined;
      const possible = key.type === 'secret' ? SECRET_ALGORITHMS : PUBLIC_KEY_ALGORITHMS;
      const algorithms =
        signingAlgorithms.length === 0
          ? possible
          : possible.filter((name) => signingAlgorithms.includes(name));
      const { payload } = await jwtVerify(token, key, {
        algorithms,
        issuer,
        audience: service,
        clockTolerance: LEEWAY,
        requiredClaims: ['exp'],
      });
      return {
        account: payload.sub ?? '',
        granted: grantedBy(payload['access'], this.#options.names),
        until: ((payload.exp ?? 0) + LEEWAY) * 1000,
      };
    } catch {
      return undefined; // whatever is wrong with it, it is not good
    }
  }

  #refusal(request: Request, requester: Requester, scopes: readonly Scope[], error?: TokenError) {
    const { realm, service, autoRedirect, autoRedirectPath } = this.#options;
    const where = autoRedirect ? originOf(request, requester) + autoRedirectPath : realm;
    return bearerRefusal({ realm: where, service }, scopes, error);
  }
}

function isGranted(granted: Granted, scope: Scope): boolean {
  if (scope.type === 'search') return true;
  if (scope.type === 'catalog') return granted.catalog;
  return scope.actions.every((action) => has(granted, action, scope.name));
}

function has({ repositories }: Granted, action: Action, name: RepositoryName): boolean {
  return repositories.get(name)?.has(action) ?? false;
}
