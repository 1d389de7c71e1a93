/** What `docker login` keeps in place of a password: a random text that new tokens are given for. */
import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Accounts, Identity } from './identity.ts';
import { readStateFile, removeStateFile, stateFiles, writeStateFile } from './state-files.ts';

const PREFIX = 'entr_';
const FORM = /^entr_[A-Za-z0-9_-]{43}$/;
/** A token's last use is written down this often, in milliseconds: not for every pull. */
const TOUCH_EVERY = 3_600_000;

interface Stored {
  readonly account: string;
  /** The account's fingerprint when the token was given out. */
  readonly fingerprint: string;
  readonly created: number;
  /** Milliseconds since 1970, to within `TOUCH_EVERY`. */
  readonly used: number;
}

export interface RefreshTokensOptions {
  /** Where they are kept, a file each under the token's hash; undefined for this process's memory. */
  readonly folder: string | undefined;
  readonly accounts: Accounts;
  /** How long one is good after its last use, in milliseconds. */
  readonly expiryMs: number;
  readonly now?: () => number;
}

/** Refresh tokens of accounts that are kept here. A changed password, or the account's end, ends them. */
export class RefreshTokens {
  readonly #options: RefreshTokensOptions;
  readonly #memory = new Map<string, Stored>();

  constructor(options: RefreshTokensOptions) {
    this.#options = options;
  }

  /** A new token; undefined for an identity that could not be looked up again, or whose rights are narrowed. */
  create({ account, limits }: Identity): string | undefined {
    const found = limits === undefined ? this.#options.accounts.find(account) : undefined;
    if (found === undefined) return undefined;
    const token = PREFIX + randomBytes(32).toString('base64url');
    const now = this.#now();
    this.#write(hashOf(token), { account, fingerprint: found.fingerprint, created: now, used: now });
    return token;
  }

  /** Whose token it is; undefined when it is none or no longer good. */
  use(token: string): Identity | undefined {
    if (!FORM.test(token)) return undefined;
    const hash = hashOf(token);
    const stored = this.#read(hash);
    if (stored === undefined) return undefined;
    const account = this.#options.accounts.find(stored.account);
    if (account?.fingerprint !== stored.fingerprint || this.#isOver(stored)) {
      this.#remove(hash);
      return undefined;
    }
    if (this.#now() - stored.used > TOUCH_EVERY) this.#touch(hash, stored);
    return { account: account.name, groups: account.groups, method: 'refresh' };
  }

  /** Where the folder cannot be written to, a token that is used ends as if it was not. */
  #touch(hash: string, stored: Stored): void {
    try {
      this.#write(hash, { ...stored, used: this.#now() });
    } catch {
      // see above
    }
  }

  /** Removes those that are no longer good. */
  sweep(): void {
    const { folder } = this.#options;
    for (const hash of folder === undefined ? this.#memory.keys() : stateFiles(folder)) {
      const stored = this.#read(hash);
      if (stored === undefined || this.#isOver(stored)) this.#remove(hash);
    }
  }

  #now(): number {
    return this.#options.now?.() ?? Date.now();
  }

  #isOver({ used }: Stored): boolean {
    return this.#now() - used > this.#options.expiryMs;
  }

  #read(hash: string): Stored | undefined {
    const { folder } = this.#options;
    if (folder === undefined) return this.#memory.get(hash);
    const text = readStateFile(join(folder, hash));
    try {
      return text === undefined ? undefined : (JSON.parse(text) as Stored);
    } catch {
      return undefined;
    }
  }

  #write(hash: string, stored: Stored): void {
    const { folder } = this.#options;
    if (folder === undefined) this.#memory.set(hash, stored);
    else writeStateFile(join(folder, hash), JSON.stringify(stored));
  }

  #remove(hash: string): void {
    const { folder } = this.#options;
    if (folder === undefined) {
      this.#memory.delete(hash);
      return;
    }
    try {
      removeStateFile(join(folder, hash));
    } catch {
      // It is looked at before it is used, and so does no harm.
    }
  }
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
