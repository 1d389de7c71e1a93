/** From the settings about logins to what is in force. */
import { join, resolve } from 'node:path';
import type {
  AuthConfig,
  CertificateConfig,
  LdapConfig,
  OidcConfig,
  OwnAuthConfig,
  UserConfig,
} from './auth-config.ts';
import type { StorageConfig } from './config.ts';
import { effectiveRights } from './effective-rights.ts';
import type { Findings } from './findings.ts';
import type { DurationValue } from './scalars.ts';
import type { File } from './schema.ts';
import type { MapNode, Path } from './tree.ts';

type Auth = NonNullable<File['auth']>;

const DEFAULT_EXPIRY_MS = 15 * 60_000;
const DEFAULT_REFRESH_MS = 30 * 24 * 3_600_000;
const DEFAULT_LDAP_TIMEOUT_MS = 5_000;
/** RFC 7518 §3.2: a key of at least the hash's size. */
const MIN_SECRET_BYTES = 32;
/** A hash of less is tried too fast by whoever got hold of it. */
const ADVISED_COST = 10;

/** The folder for keys, API keys and accounts below the content's root directory. */
export const STATE_FOLDER = '_entrepot';

/** Reads the settings; undefined when no login is asked for. */
export class EffectiveAuth {
  readonly #file: File;
  readonly #root: MapNode;
  readonly #findings: Findings;
  readonly #storage: StorageConfig;

  constructor(file: File, root: MapNode, findings: Findings, storage: StorageConfig) {
    this.#file = file;
    this.#root = root;
    this.#findings = findings;
    this.#storage = storage;
  }

  /** Whether it was said in so many words that nobody is to be asked. */
  get isOpenOnPurpose(): boolean {
    return this.#file.auth?.none !== undefined;
  }

  read(): AuthConfig | undefined {
    const { auth, users, groups, acl, access } = this.#file;
    const { none, silly, token, ...own } = auth ?? {};
    const isOwn =
      [users, groups, acl, access].some((section) => section !== undefined && section !== null) ||
      Object.values(own).some((value) => value !== undefined);
    const kinds = [
      none === undefined ? [] : ['none'],
      silly === undefined ? [] : ['silly'],
      token === undefined ? [] : ['token'],
      isOwn ? ['our own accounts and rights'] : [],
    ].flat();
    if (kinds.length > 1) {
      this.#problem(['auth'], `expected one kind of login, found ${kinds.join(' and ')}`);
      return undefined;
    }
    if (silly !== undefined) {
      return {
        kind: 'silly',
        realm: silly?.realm ?? this.#missing('silly', 'realm'),
        service: silly?.service ?? this.#missing('silly', 'service'),
      };
    }
    if (token !== undefined) return this.#token(token ?? {});
    return isOwn ? this.#own(auth ?? {}) : undefined;
  }

  #token(token: NonNullable<Auth['token']>): AuthConfig {
    const { rootcertbundle, jwks } = token;
    if (!rootcertbundle && !jwks) {
      this.#problem(
        ['auth', 'token'],
        'expected "rootcertbundle" or "jwks": nothing else tells a good token from a forged one',
      );
    }
    return {
      kind: 'token',
      realm: token.realm ?? (token.autoredirect === true ? '' : this.#missing('token', 'realm')),
      service: token.service ?? this.#missing('token', 'service'),
      issuer: token.issuer ?? this.#missing('token', 'issuer'),
      ...(rootcertbundle ? { rootCertBundle: resolve(rootcertbundle) } : {}),
      ...(jwks ? { jwks: resolve(jwks) } : {}),
      signingAlgorithms: token.signingalgorithms ?? [],
      autoRedirect: token.autoredirect ?? false,
      autoRedirectPath: token.autoredirectpath ?? '/auth/token/',
    };
  }

  #own(auth: Auth): OwnAuthConfig {
    const { users, groups, acl, access } = this.#file;
    const { htpasswd, ldap } = auth;
    const state = this.#state(auth);
    const isRegistry2 =
      htpasswd !== undefined &&
      !users &&
      !groups &&
      !acl &&
      !access &&
      Object.entries(auth).every(([key, value]) => key === 'htpasswd' || value === undefined);
    const path = htpasswd?.path ?? (htpasswd === undefined ? undefined : this.#missing('htpasswd', 'path'));
    const oidc = (auth.oidc ?? []).map((issuer, index) => this.#oidc(issuer, ['auth', 'oidc', index]));
    if (oidc.length > 0 && !acl && !access) {
      this.#problem(['auth', 'oidc'], 'needs "acl" or "access": say what these accounts may do');
    }
    const hmacSecret = auth.hmac_secret ?? undefined;
    const method = (auth.signing_method ?? (hmacSecret === undefined ? 'rs256' : 'hs256')).toUpperCase();
    this.#checkSigning(auth, method);
    return {
      kind: 'own',
      challenge: isRegistry2 ? 'basic' : 'bearer',
      ...(isRegistry2
        ? { realm: htpasswd?.realm ?? 'basic-realm' }
        : auth.realm
          ? { realm: auth.realm }
          : {}),
      service: auth.service ?? 'entrepot',
      issuer: auth.issuer ?? 'entrepot',
      signingMethod: method as OwnAuthConfig['signingMethod'],
      ...(auth.private_key ? { privateKey: resolve(auth.private_key) } : {}),
      ...(auth.public_key ? { publicKey: resolve(auth.public_key) } : {}),
      ...(hmacSecret === undefined ? {} : { hmacSecret }),
      expiryMs: this.#duration(auth.expiry, ['auth', 'expiry']) ?? DEFAULT_EXPIRY_MS,
      refreshExpiryMs: this.#duration(auth.refreshexpiry, ['auth', 'refreshexpiry']) ?? DEFAULT_REFRESH_MS,
      ...(state === undefined ? {} : { stateDirectory: state }),
      ...(path === undefined
        ? state === undefined
          ? {}
          : { htpasswd: { path: join(state, 'htpasswd'), create: false } }
        : { htpasswd: { path: resolve(path), create: true } }),
      users: Object.entries(users ?? {}).map(([name, user]) => this.#user(name, user)),
      groups: groups ?? {},
      acl: effectiveRights({ acl, access }, this.#root, this.#findings),
      oidc,
      ...(ldap ? { ldap: this.#ldap(ldap) } : {}),
      certificates: (auth.certificates ?? []).map((certificate, index) =>
        this.#certificate(certificate, ['auth', 'certificates', index]),
      ),
    };
  }

  #state(auth: Auth): string | undefined {
    if (auth.state) return resolve(auth.state);
    const { driver } = this.#storage;
    return driver.kind === 'filesystem' ? join(driver.rootDirectory, STATE_FOLDER) : undefined;
  }

  #checkSigning(auth: Auth, method: string): void {
    const secret = auth.hmac_secret ?? undefined;
    if (method === 'HS256') {
      if (secret === undefined)
        this.#problem(['auth', 'hmac_secret'], 'is missing, and signing_method HS256 needs it');
      else if (Buffer.byteLength(secret) < MIN_SECRET_BYTES) {
        this.#problem(
          ['auth', 'hmac_secret'],
          `expected at least ${MIN_SECRET_BYTES} bytes: "openssl rand -base64 48" makes one`,
        );
      }
    } else if (secret !== undefined) {
      this.#problem(
        ['auth', 'hmac_secret'],
        `is not used with signing_method ${method}; leave one of the two out`,
      );
    }
    if (auth.public_key && !auth.private_key) {
      this.#problem(['auth', 'private_key'], 'is missing, and auth.public_key needs it');
    }
  }

  #user(name: string, user: NonNullable<File['users']>[string]): UserConfig {
    if (!/^[\p{L}\p{N}_][\p{L}\p{N}._@+\-/]{0,127}$/u.test(name)) {
      this.#problem(['users', name], 'expected a name of letters, digits and ._@+-/ (at most 128)');
    }
    const cost = Number(user.password.slice(4, 6));
    if (cost < ADVISED_COST) {
      this.#findings.warningAt(
        this.#root,
        ['users', name],
        `its bcrypt hash has cost ${cost}; ${ADVISED_COST} or more is advised ("entrepot hash-password" makes one)`,
      );
    }
    return { name, passwordHash: user.password, groups: user.groups ?? [] };
  }

  #oidc(issuer: NonNullable<Auth['oidc']>[number], path: Path): OidcConfig {
    const audiences = issuer.audience ?? [];
    if (audiences.length === 0) {
      this.#problem(
        [...path, 'audience'],
        'is missing: without it a token that was made for another service would be taken',
      );
    }
    const accounts = issuer.accounts ?? [];
    if (accounts.length === 0)
      this.#problem([...path, 'accounts'], 'is missing: say which claims are which account');
    for (const [index, { claims }] of accounts.entries()) {
      if (Object.keys(claims ?? {}).length > 0) continue;
      this.#problem(
        [...path, 'accounts', index],
        'expected "claims": without them everybody with a token of this issuer would be this account',
      );
    }
    return {
      issuer: issuer.issuer,
      audiences,
      ...(issuer.jwks ? { jwks: /^https?:/.test(issuer.jwks) ? issuer.jwks : resolve(issuer.jwks) } : {}),
      ...(issuer.ca ? { ca: resolve(issuer.ca) } : {}),
      accounts: accounts.map(({ claims, account, groups }) => ({
        claims: claims ?? {},
        account,
        groups: groups ?? [],
      })),
    };
  }

  #ldap(ldap: NonNullable<Auth['ldap']>): LdapConfig {
    if (ldap.url.startsWith('ldap:') && ldap.starttls !== true) {
      this.#findings.warningAt(
        this.#root,
        ['auth', 'ldap', 'url'],
        'passwords go over the network in the clear; use ldaps:// or starttls',
      );
    }
    return {
      url: ldap.url,
      startTls: ldap.starttls ?? false,
      ...(ldap.ca ? { ca: resolve(ldap.ca) } : {}),
      ...(ldap.binddn ? { bindDn: ldap.binddn } : {}),
      ...(ldap.bindpassword ? { bindPassword: ldap.bindpassword } : {}),
      baseDn: ldap.basedn,
      userFilter: ldap.userfilter ?? '(uid=${account})',
      groupAttribute: ldap.groupattribute ?? 'memberOf',
      timeoutMs: this.#duration(ldap.timeout, ['auth', 'ldap', 'timeout']) ?? DEFAULT_LDAP_TIMEOUT_MS,
    };
  }

  #certificate(certificate: NonNullable<Auth['certificates']>[number], path: Path): CertificateConfig {
    const { subject, san, fingerprint, account, groups } = certificate;
    if (!subject && !san && !fingerprint) this.#problem(path, 'expected "subject", "san" or "fingerprint"');
    const clientCas = this.#file.http?.tls?.clientcas ?? [];
    if (clientCas.length === 0)
      this.#problem(path, 'needs http.tls.clientcas: whose certificates are to be trusted');
    return {
      ...(subject ? { commonName: subject } : {}),
      ...(san ? { alternativeName: san } : {}),
      ...(fingerprint ? { fingerprint } : {}),
      account: account ?? '${commonName}',
      groups: groups ?? [],
    };
  }

  #missing(section: string, name: string): string {
    this.#problem(['auth', section, name], 'is missing');
    return '';
  }

  #duration(value: DurationValue | null | undefined, path: Path): number | undefined {
    if (value?.unitless === true) {
      this.#findings.warningAt(
        this.#root,
        path,
        'a number without a unit counts nanoseconds, as in registry:2; write "60s" for a minute',
      );
    }
    return value?.ms;
  }

  #problem(path: Path, text: string): void {
    this.#findings.problemAt(this.#root, path, text);
  }
}
