/** From the configuration's logins and rights to an `Access`. A part of the composition root. */
import { chmodSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Access, type Names, openAccess, PLAIN_NAMES, type TokenEndpoint } from './auth/access.ts';
import { Acl } from './auth/acl.ts';
import { ApiKeys } from './auth/api-keys.ts';
import { CertificateAccounts } from './auth/client-certificates.ts';
import { ExternalAccess } from './auth/external-access.ts';
import { HtpasswdFile } from './auth/htpasswd-file.ts';
import { Identification } from './auth/identification.ts';
import type { Authenticator } from './auth/identity.ts';
import { LdapDirectory } from './auth/ldap.ts';
import { LocalAccounts } from './auth/local-accounts.ts';
import { OwnAccess } from './auth/own-access.ts';
import { PasswordCheck } from './auth/passwords.ts';
import { RefreshTokens } from './auth/refresh-tokens.ts';
import { RegistryTokens } from './auth/registry-tokens.ts';
import { sillyAccess } from './auth/silly-access.ts';
import { Throttle } from './auth/throttle.ts';
import { TokenService } from './auth/token-endpoint.ts';
import { TokenKeys } from './auth/token-keys.ts';
import { WorkloadIdentities } from './auth/workload-identity.ts';
import type { OwnAuthConfig } from './config/auth-config.ts';
import type { Config } from './config/config.ts';
import type { Audit, Logger } from './log.ts';
import { StartFailure } from './start-failure.ts';

/** How often refresh tokens that are over are removed, in milliseconds. */
const SWEEP_EVERY = 6 * 3_600_000;

/** Folders of the state directory. */
export const STATE = { signing: 'signing', refresh: 'refresh', keys: 'keys' } as const;

/** What outlives a change of accounts and rights. */
interface Lasting {
  readonly keys: TokenKeys | undefined;
  readonly throttle: Throttle;
  readonly passwords: PasswordCheck;
  readonly files: Map<string, HtpasswdFile>;
}

/** The other processes of this server. Messages are plain JSON. */
export interface Peers {
  tell(message: unknown): void;
  onTold(listener: (message: unknown) => void): void;
}

interface AccessOptions {
  readonly peers?: Peers | undefined;
  readonly names?: Names;
  /** Files of accounts that were there before this process began. */
  readonly accountFiles?: readonly string[] | undefined;
  /** Without keys: for what is never asked. */
  readonly isTrial?: boolean;
}

/** Proves that a server that runs can take up these accounts and rights. @throws StartFailure */
export function proveAccess(config: Config): void {
  const quiet: Logger = { debug: ignore, info: ignore, warn: ignore, error: ignore };
  new ConfiguredAccess(config, quiet, ignore, { isTrial: true }).stop();
}

function ignore(): void {
  // Who takes it up tells all that there is to tell.
}

/** An `Access` of which the accounts and rights can be changed while it is used. */
export class ConfiguredAccess implements Access {
  #current: Access;
  #sweep: () => void = () => undefined;
  readonly #timer: NodeJS.Timeout;
  readonly #lasting: Lasting;
  readonly #log: Logger;
  readonly #audit: Audit;
  readonly #names: Names;
  readonly #accountFiles: readonly string[];

  /** @throws StartFailure when a key or file cannot be used */
  constructor(
    config: Config,
    log: Logger,
    audit: Audit,
    { peers, names = PLAIN_NAMES, accountFiles = [], isTrial = false }: AccessOptions = {},
  ) {
    this.#names = names;
    this.#accountFiles = accountFiles;
    this.#log = log;
    this.#audit = audit;
    const { auth } = config;
    this.#lasting = {
      keys: auth?.kind === 'own' && !isTrial ? openKeys(auth) : undefined,
      throttle: sharedThrottle(peers),
      passwords: new PasswordCheck(),
      files: new Map(),
    };
    this.#current = this.#wire(config);
    this.#timer = setInterval(() => this.#sweep(), SWEEP_EVERY);
    this.#timer.unref();
  }

  get tokens(): TokenEndpoint | undefined {
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

  #wire(config: Config): Access {
    const { auth } = config;
    if (auth === undefined) return openAccess;
    if (auth.kind === 'silly') return sillyAccess(auth);
    if (auth.kind === 'own') return this.#own(auth, config.http);
    try {
      return new ExternalAccess({ ...auth, names: this.#names, log: this.#log, audit: this.#audit });
    } catch (error) {
      const { rootCertBundle, jwks } = auth;
      const paths = [rootCertBundle, jwks].filter((path) => path !== undefined).join(', ');
      throw new StartFailure(`auth.token: ${paths}: ${(error as Error).message}`, { cause: error });
    }
  }

  /** The same one each time, as it knows what was in the file before somebody broke it. */
  #accountFile(path: string): HtpasswdFile {
    const { files } = this.#lasting;
    const isExpected = this.#accountFiles.includes(path);
    const file = files.get(path) ?? new HtpasswdFile(path, { log: this.#log, isExpected });
    files.set(path, file);
    return file;
  }

  #own(auth: OwnAuthConfig, { prefix, host }: Config['http']): Access {
    const { keys, throttle, passwords } = this.#lasting;
    const log = this.#log;
    const audit = this.#audit;
    const names = this.#names;
    const accounts = new LocalAccounts({
      users: auth.users,
      groups: auth.groups,
      files: auth.htpasswd === undefined ? [] : [this.#accountFile(auth.htpasswd.path)],
      passwords,
      followed: auth.ldap !== undefined,
      log,
    });
    const state = auth.stateDirectory;
    const authenticators: Authenticator[] = [
      ...(state === undefined ? [] : [new ApiKeys(join(state, STATE.keys), accounts)]),
      ...(auth.oidc.length === 0 ? [] : [new WorkloadIdentities(auth.oidc.map(withAuthorities), log)]),
      accounts,
      ...(auth.ldap === undefined ? [] : [new LdapDirectory(withAuthorities(auth.ldap))]),
      new CertificateAccounts(auth.certificates),
    ];
    const identification = new Identification({ authenticators, throttle, audit, groups: auth.groups });
    const acl = new Acl(auth.acl);
    if (auth.challenge === 'basic' || keys === undefined) {
      const challenge = { kind: 'basic', realm: auth.realm ?? auth.service } as const;
      return new OwnAccess({ identification, readToken: () => undefined, acl, challenge, names, audit });
    }
    const { service, issuer, expiryMs } = auth;
    const tokens = new RegistryTokens({ keys, issuer, service, expiryMs, accounts, names });
    const refresh = new RefreshTokens({
      folder: state === undefined ? undefined : join(state, STATE.refresh),
      accounts,
      expiryMs: auth.refreshExpiryMs,
    });
    this.#sweep = () => refresh.sweep();
    return new OwnAccess({
      identification,
      readToken: (token) => tokens.read(token),
      acl,
      challenge: { kind: 'bearer', realm: auth.realm ?? `${host ?? ''}${prefix}v2/token`, service },
      names,
      audit,
      tokens: new TokenService({
        identification,
        acl,
        tokens,
        refresh,
        keys,
        service,
        names,
        onFailure: (error) =>
          log.error('a token could not be given', {
            error: error instanceof Error ? error.message : String(error),
          }),
      }),
    });
  }
}

interface FailedLogin {
  readonly subject: 'failed login';
  readonly account: string;
  readonly address: string;
}

/** Wrong passwords count in all processes: else each of them would be one more set of guesses. */
function sharedThrottle(peers: Peers | undefined): Throttle {
  if (peers === undefined) return new Throttle();
  const throttle = new Throttle({
    onFailed(account, address) {
      peers.tell({ subject: 'failed login', account, address } satisfies FailedLogin);
    },
  });
  peers.onTold((message) => {
    const { subject, account, address } = message as FailedLogin;
    if (subject === 'failed login') throttle.note(account, address);
  });
  return throttle;
}

/** The options with the text of the PEM file that they name. @throws StartFailure */
function withAuthorities<T extends { readonly ca?: string }>(options: T): T {
  if (options.ca === undefined) return options;
  try {
    return { ...options, ca: readFileSync(options.ca, 'utf8') };
  } catch (error) {
    throw new StartFailure(`${options.ca}: ${(error as Error).message}`, { cause: error });
  }
}

/**
 * Makes the state directory, which only this user may look into, and the keys in it.
 * @throws StartFailure
 */
export function openKeys(auth: OwnAuthConfig): TokenKeys {
  const { stateDirectory: state, signingMethod: method, privateKey, publicKey, hmacSecret: secret } = auth;
  try {
    if (state !== undefined) {
      mkdirSync(state, { recursive: true, mode: 0o700 });
      // Only where it is needed: a folder that is mounted read-only, with keys in it, is as good.
      if ((statSync(state).mode & 0o077) !== 0) chmodSync(state, 0o700);
    }
    const folder = state === undefined ? undefined : join(state, STATE.signing);
    return new TokenKeys({ method, privateKey, publicKey, secret, folder });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw new StartFailure(message, { cause: error });
    throw new StartFailure(`auth.state: ${state ?? ''}: ${message}; say where keys can be kept`, {
      cause: error,
    });
  }
}
