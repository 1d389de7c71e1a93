/**
 * How often passwords may be guessed. Failures are counted by account and address together, by address, and by account.
 * At each count's limit further tries are refused for a second, and for twice as long with each further failure.
 *
 * An attacker must not be able to lock somebody out by failing in their name: what is counted for a whole account or a
 * whole address (a company behind one) does not hold for those who have logged in from there before. For them only
 * their own failures count.
 */
import { isIPv6 } from 'node:net';
import { RegistryError } from '../oci/errors.ts';
import { plainAddress } from './ip-range.ts';
import { Recent } from '../recent.ts';
import { Turns } from './turns.ts';

interface Limit {
  /** Failures that are free. */
  readonly free: number;
  /** The longest refusal, in milliseconds. */
  readonly longest: number;
}

const FIRST_REFUSAL = 1_000;
const MINUTE = 60_000;
const BY_PAIR: Limit = { free: 5, longest: 15 * MINUTE };
const BY_ADDRESS: Limit = { free: 20, longest: 15 * MINUTE };
const BY_ACCOUNT: Limit = { free: 100, longest: MINUTE };

/** Tries that may wait for others of the same account and address, or of the same address. */
const MOST_WAITING = 64;

/** Failures are forgotten after so many milliseconds without another one, counted from the end of the refusal. */
const WINDOW = 15 * MINUTE;
/** Who has logged in is remembered for so many milliseconds. */
const FAMILIAR_FOR = 30 * 24 * 60 * MINUTE;

/** Keys that are remembered in all. */
const MOST_KEYS = 50_000;
const MOST_OF_A_KIND = MOST_KEYS / 4;
/** A longer name is no account's: only its address is counted. */
const LONGEST_ACCOUNT = 512;

export interface ThrottleOptions {
  /** Milliseconds of a clock that is never set back. */
  readonly now?: () => number;
  /** Told of each wrong password, for other processes that serve the same accounts (`Throttle.note`). */
  readonly onFailed?: (account: string, address: string) => void;
}

/** Counts in this process's memory, of which it takes at most about 10 MB. */
export class Throttle {
  readonly #now: () => number;
  readonly #onFailed: (account: string, address: string) => void;
  readonly #pairs: Counts;
  readonly #addresses: Counts;
  readonly #accounts: Counts;
  readonly #ofPair = new Turns(2, MOST_WAITING);
  readonly #ofPlace = new Turns(16, MOST_WAITING);
  /** Until when a pair that logged in is remembered. */
  readonly #familiar = new Recent<number>({ most: MOST_OF_A_KIND });

  constructor({ now = () => performance.now(), onFailed = () => undefined }: ThrottleOptions = {}) {
    this.#now = now;
    this.#onFailed = onFailed;
    this.#pairs = new Counts(BY_PAIR);
    this.#addresses = new Counts(BY_ADDRESS);
    this.#accounts = new Counts(BY_ACCOUNT);
  }

  /**
   * Whether a try is to be refused, and for how many seconds (at least 1). `account` as the client gives it; with `''`,
   * for credentials that name no account (tokens, which nobody guesses, and which expire in honest hands), nothing is
   * refused or counted. `address` `''` stands for peers that have none.
   */
  check(account: string, address: string): { readonly retryAfter: number } | undefined {
    if (account === '') return undefined;
    const now = this.#now();
    const { place, pair } = keysOf(account, address);
    const until = [this.#pairs.refusedUntil(pair, now)];
    if ((this.#familiar.get(pair) ?? 0) <= now) {
      if (place !== '') until.push(this.#addresses.refusedUntil(place, now));
      if (account.length <= LONGEST_ACCOUNT) until.push(this.#accounts.refusedUntil(account, now));
    }
    const latest = Math.max(...until);
    return latest > now ? { retryAfter: Math.ceil((latest - now) / 1_000) } : undefined;
  }

  /** Counts a wrong password. */
  failed(account: string, address: string): void {
    if (account === '') return;
    this.note(account, address);
    this.#onFailed(account, address);
  }

  /** Counts a wrong password that another process was given. */
  note(account: string, address: string): void {
    const now = this.#now();
    const { place, pair } = keysOf(account, address);
    this.#pairs.add(pair, now);
    if (place !== '') this.#addresses.add(place, now);
    if (account.length <= LONGEST_ACCOUNT) this.#accounts.add(account, now);
  }

  /**
   * Runs `check` of a password when its turn has come: tries that run beside each other are not counted yet, and must
   * not be many. @throws RegistryError `TOOMANYREQUESTS` when too many wait
   */
  inTurn<T>(account: string, address: string, check: () => Promise<T>): Promise<T> {
    const { place, pair } = keysOf(account, address);
    return this.#ofPair.take(pair, () => this.#ofPlace.take(place, check, tooMany), tooMany);
  }

  /**
   * Forgets the failures of this account from this address. Not those of the address: else whoever has an account could
   * guess others' passwords without end.
   */
  succeeded(account: string, address: string): void {
    if (account === '') return;
    const { pair } = keysOf(account, address);
    this.#pairs.forget(pair);
    this.#familiar.set(pair, this.#now() + FAMILIAR_FOR);
  }
}

interface Count {
  readonly failures: number;
  /** Milliseconds of the clock. */
  readonly refusedUntil: number;
  readonly forgottenAt: number;
}

class Counts {
  readonly #limit: Limit;
  readonly #counts = new Recent<Count>({ most: MOST_OF_A_KIND });

  constructor(limit: Limit) {
    this.#limit = limit;
  }

  refusedUntil(key: string, now: number): number {
    return this.#counts.get(key)?.refusedUntil ?? now;
  }

  add(key: string, now: number): void {
    const { free, longest } = this.#limit;
    const last = this.#counts.get(key);
    const failures = last === undefined || last.forgottenAt <= now ? 1 : last.failures + 1;
    // Tries that were under way when the limit was reached count too: guessing in parallel gains nothing.
    const refusal =
      failures < free ? 0 : Math.min(longest, FIRST_REFUSAL * 2 ** Math.min(failures - free, 30));
    const refusedUntil = now + refusal;
    this.#counts.set(key, { failures, refusedUntil, forgottenAt: refusedUntil + WINDOW });
  }

  forget(key: string): void {
    this.#counts.delete(key);
  }
}

function tooMany(): RegistryError {
  return new RegistryError('TOOMANYREQUESTS', 'too many logins at the same moment; try again', {
    headers: { 'Retry-After': '2' },
  });
}

function keysOf(account: string, address: string): { readonly place: string; readonly pair: string } {
  const place = networkOf(address);
  return { place, pair: `${place} ${account.length <= LONGEST_ACCOUNT ? account : ''}` };
}

/**
 * What stands for an address: itself, and of IPv6 the first 64 bits, below which whoever is there chooses as they like
 * (RFC 4291 §2.5.1). An IPv4 address in IPv6's form is the IPv4 address.
 */
export function networkOf(address: string): string {
  const bare = plainAddress(address);
  if (!isIPv6(bare)) return bare;
  const [head = '', tail] = bare.split('::');
  const front = head === '' ? [] : head.split(':');
  const back = tail === undefined || tail === '' ? [] : tail.split(':');
  // An IPv4 address at the end is two groups.
  const size = front.length + back.length + (bare.includes('.') ? 1 : 0);
  const zeros = tail === undefined ? [] : Array<string>(Math.max(0, 8 - size)).fill('0');
  const groups = [...front, ...zeros, ...back].slice(0, 4).map((group) => Number.parseInt(group, 16));
  return `${groups.map((group) => group.toString(16)).join(':')}::/64`;
}
