/** Passwords and their bcrypt hashes, off the event loop, and not again for each request of a push. */
import { createHmac, randomBytes } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { AuthenticationUnavailable } from './identity.ts';

export type ToPasswordThread =
  | { readonly kind: 'verify'; readonly id: number; readonly password: string; readonly hash: string }
  | { readonly kind: 'hash'; readonly id: number; readonly password: string; readonly cost: number };

export interface FromPasswordThread {
  readonly id: number;
  /** Of a verification whether it is right, of a hashing the hash. */
  readonly result: boolean | string;
}

/** Hashes that wait at most; each takes about 0.1 s, so the last one waits for six. */
const MAX_WAITING = 64;
/** How long a password that was right is known to be, in milliseconds. */
const REMEMBERED_FOR = 5 * 60_000;
const MAX_REMEMBERED = 10_000;
/** Longer ones are wrong without a look. */
const MAX_PASSWORD = 1024;
/** What bcrypt looks at, in bytes: the rest of a longer password would not count. */
export const MAX_HASHED_BYTES = 72;

export const USUAL_COST = 10;

/** bcrypt in a thread, which is started when it is first needed. */
export class PasswordThread {
  #worker: Worker | undefined;
  #id = 0;
  readonly #waiting = new Map<
    number,
    { resolve: (result: boolean | string) => void; reject: (e: Error) => void }
  >();

  verify(password: string, hash: string): Promise<boolean> {
    return this.#ask({ kind: 'verify', id: this.#next(), password, hash }).then((result) => result === true);
  }

  hash(password: string, cost: number): Promise<string> {
    return this.#ask({ kind: 'hash', id: this.#next(), password, cost }).then((result) => {
      if (typeof result === 'string') return result;
      throw new Error('the password could not be hashed');
    });
  }

  /** Ends the thread. */
  async stop(): Promise<void> {
    await this.#worker?.terminate();
  }

  #next(): number {
    this.#id += 1;
    return this.#id;
  }

  #ask(message: ToPasswordThread): Promise<boolean | string> {
    if (this.#waiting.size >= MAX_WAITING) {
      return Promise.reject(new AuthenticationUnavailable('too many passwords are being checked'));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.set(message.id, { resolve, reject });
      this.#thread().postMessage(message);
    });
  }

  #thread(): Worker {
    if (this.#worker !== undefined) return this.#worker;
    // Beside this file, as .ts in the sources and as .js in what is built (scripts/build.ts).
    const script = `./password-worker.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`;
    const worker = new Worker(new URL(script, import.meta.url));
    worker.on('message', ({ id, result }: FromPasswordThread) => {
      this.#waiting.get(id)?.resolve(result);
      this.#waiting.delete(id);
    });
    const end = (reason: unknown) => {
      this.#worker = undefined;
      for (const { reject } of this.#waiting.values()) {
        reject(new AuthenticationUnavailable(`the thread that checks passwords ended: ${String(reason)}`));
      }
      this.#waiting.clear();
    };
    worker.on('error', end);
    worker.on('exit', end);
    worker.unref();
    this.#worker = worker;
    return worker;
  }
}

/** What can compute bcrypt; `PasswordThread`, or what a test counts with. */
export type Bcrypt = Pick<PasswordThread, 'verify'>;

/**
 * Checks passwords. One that was right is remembered for five minutes, under a key that is a keyed hash of account,
 * password and stored hash: neither can be read out of memory, and a changed password counts at once.
 */
export class PasswordCheck {
  readonly #bcrypt: Bcrypt;
  readonly #key = randomBytes(32);
  /** Until when, in milliseconds since 1970. */
  readonly #right = new Map<string, number>();
  readonly #running = new Map<string, Promise<boolean>>();

  constructor(bcrypt: Bcrypt) {
    this.#bcrypt = bcrypt;
  }

  /**
   * Whether it is the account's password. Without a hash the answer is no, after the time that a hash of `cost` takes,
   * so that it does not tell whether there is such an account.
   * @throws AuthenticationUnavailable when too many are being checked
   */
  async verify(
    account: string,
    password: string,
    hash: string | undefined,
    cost = USUAL_COST,
  ): Promise<boolean> {
    if (password.length > MAX_PASSWORD || password.includes('\0')) return false;
    if (hash === undefined) {
      await this.#bcrypt.verify(password, dummyHash(cost));
      return false;
    }
    const parts = [account, password, hash].map((part) => `${part.length}:${part}`).join('');
    const key = createHmac('sha256', this.#key).update(parts).digest('base64');
    if ((this.#right.get(key) ?? 0) > Date.now()) return true;
    let running = this.#running.get(key);
    if (running === undefined) {
      running = this.#bcrypt.verify(password, hash).finally(() => this.#running.delete(key));
      this.#running.set(key, running);
    }
    const right = await running;
    if (right) this.#remember(key);
    return right;
  }

  #remember(key: string): void {
    this.#right.delete(key);
    this.#right.set(key, Date.now() + REMEMBERED_FOR);
    for (const oldest of this.#right.keys()) {
      if (this.#right.size <= MAX_REMEMBERED) break;
      this.#right.delete(oldest);
    }
  }
}

/** A hash that no password is known to have. */
function dummyHash(cost: number): string {
  return `$2b$${String(cost).padStart(2, '0')}$${'.'.repeat(53)}`;
}

/** The cost that a hash was made with: 2 to the power of it rounds. */
export function costOf(hash: string): number {
  return Number(hash.slice(4, 6)) || USUAL_COST;
}
