/** Who somebody is, how that is proven, and where accounts are found: the contracts inside this room. */
import type { Action, ClientCertificate, Requester } from './access.ts';

/** How an identity was proven. */
export type Method = 'anonymous' | 'password' | 'key' | 'certificate' | 'oidc' | 'ldap' | 'refresh';

export interface Identity {
  /** The account's name; `''` is the anonymous account. */
  readonly account: string;
  readonly groups: readonly string[];
  readonly method: Method;
  /** By which of several, for the record: an API key's id. */
  readonly by?: string | undefined;
  /** Narrows what the account may (an API key's scopes); undefined for all that the account may. */
  readonly limits?: readonly Limit[] | undefined;
}

/** Actions on the repositories that a glob (glob.ts) names. */
export interface Limit {
  readonly name: string;
  readonly actions: readonly Action[];
}

/** Nobody in particular. */
export const ANONYMOUS: Identity = { account: '', groups: [], method: 'anonymous' };

export type Credentials =
  | { readonly kind: 'password'; readonly account: string; readonly password: string }
  | { readonly kind: 'bearer'; readonly token: string }
  | { readonly kind: 'certificate'; readonly certificate: ClientCertificate };

/**
 * Checks credentials of some kind.
 * `refused`: they are of this kind and wrong, so that nobody else is to be asked. undefined: not known here, the next
 * one is asked. The time that an answer takes must not tell whether an account exists.
 * @throws AuthenticationUnavailable when it cannot be told now
 */
export interface Authenticator {
  authenticate(credentials: Credentials, requester: Requester): Promise<Identity | 'refused' | undefined>;
}

/** A directory or issuer does not answer. The message is for the operator; clients get a 503. */
export class AuthenticationUnavailable extends Error {
  override readonly name = 'AuthenticationUnavailable';
}

/** An account that can be looked up without its password. */
export interface Account {
  readonly name: string;
  readonly groups: readonly string[];
  /** Changes when the password does: what was given out on an old one is no longer good. */
  readonly fingerprint: string;
}

/** The accounts that this registry keeps itself. */
export interface Accounts {
  /** undefined when there is none of that name (any more). */
  find(name: string): Account | undefined;
}

/**
 * An account's name, in one form wherever it comes from: 1-128 characters of letters, digits and `._@+-/`, beginning with a
 * letter, digit or `_`. No `*` and no `:`, which mean something in rules and in Basic credentials.
 */
const ACCOUNT = /^[\p{L}\p{N}_][\p{L}\p{N}._@+\-/]{0,127}$/u;

export function isAccountName(name: string): boolean {
  return ACCOUNT.test(name);
}
