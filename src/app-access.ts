/** From the configuration's logins and rights to an `Access`. A part of the composition root. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Access, openAccess } from './auth/access.ts';
import { Acl } from './auth/acl.ts';
import { ApiKeys } from './auth/api-keys.ts';
import { Identification } from './auth/identification.ts';
import type { Authenticator } from './auth/identity.ts';
import { HtpasswdFile } from './auth/htpasswd-file.ts';
import { LocalAccounts } from './auth/local-accounts.ts';
import { OwnAccess } from './auth/own-access.ts';
import { PasswordCheck } from './auth/passwords.ts';
import { RefreshTokens } from './auth/refresh-tokens.ts';
import { RegistryTokens } from './auth/registry-tokens.ts';
import { sillyAccess } from './auth/silly-access.ts';
import { Throttle } from './auth/throttle.ts';
import { TokenService } from './auth/token-endpoint.ts';
import { TokenKeys, UnusableKey } from './auth/token-keys.ts';
import type { OwnAuthConfig } from './config/auth-config.ts';
import type { Config } from './config/config.ts';
import type { Audit, Logger } from './log.ts';
import { StartFailure } from './start-failure.ts';

/** Where clients find the token service at our own host. */
const TOKEN_PATH = '/v2/token';
/** How often refresh tokens that are over are removed, in milliseconds. */
const SWEEP_EVERY = 6 * 3_600_000;

/** What outlives a change of accounts and rights: keys, and the counts of failed logins. */
interface Lasting {
  readonly keys: TokenKeys | undefined;
  readonly throttle: Throttle;
  readonly passwords: PasswordCheck;
}

/** An `Access` of which the accounts and rights can be changed while it is used. */
export class ConfiguredAccess implements Access {
  #current: Access;
  readonly #lasting: Lasting;
  readonly #log: Logger;
  readonly #audit: Audit;
  #timer: NodeJS.Timeout | undefined;

  /** @throws StartFailure when a key or file cannot be used */
  constructor(config: Config, log: Logger, audit: Audit) {
    this.#log = log;
    this.#audit = audit;
    this.#lasting = {
      keys: config.auth?.kind === 'own' ? openKeys(config.auth) : undefined,
      throttle: new Throttle(),
      passwords: new PasswordCheck(),
    };
    this.#current = this.#wire(config);
  }

  get tokens(): NonNullable<Access['tokens']> | undefined {
    return this.#current.tokens;
  }

  authorize(...asked: Parameters<Access['authorize']>): ReturnType<Access['authorize']> {
    return this.#current.authorize(...asked);
  }

  /** Takes up other accounts and rights. @throws StartFailure; what was in force stays so */
  change(config: Config): void {
    this.#current = this.#wire(config);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
