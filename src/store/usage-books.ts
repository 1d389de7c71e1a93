/**
 * What is kept for a quota's account. `bytes` is the sum over the marks of blobs, `repositories` the number of those that are `counted`;
 * nothing is synced, as all can be counted anew (upkeep/recount.ts).
 *
 *     docker/registry/v2/_entrepot/usage/<account>/        the SHA-256 of the account's pattern
 *       book                                                JSON: `Book`
 *       lock                                                the owner, while the book is changed (locks.ts)
 *       counting                                            the owner, while the account is counted anew
 *       blobs/<alg>/<xx>/<hex>                              a blob that counts; its size
 *       repositories/<SHA-256 of the name>                  a repository that has content; its name
 *       counted/<SHA-256 of the name>                       a repository that counts, since it has a manifest; its name
 *       news/<blob|repository>-<…>                          a mark that was changed while it is counted anew; a blob's size
 */
import { createHash } from 'node:crypto';
import { algorithmOf, type Digest, hexOf } from '../oci/digest.ts';
import type { Quota } from '../oci/quota.ts';
import type { RepositoryName } from '../oci/name.ts';
import { USAGE } from './layout.ts';
import { withLocks } from './locks.ts';
import type { Objects } from './objects.ts';

/** What is set aside for an upload. */
export interface Reservation {
  readonly bytes: number;
  readonly repository: string;
  /** Whether the repository begins to count with it. */
  readonly isNew: boolean;
  /** Milliseconds since 1970. */
  readonly at: number;
  /** The process that set it aside (process-identity.ts). */
  readonly by: string;
}

/** An account's state. */
export interface Book {
  readonly pattern: string;
  bytes: number;
  repositories: number;
  /** When it was last counted, in milliseconds since 1970; 0 for never. */
  countedAt: number;
  /** The name of the counting that is under way. */
  counting: string | undefined;
  readonly reserved: Map<string, Reservation>;
}

/** In hex, as it stands for a name in keys. */
export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Prefix of all that is kept for an account. */
export function accountPrefix(account: string): string {
  return `${USAGE}${sha256(account)}/`;
}

export function blobMarksPrefix(account: string): string {
  return `${accountPrefix(account)}blobs/`;
}

export function blobMarkKey(account: string, digest: Digest): string {
  const hex = hexOf(digest);
  return `${blobMarksPrefix(account)}${algorithmOf(digest)}/${hex.slice(0, 2)}/${hex}`;
}

export function repositoryMarksPrefix(account: string): string {
  return `${accountPrefix(account)}repositories/`;
}

export function repositoryMarkKey(account: string, name: RepositoryName): string {
  return `${repositoryMarksPrefix(account)}${sha256(name)}`;
}

export function countedMarksPrefix(account: string): string {
  return `${accountPrefix(account)}counted/`;
}

export function countedMarkKey(account: string, name: RepositoryName): string {
  return `${countedMarksPrefix(account)}${sha256(name)}`;
}

export function newsPrefix(account: string): string {
  return `${accountPrefix(account)}news/`;
}

/** Of what a mark was set or taken away while the account is counted anew. */
export type News = 'blob' | 'repository';

export function newsKey(account: string, what: News, about: string): string {
  return `${newsPrefix(account)}${what}-${about.replace(':', '-')}`;
}

export function countingKey(account: string): string {
  return `${accountPrefix(account)}counting`;
}

/** An account's state; a new one where there is none, or a damaged one. */
export async function readBook(objects: Objects, account: string): Promise<Book> {
  const book = await readBookAt(objects, accountPrefix(account));
  return book.pattern === account ? book : { ...book, pattern: account };
}

/** The same by its place. Its pattern is empty where there is none. */
export async function readBookAt(objects: Objects, prefix: string): Promise<Book> {
  const bytes = await objects.bytes(`${prefix}book`);
  const book = bytes === undefined ? undefined : parseBook(Buffer.from(bytes).toString());
  return (
    book ?? { pattern: '', bytes: 0, repositories: 0, countedAt: 0, counting: undefined, reserved: new Map() }
  );
}

function parseBook(text: string): Book | undefined {
  try {
    const book: unknown = JSON.parse(text);
    return isBook(book) ? { ...book, reserved: new Map(book.reserved) } : undefined;
  } catch {
    return undefined; // the machine went down before it was on the disk
  }
}

/** We wrote it: what is complete is right. */
function isBook(
  value: unknown,
): value is Omit<Book, 'reserved'> & { readonly reserved: readonly [string, Reservation][] } {
  if (typeof value !== 'object' || value === null) return false;
  const book = value as Readonly<Record<string, unknown>>;
  return (
    typeof book['pattern'] === 'string' &&
    [book['bytes'], book['repositories'], book['countedAt']].every((number) =>
      Number.isSafeInteger(number),
    ) &&
    Array.isArray(book['reserved'])
  );
}

/** Turns of this process: those of one account wait here for each other, and only one of them at the lock. */
const turns = new Map<string, Promise<unknown>>();

/**
 * Changes the accounts' books, while nobody else does. `work` must not throw for what is to be expected; what it hands to
 * `afterwards` is done in that order when the books are written, still while nobody else changes them.
 */
export async function withBooks<T>(
  objects: Objects,
  quotas: readonly Pick<Quota, 'account'>[],
  work: (books: readonly Book[], afterwards: (step: () => Promise<void>) => void) => Promise<T>,
): Promise<T> {
  const accounts = quotas.map(({ account }) => account).sort();
  const key = accounts.join(' ');
  const last = turns.get(key) ?? Promise.resolve();
  const turn = last
    .catch(() => undefined)
    .then(() =>
      withLocks(
        objects,
        accounts.map((account) => `${accountPrefix(account)}lock`),
        async () => {
          const books = await Promise.all(quotas.map(({ account }) => readBook(objects, account)));
          const before = books.map(textOf);
          const steps: (() => Promise<void>)[] = [];
          const result = await work(books, (step) => void steps.push(step));
          for (const [index, book] of books.entries()) {
            const text = textOf(book);
            if (text === before[index]) continue;
            await objects.driver.write(`${accountPrefix(book.pattern)}book`, Buffer.from(text), {
              volatile: true,
            });
          }
          for (const step of steps) await step();
          return result;
        },
      ),
    );
  turns.set(key, turn);
  try {
    return await turn;
  } finally {
    if (turns.get(key) === turn) turns.delete(key);
  }
}

function textOf(book: Book): string {
  return JSON.stringify({ ...book, reserved: [...book.reserved] });
}
