/** An htpasswd file as it is now. */
import { readFileSync, statSync } from 'node:fs';
import type { Logger } from '../log.ts';
import { EMPTY_HTPASSWD, type Htpasswd, parseHtpasswd } from './htpasswd.ts';

/** Milliseconds between two looks at the file. */
const LOOK_EVERY = 1_000;
/** 100 000 accounts have about so many bytes. */
const MOST_BYTES = 16 * 1024 * 1024;
/**
 * A file that was changed this recently (milliseconds) may be changed again without looking different. An empty one
 * is perhaps being written: `htpasswd` of Apache empties it first.
 */
const UNSETTLED_FOR = 2_000;

export interface HtpasswdFileOptions {
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** Whether it was there before: then it is told at once when it is not. */
  readonly isExpected?: boolean;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

/**
 * Follows a file. It is read in one go on the caller's thread, which takes less than a millisecond for a thousand
 * accounts. A file that is not there is an empty one; one that went away or turned unreadable leaves all as it was, and
 * that is logged once. To a process that starts then it gives no accounts: nobody knows by then what else it would have
 * said.
 */
export class HtpasswdFile {
  readonly path: string;
  readonly #log: HtpasswdFileOptions['log'];
  readonly #now: () => number;
  #content = EMPTY_HTPASSWD;
  /** How the file looked when it was read; undefined before, and while it may be changed unseen. */
  #signature: string | undefined;
  readonly #isExpected: boolean;
  #wasRead = false;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #complaint: string | undefined;

  /** @param path absolute */
  constructor(path: string, { log, isExpected = false, now = Date.now }: HtpasswdFileOptions) {
    this.path = path;
    this.#log = log;
    this.#now = now;
    this.#isExpected = isExpected;
    if (isExpected) this.#look(now());
  }

  /** What the file said at most a second ago. The same object as long as the file does not change. */
  get content(): Htpasswd {
    const now = this.#now();
    // A clock that was set back must not end the looks.
    if (Math.abs(now - this.#lookedAt) >= LOOK_EVERY) {
      this.#lookedAt = now;
      this.#look(now);
    }
    return this.#content;
  }

  #look(now: number): void {
    try {
      const info = statSync(this.path);
      const { mtimeMs, ctimeMs, size, ino } = info;
      const signature = `${mtimeMs} ${ctimeMs} ${size} ${ino}`;
      if (signature === this.#signature) return;
      if (!info.isFile()) throw new Error('it is no file');
      if (size > MOST_BYTES) throw new RangeError(`it is larger than ${MOST_BYTES / 1024 / 1024} MiB`);
      const settled = Math.abs(now - mtimeMs) >= UNSETTLED_FOR;
      if (size === 0 && this.#wasRead && !settled) return;
      const text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(this.path));
      if (text.includes('\0')) throw new Error('it holds a NUL, as no text does');
      this.#signature = settled ? signature : undefined;
      this.#take(parseHtpasswd(text));
    } catch (error) {
      this.#signature = undefined;
      if (this.#wasRead || this.#isExpected || !isAbsent(error)) this.#complain(reasonOf(error));
    }
  }

  #take(content: Htpasswd): void {
    if (this.#complaint !== undefined) this.#log.info(`${this.path} can be read again`);
    this.#complaint = undefined;
    this.#wasRead = true;
    if (content.warning !== undefined && content.warning !== this.#content.warning) {
      this.#log.warn(`${this.path}: ${content.warning}`);
    }
    if (!isSame(content, this.#content)) this.#content = content;
  }

  #complain(reason: string): void {
    if (reason === this.#complaint) return;
    this.#complaint = reason;
    this.#log.error(
      `${this.path} cannot be read: ${reason}; ${
        this.#wasRead
          ? 'the accounts that it had before go on being good'
          : 'it gives no accounts to this process'
      }`,
    );
  }
}

function isSame(one: Htpasswd, other: Htpasswd): boolean {
  if (one.warning !== other.warning || one.hashes.size !== other.hashes.size) return false;
  for (const [name, hash] of one.hashes) if (other.hashes.get(name) !== hash) return false;
  return true;
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function reasonOf(error: unknown): string {
  if (isAbsent(error)) return 'there is no such file any more';
  if (!(error instanceof Error)) return String(error);
  // The runtimes have different texts for bytes that are not UTF-8.
  return error instanceof TypeError ? 'it is not UTF-8 text' : error.message;
}
