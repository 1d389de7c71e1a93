/** Checks passwords off the event loop, which a check would hold up for tens of milliseconds. */
import { Worker } from 'node:worker_threads';
import { RegistryError } from '../oci/errors.ts';
import { AuthenticationUnavailable } from './identity.ts';

/** Checks that may wait: about 5 s of work at the usual cost. */
const MOST_WAITING = 64;

export interface PasswordJob {
  readonly password: string;
  /** A bcrypt hash. */
  readonly hash: string;
  /** How long a refusal takes, as a bcrypt cost; at least that of the hash. */
  readonly cost: number;
}

/** What the thread is told. */
export interface ToPasswordThread {
  readonly id: number;
  readonly job: PasswordJob;
}

/** What the thread says. */
export type FromPasswordThread =
  | { readonly id: number; readonly matches: boolean }
  | { readonly id: number; readonly failure: string };

interface Waiting {
  readonly resolve: (matches: boolean) => void;
  readonly reject: (error: Error) => void;
}

/** One thread, made at its first use and again after it died. It keeps no process alive. */
export class PasswordThread {
  #worker: Worker | undefined;
  #number = 0;
  readonly #waiting = new Map<number, Waiting>();

  /**
   * Whether the password is the one of the hash.
   * @throws RegistryError `TOOMANYREQUESTS` when too many wait already
   * @throws AuthenticationUnavailable when the thread dies
   */
  check(job: PasswordJob): Promise<boolean> {
    if (this.#waiting.size >= MOST_WAITING) {
      return Promise.reject(
        new RegistryError('TOOMANYREQUESTS', 'too many logins at the same moment; try again', {
          headers: { 'Retry-After': '2' },
        }),
      );
    }
    this.#number += 1;
    const id = this.#number;
    return new Promise((resolve, reject) => {
      this.#worker ??= this.#start();
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, job } satisfies ToPasswordThread);
    });
  }

  #start(): Worker {
    // Beside this file, as .ts in the sources and as .js in what is built (scripts/build.ts).
    const script = `./password-worker.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`;
    const worker = new Worker(new URL(script, import.meta.url));
    worker.on('message', (message: FromPasswordThread) => this.#receive(message));
    const end = (why: string) => {
      if (this.#worker === worker) this.#end(why);
    };
    worker.on('error', (error) => end(error instanceof Error ? error.message : String(error)));
    worker.on('exit', (code) => end(`it ended with code ${code}`));
    worker.unref();
    return worker;
  }

  #receive(message: FromPasswordThread): void {
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if ('matches' in message) waiting?.resolve(message.matches);
    else
      waiting?.reject(new AuthenticationUnavailable(`a password could not be checked: ${message.failure}`));
  }

  #end(why: string): void {
    this.#worker = undefined;
    const error = new AuthenticationUnavailable(`the thread that checks passwords failed: ${why}`);
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
