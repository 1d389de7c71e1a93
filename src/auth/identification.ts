/** From credentials to an identity: every way to log in is asked in turn, attempts are counted, logins are recorded. */
import { createHmac, randomBytes } from 'node:crypto';
import type { Audit } from '../log.ts';
import { RegistryError } from '../oci/errors.ts';
import type { Requester } from './access.ts';
import { ANONYMOUS, type Authenticator, type Credentials, type Identity, isAccountName } from './identity.ts';
import { Recent } from '../recent.ts';
import type { Throttle } from './throttle.ts';

/** A login that goes on is recorded again after so many milliseconds: curl sends its password with each request. */
const RECORD_EVERY = 5 * 60_000;
/** Logins that are remembered as recorded. */
const MAX_RECORDED = 10_000;

/** A login that was not ours is not looked at again for so many milliseconds: a daemon sends it with each pull. */
const FOREIGN_FOR = 5 * 60_000;
const MAX_FOREIGN = 1_000;

type PasswordCredentials = Extract<Credentials, { readonly kind: 'password' }>;

export interface IdentificationOptions {
  /** In the order in which they are asked. */
  readonly authenticators: readonly Authenticator[];
  /** Members of groups by the group's name, also for accounts that are kept elsewhere. */
  readonly groups?: Readonly<Record<string, readonly string[]>>;
  readonly throttle: Throttle;
  readonly audit: Audit;
}

export class Identification {
  readonly #options: IdentificationOptions;
  /** When each login was last recorded, in milliseconds since 1970. */
  readonly #recorded = new Recent<number>({ most: MAX_RECORDED });

  readonly #foreign = new Recent<number>({ most: MAX_FOREIGN });
  readonly #key = randomBytes(32);

  constructor(options: IdentificationOptions) {
    this.#options = options;
  }

  /**
   * Who brings the credentials. Without any it is who the connection's certificate names, or else the anonymous account.
   * @throws RegistryError `UNAUTHORIZED` (without a challenge) or `TOOMANYREQUESTS`
   * @throws AuthenticationUnavailable
   */
  async identify(
    credentials: Credentials | undefined,
    requester: Requester,
    { mayBeForeign = false }: { readonly mayBeForeign?: boolean } = {},
  ): Promise<Identity> {
    if (mayBeForeign && credentials?.kind === 'password') return this.#orForeign(credentials, requester);
    if (credentials === undefined) return this.#byCertificate(requester);
    if (credentials.kind !== 'password') {
      const identity = await this.#ask(credentials, requester);
      // Not counted and not recorded: tokens expire every few minutes, and guessing one is hopeless.
      if (identity === undefined) throw new RegistryError('UNAUTHORIZED', 'the token is not good');
      this.#recordOnce(identity, requester);
      return identity;
    }
    return this.#inTurn(credentials, requester);
  }

  /**
   * A login that is not ours counts as none. Who guesses learns nothing by that: one that is refused for its number gets
   * the same answer.
   */
  async #orForeign(credentials: PasswordCredentials, requester: Requester): Promise<Identity> {
    const { account, password } = credentials;
    const key = createHmac('sha256', this.#key)
      .update(`${account.length}:${account}${password}`)
      .digest('base64');
    const now = Date.now();
    if ((this.#foreign.get(key) ?? 0) > now) return ANONYMOUS;
    try {
      return await this.#inTurn(credentials, requester);
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error;
      if (error.code === 'UNAUTHORIZED') this.#foreign.set(key, now + FOREIGN_FOR);
      return ANONYMOUS;
    }
  }

  #inTurn(credentials: PasswordCredentials, requester: Requester): Promise<Identity> {
    return this.#options.throttle.inTurn(credentials.account, requester.remoteAddress, () =>
      this.#byPassword(credentials, requester),
    );
  }

  async #byPassword(credentials: PasswordCredentials, requester: Requester): Promise<Identity> {
    const { throttle } = this.#options;
    const { account } = credentials;
    const { remoteAddress } = requester;
    const blocked = throttle.check(account, remoteAddress);
    if (blocked !== undefined) {
      this.#record(account, requester, 'refused', 'too many attempts');
      throw new RegistryError('TOOMANYREQUESTS', 'too many failed logins; try again later', {
        headers: { 'Retry-After': String(blocked.retryAfter) },
      });
    }
    const identity = await this.#ask(credentials, requester);
    if (identity === undefined) {
      throttle.failed(account, remoteAddress);
      this.#record(account, requester, 'refused', 'wrong password');
      throw new RegistryError('UNAUTHORIZED', 'the account or its password is not right');
    }
    throttle.succeeded(account, remoteAddress);
    this.#recordOnce(identity, requester);
    return identity;
  }

  async #byCertificate(requester: Requester): Promise<Identity> {
    const { certificate } = requester;
    if (certificate === undefined) return ANONYMOUS;
    const identity = await this.#ask({ kind: 'certificate', certificate }, requester);
    if (identity === undefined) return ANONYMOUS;
    this.#recordOnce(identity, requester);
    return identity;
  }

  async #ask(credentials: Credentials, requester: Requester): Promise<Identity | undefined> {
    for (const authenticator of this.#options.authenticators) {
      const answer = await authenticator.authenticate(credentials, requester);
      if (answer === 'refused') return undefined;
      // What comes from elsewhere must not be able to name what only we can.
      if (answer !== undefined) return isAccountName(answer.account) ? this.#withGroups(answer) : undefined;
    }
    return undefined;
  }

  #withGroups(identity: Identity): Identity {
    const joined = Object.entries(this.#options.groups ?? {})
      .filter(([, members]) => members.includes(identity.account))
      .map(([group]) => group);
    return joined.length === 0
      ? identity
      : { ...identity, groups: [...new Set([...identity.groups, ...joined])] };
  }

  #recordOnce(identity: Identity, requester: Requester): void {
    const key = `${identity.method} ${identity.by ?? ''} ${identity.account} ${requester.remoteAddress}`;
    const now = Date.now();
    if (now - (this.#recorded.get(key) ?? 0) < RECORD_EVERY) return;
    this.#recorded.set(key, now);
    const { account, method, by } = identity;
    this.#record(account, requester, 'done', by === undefined ? method : `${method} ${by}`);
  }

  #record(account: string, { remoteAddress }: Requester, result: 'done' | 'refused', detail: string): void {
    this.#options.audit({ event: 'login', account, remoteAddress, result, detail });
  }
}
