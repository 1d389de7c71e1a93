/** The part of the effective configuration that is about logins and rights; plain JSON values as in `config.ts`. */

/** Who may log in and do what. Left out of `Config` nothing is asked of anybody. */
export type AuthConfig =
  /** `auth.silly` of `registry:2`: any Authorization header will do. For development. */
  | { readonly kind: 'silly'; readonly realm: string; readonly service: string }
  | ExternalTokenConfig
  | OwnAuthConfig;

/** `auth.token` of `registry:2`: another server gives out the tokens. */
export interface ExternalTokenConfig {
  readonly kind: 'token';
  readonly realm: string;
  readonly service: string;
  readonly issuer: string;
  /** Absolute path of a PEM file with the certificates of trusted signers. */
  readonly rootCertBundle?: string;
  /** Absolute path of a JWK set. */
  readonly jwks?: string;
  /** Signature algorithms that are taken; empty for the default ones. */
  readonly signingAlgorithms: readonly string[];
  /** Take the realm's scheme and host from the request, and `autoRedirectPath` for its path. */
  readonly autoRedirect: boolean;
  readonly autoRedirectPath: string;
}

/** Accounts, rights and tokens of our own. */
export interface OwnAuthConfig {
  readonly kind: 'own';
  /** How a login is asked for: `basic` only for a configuration of `registry:2`'s `auth.htpasswd`. */
  readonly challenge: 'basic' | 'bearer';
  /** Basic: the realm's name. Bearer: the URL of the token service; undefined to derive it from each request. */
  readonly realm?: string;
  readonly service: string;
  readonly issuer: string;
  readonly signingMethod: 'RS256' | 'ES256' | 'HS256';
  /** Absolute paths of PEM files; without them keys are made in the state directory. */
  readonly privateKey?: string;
  readonly publicKey?: string;
  /** At least 32 bytes. */
  readonly hmacSecret?: string;
  /** How long a token is good, in milliseconds; at least a minute. */
  readonly expiryMs: number;
  /** How long a refresh token is good after its last use, in milliseconds. */
  readonly refreshExpiryMs: number;
  /** Where keys, API keys and refresh tokens are kept: an absolute path. undefined: in this process's memory. */
  readonly stateDirectory?: string;
  readonly htpasswd?: {
    /** An absolute path. */
    readonly path: string;
    /** Whether it is made, with an account and a random password, when it is missing (as `registry:2` does). */
    readonly create: boolean;
  };
  readonly users: readonly UserConfig[];
  /** Members of groups by the group's name, beside those that `users` tells. */
  readonly groups: Readonly<Record<string, readonly string[]>>;
  /** In the order in which they are asked. */
  readonly acl: readonly RuleConfig[];
  readonly oidc: readonly OidcConfig[];
  readonly ldap?: LdapConfig;
  /** Which client certificates are which accounts; the first that matches counts. */
  readonly certificates: readonly CertificateConfig[];
}

export interface UserConfig {
  readonly name: string;
  /** bcrypt: `$2a$`, `$2b$` or `$2y$`. */
  readonly passwordHash: string;
  readonly groups: readonly string[];
}

/** A line of the ACL. */
export interface RuleConfig {
  /** Exactly one of the three. */
  readonly who: { readonly account: string } | { readonly group: string } | { readonly anonymous: true };
  /** A glob over repository names, in which `${account}` stands for the account's name. */
  readonly name: string;
  readonly actions: readonly ('pull' | 'push' | 'delete' | '*')[];
  /** Addresses or CIDR blocks that the request must come from; empty for any. */
  readonly ip: readonly string[];
  /** Whether a match refuses instead of allowing. */
  readonly deny: boolean;
  /** Where it stands, for messages: `config.yml:12`, or such as `access.pull`. */
  readonly source: string;
}

/** An issuer of workload identities (GitHub Actions, GitLab CI, Kubernetes, …). */
export interface OidcConfig {
  /** The `iss` of its tokens, and where `/.well-known/openid-configuration` is looked for. */
  readonly issuer: string;
  /** One of these must be in a token's `aud`. */
  readonly audiences: readonly string[];
  /** Where its keys are: a URL or an absolute path; undefined to ask the issuer. */
  readonly jwks?: string;
  /** PEM file of the authorities that its HTTPS server is trusted by, beside the system's. */
  readonly ca?: string;
  /** The first whose claims all match decides which account the token is. */
  readonly accounts: readonly {
    /** Globs by the claim's name; a claim that is a list matches when one of its items does. */
    readonly claims: Readonly<Record<string, string>>;
    /** May hold `${claim}`. */
    readonly account: string;
    readonly groups: readonly string[];
  }[];
}

export interface LdapConfig {
  /** `ldap://` or `ldaps://`. */
  readonly url: string;
  readonly startTls: boolean;
  /** PEM file of the authorities that its certificate is trusted by, beside the system's. */
  readonly ca?: string;
  /** The account that searches; undefined to search without a login. */
  readonly bindDn?: string;
  readonly bindPassword?: string;
  readonly baseDn: string;
  /** With `${account}` for what the user typed. */
  readonly userFilter: string;
  /** The user's attribute that lists group names or DNs, e.g. `memberOf`; `''` for none. */
  readonly groupAttribute: string;
  /** Milliseconds for a connection, and for an answer. */
  readonly timeoutMs: number;
}

export interface CertificateConfig {
  /** Globs; each that is given must match. */
  readonly commonName?: string;
  readonly alternativeName?: string;
  readonly fingerprint?: string;
  /** May hold `${commonName}`. */
  readonly account: string;
  readonly groups: readonly string[];
}
