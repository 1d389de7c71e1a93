/**
 * An account is counted anew while others push and delete. Marks that are changed meanwhile are noted beside (`news`), so
 * that the sums are those of the marks whether or not the walk through the repositories had passed there:
 *
 *     counting:  1. the book says so    2. walks; what it sees has a mark, or gets one    3. takes away all other marks but
 *                those in the news      4. sums: what was seen, corrected by what the news say of marks now
 *     push:      1. content is linked   2. a mark is set under the lock, and noted if the book says that it is being counted
 *     deletion:  1. the link goes       2. the mark goes under the lock if there is no other link, and is noted likewise
 *
 * A push whose second step comes before the counting's first has been linked by then, and is seen by the walk. How old a
 * mark is does not matter. docs/decisions/0010 has the whole argument.
 */
import { randomUUID } from 'node:crypto';
import { type Digest, digestOf, isDigest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { Quota } from '../oci/quota.ts';
import { USAGE } from './layout.ts';
import type { Objects } from './objects.ts';
import {
  accountPrefix,
  blobMarkKey,
  blobMarksPrefix,
  type Book,
  countedMarkKey,
  countedMarksPrefix,
  type News,
  newsKey,
  newsPrefix,
  readBookAt,
  repositoryMarkKey,
  repositoryMarksPrefix,
  sha256,
  withBooks,
} from './usage-books.ts';
import { forget } from './usage-ledger.ts';
import { AccountMarks, hasLink, holds, markedSize, sizeAt, write } from './usage-marks.ts';

/** Marks that are set or taken away while others wait for the account's lock. */
const AT_ONCE = 100;

export interface Totals {
  readonly bytes: number;
  readonly repositories: number;
}

/** A set of digests, which may be millions. */
export interface Seen {
  /** @returns whether it was not there yet */
  add(digest: Digest): boolean;
  has(digest: Digest): boolean;
}

/** What was seen and has no mark, or not the right one. */
interface Unmarked {
  readonly name: RepositoryName;
  /** Undefined for the repository itself, which has a manifest. */
  readonly content: { readonly digest: Digest; readonly size: number } | undefined;
}

/** One counting of one account. Of several at a time only the one that began last is heard. */
export class AccountCounting {
  readonly #objects: Objects;
  readonly #quota: Pick<Quota, 'account'>;
  readonly #id = randomUUID();
  /** Content that counts; repositories that have content, and those that count, by the SHA-256 of their names. */
  readonly #blobs: Seen;
  readonly #known: Seen;
  readonly #counted: Seen;
  #unmarked: Unmarked[] = [];
  #bytes = 0;
  #repositories = 0;

  /** @param newSet makes an empty set */
  constructor(objects: Objects, quota: Pick<Quota, 'account'>, newSet: () => Seen) {
    this.#objects = objects;
    this.#quota = quota;
    this.#blobs = newSet();
    this.#known = newSet();
    this.#counted = newSet();
  }

  async begin(): Promise<void> {
    await withBooks(this.#objects, [this.#quota], async ([book]) => {
      // News of a counting that a crash has ended.
      await this.#objects.driver.delete([newsPrefix(this.#quota.account)], { volatile: true });
      if (book !== undefined) book.counting = this.#id;
    });
  }

  /** A repository that has content, or did when it was looked at. */
  async noteRepository(name: RepositoryName): Promise<void> {
    const key = repositoryMarkKey(this.#quota.account, name);
    this.#known.add(nameDigest(name));
    // One too many is looked into for nothing, so this needs no lock.
    if (!(await this.#objects.exists(key))) await write(this.#objects, key, name);
  }

  /** A repository that has a manifest. */
  async noteCounted(name: RepositoryName): Promise<void> {
    if (this.#counted.has(nameDigest(name))) return;
    if (await this.#objects.exists(countedMarkKey(this.#quota.account, name))) this.#sawCounted(name);
    else await this.#put({ name, content: undefined });
  }

  isSeen(digest: Digest): boolean {
    return this.#blobs.has(digest);
  }

  /** Content that a repository links to. */
  async noteContent(name: RepositoryName, digest: Digest, size: number): Promise<void> {
    if ((await markedSize(this.#objects, this.#quota.account, digest)) === size) this.#sawBlob(digest, size);
    else await this.#put({ name, content: { digest, size } });
  }

  #sawBlob(digest: Digest, size: number): void {
    if (this.#blobs.add(digest)) this.#bytes += size;
  }

  #sawCounted(name: RepositoryName): void {
    if (this.#counted.add(nameDigest(name))) this.#repositories += 1;
  }

  async #put(one: Unmarked): Promise<void> {
    this.#unmarked.push(one);
    if (this.#unmarked.length >= AT_ONCE) await this.#mark();
  }

  /** Marks what is still linked: whoever has deleted it since found no mark to take away. */
  async #mark(): Promise<void> {
    const unmarked = this.#unmarked;
    this.#unmarked = [];
    if (unmarked.length === 0) return;
    await this.#change(async (_book, marks) => {
      for (const { name, content } of unmarked) {
        if (content === undefined) {
          if (!(await holds(this.#objects, name, ['revisions']))) continue;
          await marks.addCounted(name);
          this.#sawCounted(name);
        } else if (await hasLink(this.#objects, name, content.digest)) {
          await marks.addBlob(content.digest, content.size);
          this.#sawBlob(content.digest, content.size);
        }
      }
    });
  }

  /** Changes the account, unless another counting has begun. */
  async #change(work: (book: Book, marks: AccountMarks) => Promise<void>): Promise<void> {
    await withBooks(this.#objects, [this.#quota], async ([book], afterwards) => {
      if (book === undefined || book.counting !== this.#id) return;
      await work(book, new AccountMarks(this.#objects, book, afterwards, this.#id));
    });
  }

  /**
   * Makes marks and sums those of what was seen and of what has changed meanwhile.
   * @param isWhole whether all could be looked at; else what was not seen stays as it was known
   * @returns the sums; undefined where another counting has begun
   */
  async end(isWhole: boolean, signal: AbortSignal): Promise<Totals | undefined> {
    await this.#mark();
    await this.#sweep(isWhole, signal);
    const { account } = this.#quota;
    let totals: Totals | undefined;
    await this.#change(async (book) => {
      for (const entry of await this.#objects.names(newsPrefix(account))) await this.#takeIn(entry);
      totals = { bytes: this.#bytes, repositories: this.#repositories };
      Object.assign(book, totals, { countedAt: Date.now(), counting: undefined });
      forget(book);
      await this.#objects.driver.delete([newsPrefix(account)], { volatile: true });
    });
    return totals;
  }

  /** Takes away the marks of what was not seen, or where not all was looked at, takes them for seen. */
  async #sweep(isWhole: boolean, signal: AbortSignal): Promise<void> {
    const { account } = this.#quota;
    const blobs = blobMarksPrefix(account);
    const blobOf = (key: string) => {
      const [algorithm = '', , hex = ''] = key.slice(blobs.length).split('/');
      return `${algorithm}:${hex}`;
    };
    const nameOf = (key: string) => digestOf('sha256', key.slice(key.lastIndexOf('/') + 1));
    await this.#sweepMarks(blobs, signal, {
      isSeen: (key) => this.#isBlobSeen(blobOf(key)),
      keep: isWhole
        ? undefined
        : async (key) => this.#keepBlob(blobOf(key), await sizeAt(this.#objects, key)),
      newsOf: (key) => ['blob', blobOf(key)],
      remove: (marks, keys) => marks.removeBlobs(keys.map(blobOf).filter(isDigest)),
    });
    await this.#sweepMarks(countedMarksPrefix(account), signal, {
      isSeen: (key) => this.#counted.has(nameOf(key)),
      keep: isWhole ? undefined : async (key) => this.#keepCounted(key, nameOf(key)),
      newsOf: (key) => ['repository', hexOfMark(key)],
      remove: (marks, keys) => marks.removeCounted(keys),
    });
    if (!isWhole) return;
    await this.#sweepMarks(repositoryMarksPrefix(account), signal, {
      isSeen: (key) => this.#known.has(nameOf(key)),
      keep: undefined,
      newsOf: (key) => ['repository', hexOfMark(key)],
      remove: (_marks, keys) => this.#objects.driver.delete(keys, { volatile: true }),
    });
  }

  #isBlobSeen(digest: string): boolean {
    return isDigest(digest) && this.#blobs.has(digest);
  }

  #keepBlob(digest: string, size: number | undefined): void {
    if (isDigest(digest) && size !== undefined) this.#sawBlob(digest, size);
  }

  async #keepCounted(key: string, name: Digest): Promise<void> {
    if (!(await this.#objects.exists(key))) return;
    if (this.#counted.add(name)) this.#repositories += 1;
  }

  async #sweepMarks(
    prefix: string,
    signal: AbortSignal,
    {
      isSeen,
      keep,
      newsOf,
      remove,
    }: {
      readonly isSeen: (key: string) => boolean;
      readonly keep: ((key: string) => Promise<void>) | undefined;
      readonly newsOf: (key: string) => readonly [News, string];
      readonly remove: (marks: AccountMarks, keys: readonly string[]) => Promise<void>;
    },
  ): Promise<void> {
    let unseen: string[] = [];
    const removeUnseen = async () => {
      const keys = unseen;
      unseen = [];
      if (keys.length === 0) return;
      await this.#change(async (_book, marks) => {
        const old: string[] = [];
        for (const key of keys) {
          const news = newsKey(this.#quota.account, ...newsOf(key));
          if (!(await this.#objects.exists(news))) old.push(key);
        }
        await remove(marks, old);
      });
    };
    for await (const { key } of this.#objects.driver.list(prefix, { signal })) {
      if (isSeen(key)) continue;
      if (keep === undefined) unseen.push(key);
      else await keep(key);
      if (unseen.length >= AT_ONCE) await removeUnseen();
    }
    await removeUnseen();
  }

  /** What a mark that was changed meanwhile says now. */
  async #takeIn(entry: string): Promise<void> {
    const { account } = this.#quota;
    const [, what, about = ''] = /^(blob|repository)-(.+)$/.exec(entry) ?? [];
    if (what === 'repository') {
      const isMarked = await this.#objects.exists(`${countedMarksPrefix(account)}${about}`);
      const wasSeen = this.#counted.has(digestOf('sha256', about));
      if (isMarked !== wasSeen) this.#repositories += isMarked ? 1 : -1;
      return;
    }
    const digest = about.replace('-', ':');
    if (!isDigest(digest)) return;
    const marked = await sizeAt(this.#objects, blobMarkKey(account, digest));
    const wasSeen = this.#blobs.has(digest);
    if (marked !== undefined && !wasSeen) this.#bytes += marked;
    if (marked === undefined && wasSeen)
      this.#bytes -= (await sizeAt(this.#objects, newsPrefix(account) + entry)) ?? 0;
  }
}

function nameDigest(name: RepositoryName): Digest {
  return digestOf('sha256', sha256(name));
}

/** The SHA-256 of a name, as the key of its mark ends with it. */
function hexOfMark(key: string): string {
  return key.slice(key.lastIndexOf('/') + 1);
}

/** The accounts that there is a book of. */
export async function storedAccounts(objects: Objects): Promise<readonly string[]> {
  const accounts: string[] = [];
  for (const entry of await objects.names(USAGE)) {
    const { pattern } = await readBookAt(objects, `${USAGE}${entry}/`);
    if (pattern !== '') accounts.push(pattern);
  }
  return accounts;
}

/** Removes what is kept for accounts that no rule has any more. */
export async function forgetAccounts(objects: Objects, isKept: (account: string) => boolean): Promise<void> {
  for (const account of await storedAccounts(objects)) {
    if (!isKept(account)) await objects.driver.delete([accountPrefix(account)], { volatile: true });
  }
}
