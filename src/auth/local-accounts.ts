/** The accounts that this registry keeps itself: those of the configuration and those of htpasswd files. */
import { createHash } from 'node:crypto';
import type { Logger } from '../log.ts';
import { costOf, DEFAULT_COST } from './bcrypt.ts';
import type { Htpasswd } from './htpasswd.ts';
import {
  type Account,
  type Accounts,
  type Authenticator,
  type Credentials,
  type Identity,
  isAccountName,
} from './identity.ts';
import type { PasswordCheck } from './passwords.ts';

/** An account of the configuration. */
export interface LocalUser {
  readonly name: string;
  /** bcrypt. */
  readonly passwordHash: string;
  readonly groups: readonly string[];
}

export interface LocalAccountsOptions {
  readonly users: readonly LocalUser[];
  /** Members by the name of the group; for accounts of files too, and for those that come and go. */
  readonly groups: Readonly<Record<string, readonly string[]>>;
  /** Asked in this order, after `users`. */
  readonly files: readonly { readonly content: Htpasswd }[];
  readonly passwords: PasswordCheck;
  /**
   * Whether another authenticator is asked for names that are not known here, such as a directory. Then that one's time
   * is what an unknown account takes, and none is spent here: it would be spent on every request of a directory's user.
   */
  readonly followed?: boolean;
  readonly log: Pick<Logger, 'warn'>;
}

export class LocalAccounts implements Accounts, Authenticator {
  readonly #options: LocalAccountsOptions;
  readonly #hashes = new Map<string, string>();
  readonly #groups = new Map<string, Set<string>>();
  readonly #highestCost: number;

  constructor(options: LocalAccountsOptions) {
    this.#options = options;
    let highest = 0;
    for (const { name, passwordHash, groups } of options.users) {
      const cost = costOf(passwordHash);
      if (cost === undefined || !isAccountName(name)) {
        options.log.warn(
          `the account ${JSON.stringify(name)} cannot log in: its name or its password hash is not usable`,
        );
        continue;
      }
      highest = Math.max(highest, cost);
      this.#hashes.set(name, passwordHash);
      for (const group of groups) this.#join(name, group);
    }
    for (const [group, members] of Object.entries(options.groups)) {
      for (const member of members) this.#join(member, group);
    }
    this.#highestCost = highest;
  }

  find(name: string): Account | undefined {
    const hash = this.#hashOf(name);
    if (hash === undefined) return undefined;
    return { name, groups: this.#groupsOf(name), fingerprint: fingerprintOf(hash) };
  }

  /**
   * Checks passwords; other credentials are not known here. A wrong password of a known account and an unknown account
   * take the same time.
   * @throws RegistryError `TOOMANYREQUESTS` when too many checks are waiting
   * @throws AuthenticationUnavailable
   */
  async authenticate(credentials: Credentials): Promise<Identity | 'refused' | undefined> {
    if (credentials.kind !== 'password') return undefined;
    const { account, password } = credentials;
    // No account has such a name, so there is nothing that its time could give away.
    if (!isAccountName(account)) return undefined;
    const hash = this.#hashOf(account);
    const { passwords, followed = false } = this.#options;
    if (hash === undefined && followed) return undefined;
    const isRight = await passwords.verify(account, password, hash, this.#cost());
    if (hash === undefined) return undefined;
    if (!isRight) return 'refused';
    return { account, groups: this.#groupsOf(account), method: 'password' };
  }

  #hashOf(name: string): string | undefined {
    if (!isAccountName(name)) return undefined;
    const own = this.#hashes.get(name);
    if (own !== undefined) return own;
    for (const { content } of this.#options.files) {
      const hash = content.hashes.get(name);
      if (hash !== undefined) return hash;
    }
    return undefined;
  }

  #cost(): number {
    let highest = this.#highestCost;
    for (const { content } of this.#options.files) highest = Math.max(highest, content.highestCost);
    return highest === 0 ? DEFAULT_COST : highest;
  }

  #join(name: string, group: string): void {
    const groups = this.#groups.get(name) ?? new Set();
    this.#groups.set(name, groups.add(group));
  }

  #groupsOf(name: string): readonly string[] {
    return [...(this.#groups.get(name) ?? [])];
  }
}

/** Tells stored passwords apart without giving them away. */
function fingerprintOf(hash: string): string {
  return createHash('sha256').update(hash).digest('base64url').slice(0, 16);
}
