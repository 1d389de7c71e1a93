/** Passwords that are sent, checked against stored ones, and not again for each request of a push. */
import { createHmac, randomBytes } from 'node:crypto';
import { costOf, DEFAULT_COST, dummyHash, isCheckable } from './bcrypt.ts';
import { type PasswordJob, PasswordThread } from './password-thread.ts';
import { Recent } from '../recent.ts';

/** How long a password that was right is known to be, in milliseconds. */
const REMEMBERED_FOR = 5 * 60_000;
const MOST_REMEMBERED = 10_000;

export interface PasswordCheckOptions {
  /** Compares; by default in a thread. */
  readonly check?: (job: PasswordJob) => Promise<boolean>;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

/**
 * Checks passwords. One that was right is remembered for five minutes, under a keyed hash of account, password and
 * stored hash: none of them can be read out of memory, and a changed password counts at once. Equal checks that come
 * while one runs share it.
 */
export class PasswordCheck {
  readonly #check: (job: PasswordJob) => Promise<boolean>;
  readonly #now: () => number;
  readonly #key = randomBytes(32);
  /** Until when each is known, in milliseconds since 1970. */
  readonly #right = new Recent<number>({ most: MOST_REMEMBERED });
  readonly #running = new Map<string, Promise<boolean>>();

  constructor({ check, now = Date.now }: PasswordCheckOptions = {}) {
    const thread = new PasswordThread();
    this.#check = check ?? ((job) => thread.check(job));
    this.#now = now;
  }

  /**
   * Whether it is the account's password. `hash` is the stored one, undefined where there is no such account; a refusal
   * takes as long as a hash of `cost` does in either case.
   * @throws RegistryError `TOOMANYREQUESTS` when too many checks are waiting
   * @throws AuthenticationUnavailable
   */
  async verify(
    account: string,
    password: string,
    hash: string | undefined,
    cost = DEFAULT_COST,
  ): Promise<boolean> {
    if (!isCheckable(password)) return false;
    const stored = hash === undefined || costOf(hash) === undefined ? undefined : hash;
    const key = this.#keyOf([account, password, stored ?? '']);
    if ((this.#right.get(key) ?? 0) > this.#now()) return true;
    let running = this.#running.get(key);
    if (running === undefined) {
      const job = { password, hash: stored ?? dummyHash(cost), cost };
      running = this.#check(job).finally(() => this.#running.delete(key));
      this.#running.set(key, running);
    }
    const isRight = (await running) && stored !== undefined;
    if (isRight) this.#remember(key);
    return isRight;
  }

  #keyOf(parts: readonly string[]): string {
    const hmac = createHmac('sha256', this.#key);
    for (const part of parts) hmac.update(`${part.length}:`).update(part);
    return hmac.digest('base64');
  }

  #remember(key: string): void {
    this.#right.set(key, this.#now() + REMEMBERED_FOR);
  }
}
