/** The tokens that we give out: JWTs in the form of distribution (docs/spec/auth/jwt.md), with claims of our own. */
import { randomUUID } from 'node:crypto';
import { decodeProtectedHeader, jwtVerify, SignJWT } from 'jose';
import { isRepositoryName, type RepositoryName } from '../oci/name.ts';
import type { Action, Names } from './access.ts';
import type { Accounts, Identity, Limit, Method } from './identity.ts';
import type { TokenContent } from './own-access.ts';
import { Recent } from '../recent.ts';
import type { TokenKeys } from './token-keys.ts';

/** What a token is for. */
export interface Granted {
  readonly repositories: ReadonlyMap<RepositoryName, ReadonlySet<Action>>;
  readonly catalog: boolean;
}

export interface IssuedToken {
  readonly token: string;
  /** Seconds that it is good for. */
  readonly expiresIn: number;
  /** RFC 3339. */
  readonly issuedAt: string;
}

/** Seconds by which clocks may differ. */
const LEEWAY = 60;
/** Seconds by which a token is good before it was made, for verifiers whose clock is behind (docker_auth). */
const BACKDATED = 10;
/** Verified tokens that are remembered: one is used for each request of a pull. */
const REMEMBERED = { most: 10_000, budget: 16 * 1024 * 1024, weight: weightOf };
const MAX_TOKEN = 16 * 1024;

/** Ways to prove an identity of which the account is kept here, so that its groups and its end show at once. */
const KEPT_HERE: ReadonlySet<string> = new Set<Method>(['password', 'key', 'refresh']);

/** What we put into a token beside what the specification has. */
interface OwnClaim {
  readonly method: Method;
  readonly groups: readonly string[];
  readonly limits?: readonly Limit[];
  /** The account's fingerprint (`Accounts`). */
  readonly fingerprint?: string;
}

interface Verified {
  readonly account: string;
  readonly own: OwnClaim;
  readonly granted: Granted;
  /** Milliseconds since 1970. */
  readonly until: number;
}

export interface RegistryTokensOptions {
  readonly keys: TokenKeys;
  readonly issuer: string;
  /** The audience. */
  readonly service: string;
  /** Milliseconds. */
  readonly expiryMs: number;
  readonly accounts: Accounts;
  readonly names: Names;
}

export class RegistryTokens {
  readonly #options: RegistryTokensOptions;
  readonly #verified = new Recent<Verified>(REMEMBERED);

  constructor(options: RegistryTokensOptions) {
    this.#options = options;
  }

  async issue(identity: Identity, granted: Granted): Promise<IssuedToken> {
    const { keys, issuer, service, expiryMs, accounts } = this.#options;
    const { current } = keys;
    const now = Math.floor(Date.now() / 1000);
    const expiresIn = Math.floor(expiryMs / 1000);
    const fingerprint = KEPT_HERE.has(identity.method)
      ? accounts.find(identity.account)?.fingerprint
      : undefined;
    const own: OwnClaim = {
      method: identity.method,
      groups: identity.groups,
      ...(identity.limits === undefined ? {} : { limits: identity.limits }),
      ...(fingerprint === undefined ? {} : { fingerprint }),
    };
    const token = await new SignJWT({ access: accessOf(granted), entrepot: own })
      .setProtectedHeader({ alg: current.algorithm, typ: 'JWT', kid: current.kid })
      .setIssuer(issuer)
      .setSubject(identity.account)
      .setAudience(service)
      .setIssuedAt(now)
      .setNotBefore(now - BACKDATED)
      .setExpirationTime(now + expiresIn)
      .setJti(randomUUID())
      .sign(current.privateKey);
    return { token, expiresIn, issuedAt: new Date(now * 1000).toISOString().replace('.000Z', 'Z') };
  }

  /** What a token says; undefined when it is none of ours, is no longer good, or its account has changed or gone. */
  async read(token: string): Promise<TokenContent | undefined> {
    const verified = this.#verified.get(token) ?? (await this.#verify(token));
    if (verified === undefined) return undefined;
    if (verified.until <= Date.now()) {
      this.#verified.delete(token);
      return undefined;
    }
    const identity = this.#identity(verified);
    if (identity === undefined) return undefined;
    const { granted } = verified;
    return {
      identity,
      grants: (action, name) => granted.repositories.get(name)?.has(action) ?? false,
      catalog: granted.catalog,
    };
  }

  #identity({ account, own }: Verified): Identity | undefined {
    const limits = own.limits === undefined ? {} : { limits: own.limits };
    if (!KEPT_HERE.has(own.method)) return { account, groups: own.groups, method: own.method, ...limits };
    const found = this.#options.accounts.find(account);
    if (found === undefined || found.fingerprint !== own.fingerprint) return undefined;
    return { account, groups: found.groups, method: own.method, ...limits };
  }

  async #verify(token: string): Promise<Verified | undefined> {
    if (token.length > MAX_TOKEN) return undefined;
    const { keys, issuer, service } = this.#options;
    try {
      // The key is looked up by its id and by nothing else that the header says (CVE-2025-24976).
      const { kid } = decodeProtectedHeader(token);
      const key = typeof kid === 'string' ? keys.find(kid) : undefined;
      if (key === undefined) return undefined;
      const { payload } = await jwtVerify(token, key.publicKey, {
        algorithms: [key.algorithm],
        issuer,
        audience: service,
        clockTolerance: LEEWAY,
        requiredClaims: ['exp', 'sub', 'entrepot'],
      });
      const verified: Verified = {
        account: payload.sub ?? '',
        own: payload['entrepot'] as OwnClaim,
        granted: grantedBy(payload['access'], this.#options.names),
        until: (payload.exp ?? 0) * 1000,
      };
      this.#verified.set(token, verified);
      return verified;
    } catch {
      return undefined; // whatever is wrong with it, it is not good
    }
  }
}

/** Bytes that a remembered token takes, roughly: its text, and what was read out of it, which is as long. */
export function weightOf(token: string): number {
  return 3 * token.length;
}

interface AccessEntry {
  readonly type: string;
  readonly name: string;
  readonly actions: readonly string[];
}

/** The `access` claim. */
function accessOf({ repositories, catalog }: Granted): readonly AccessEntry[] {
  const entries: AccessEntry[] = [...repositories].map(([name, actions]) => ({
    type: 'repository',
    name,
    actions: [...actions],
  }));
  return catalog ? [...entries, { type: 'registry', name: 'catalog', actions: ['*'] }] : entries;
}

/** Reads an `access` claim, by the repositories' one names; what it has no sense for in it grants nothing. */
export function grantedBy(access: unknown, { canonical }: Pick<Names, 'canonical'>): Granted {
  const repositories = new Map<RepositoryName, Set<Action>>();
  let catalog = false;
  for (const entry of Array.isArray(access) ? (access as unknown[]) : []) {
    const { type, name, actions } = (entry ?? {}) as { type?: unknown; name?: unknown; actions?: unknown };
    const given = Array.isArray(actions) ? (actions as unknown[]) : [];
    if (type === 'registry' && name === 'catalog') catalog ||= given.includes('*');
    if (type !== 'repository' || typeof name !== 'string' || !isRepositoryName(name)) continue;
    const meant = canonical(name);
    const granted = repositories.get(meant) ?? new Set<Action>();
    for (const action of ['pull', 'push', 'delete'] as const) {
      if (given.includes(action) || given.includes('*')) granted.add(action);
    }
    repositories.set(meant, granted);
  }
  return { repositories, catalog };
}
