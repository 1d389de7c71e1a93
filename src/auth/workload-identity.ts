/**
 * Logins of programs by a token that their platform gave them (OpenID Connect): GitHub Actions, GitLab CI, Kubernetes
 * service accounts. It is sent as a bearer token, or as a password with any name.
 */
import { decodeJwt, decodeProtectedHeader, type JWTPayload, jwtVerify } from 'jose';
import type { Logger } from '../log.ts';
import { fill, glob } from '../oci/glob.ts';
import {
  AuthenticationUnavailable,
  type Authenticator,
  type Credentials,
  type Identity,
  isAccountName,
} from './identity.ts';
import { Recent } from '../recent.ts';
import { RemoteKeys } from './remote-keys.ts';

export interface WorkloadIssuer {
  readonly issuer: string;
  readonly audiences: readonly string[];
  readonly jwks?: string | undefined;
  /** Text of a PEM file. */
  readonly ca?: string | undefined;
  /** The first of which all claims match counts. */
  readonly accounts: readonly {
    readonly claims: Readonly<Record<string, string>>;
    readonly account: string;
    readonly groups: readonly string[];
  }[];
}

const FORM = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;
const MAX_TOKEN = 16 * 1024;
const ALGORITHMS = [
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
  'Ed25519',
];
/** Seconds by which clocks may differ. */
const LEEWAY = 60;
const MAX_REMEMBERED = 1_000;
/** How long a token is not verified again, in milliseconds: a key that its issuer withdraws is to end its tokens. */
const REMEMBERED_FOR = 60_000;

interface Verified {
  readonly answer: Identity | 'refused';
  /** Milliseconds since 1970. */
  readonly until: number;
}

export class WorkloadIdentities implements Authenticator {
  readonly #issuers: ReadonlyMap<string, { readonly config: WorkloadIssuer; readonly keys: RemoteKeys }>;
  readonly #verified = new Recent<Verified>({ most: MAX_REMEMBERED });

  constructor(issuers: readonly WorkloadIssuer[], log: Pick<Logger, 'warn'>) {
    this.#issuers = new Map(
      issuers.map((config) => [
        config.issuer,
        { config, keys: new RemoteKeys({ issuer: config.issuer, jwks: config.jwks, ca: config.ca, log }) },
      ]),
    );
  }

  async authenticate(credentials: Credentials): Promise<Identity | 'refused' | undefined> {
    if (credentials.kind === 'certificate') return undefined;
    const token = credentials.kind === 'password' ? credentials.password : credentials.token;
    if (token.length > MAX_TOKEN || !FORM.test(token)) return undefined;
    const known = this.#verified.get(token);
    if (known !== undefined && known.until > Date.now()) return known.answer;
    this.#verified.delete(token);
    return this.#check(token);
  }

  async #check(token: string): Promise<Identity | 'refused' | undefined> {
    let kid: string | undefined;
    let issuer: string | undefined;
    try {
      // Nothing else that the token says of itself is looked at before it is verified.
      ({ kid } = decodeProtectedHeader(token));
      ({ iss: issuer } = decodeJwt(token));
    } catch {
      return undefined;
    }
    const trusted = issuer === undefined ? undefined : this.#issuers.get(issuer);
    if (trusted === undefined) return undefined;
    const key = await trusted.keys.find(typeof kid === 'string' ? kid : undefined);
    if (key === undefined) return 'refused';
    let payload: JWTPayload;
    try {
      ({ payload } = await jwtVerify(token, key, {
        algorithms: ALGORITHMS,
        issuer: trusted.config.issuer,
        audience: [...trusted.config.audiences],
        clockTolerance: LEEWAY,
        requiredClaims: ['exp'],
      }));
    } catch (error) {
      if (error instanceof AuthenticationUnavailable) throw error;
      return 'refused';
    }
    const answer = identityOf(payload, trusted.config);
    const end = ((payload.exp ?? 0) + LEEWAY) * 1000;
    this.#verified.set(token, { answer, until: Math.min(end, Date.now() + REMEMBERED_FOR) });
    return answer;
  }
}

function identityOf(payload: JWTPayload, { accounts }: WorkloadIssuer): Identity | 'refused' {
  for (const { claims, account, groups } of accounts) {
    if (!Object.entries(claims).every(([name, pattern]) => hasClaim(payload, name, pattern))) continue;
    const filled = fill(account, (name) => {
      const value = claimOf(payload, name);
      // `ci/${branch}` must not become an account by a claim that says nothing.
      return (typeof value === 'string' && value !== '') || typeof value === 'number'
        ? String(value)
        : undefined;
    });
    if (filled === undefined || !isAccountName(filled)) return 'refused';
    return { account: filled, groups, method: 'oidc' };
  }
  return 'refused';
}

function hasClaim(payload: JWTPayload, name: string, pattern: string): boolean {
  const value = claimOf(payload, name);
  const values = Array.isArray(value) ? (value as unknown[]) : [value];
  const matches = glob(pattern);
  return values.some(
    (one) =>
      (typeof one === 'string' || typeof one === 'number' || typeof one === 'boolean') &&
      matches(String(one)),
  );
}

/** A claim by its name, or by the path of one inside others (`kubernetes.io.namespace`: names have dots too). */
function claimOf(value: unknown, path: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  if (Object.hasOwn(value, path)) return (value as Record<string, unknown>)[path];
  for (let dot = path.indexOf('.'); dot > 0; dot = path.indexOf('.', dot + 1)) {
    const head = path.slice(0, dot);
    if (!Object.hasOwn(value, head)) continue;
    const found = claimOf((value as Record<string, unknown>)[head], path.slice(dot + 1));
    if (found !== undefined) return found;
  }
  return undefined;
}
