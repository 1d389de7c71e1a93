/**
 * An account is counted anew while pushes go on. What is pushed or deleted meanwhile is noted beside (`news`), so that
 * the sums are right whether or not the walk through the repositories had passed there:
 *
 *     counting:  1. the book says so    2. walks, and marks what it sees    3. sweeps old marks    4. takes in the news; new sums
 *     push:      1. content is linked   2. is marked and counted; if the book says that it is being counted, noted too
 *
 * A push whose second step comes before the counting's first has been linked by then, and is seen by the walk.
 */
import { randomUUID } from 'node:crypto';
import { type Digest, isDigest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { Quota } from '../oci/quota.ts';
import { USAGE } from './layout.ts';
import type { Objects } from './objects.ts';
import {
  accountPrefix,
  blobMarkKey,
  blobMarksPrefix,
  countedMarkKey,
  countedMarksPrefix,
  newsPrefix,
  readBookAt,
  repositoryMarkKey,
  repositoryMarksPrefix,
  withBooks,
} from './usage-books.ts';
import { forget, StoredUsageLedger } from './usage-ledger.ts';

/** Old marks that are swept while nobody else changes the account. */
const SWEPT_AT_ONCE = 50;
/** Milliseconds that clocks of machines that share a storage may differ by. */
const CLOCKS_DIFFER = 60_000;

interface Totals {
  readonly bytes: number;
  readonly repositories: number;
}

/** One counting of one account. At a time there must be one only (`countingKey`). */
export class AccountCounting {
  readonly #objects: Objects;
  readonly #quota: Quota;
  readonly #id = randomUUID();
  readonly #repositories = new Set<string>();
  readonly #startedAt: number;

  /** @param now milliseconds since 1970; what was marked a minute before is old */
  constructor(objects: Objects, quota: Quota, now = Date.now()) {
    this.#objects = objects;
    this.#quota = quota;
    this.#startedAt = now;
  }

  async begin(): Promise<void> {
    const { account } = this.#quota;
    await withBooks(this.#objects, [this.#quota], async ([book]) => {
      // News of a counting that a crash has ended.
      await this.#objects.driver.delete([newsPrefix(account)], { volatile: true });
      if (book !== undefined) book.counting = this.#id;
    });
  }

  /** @param counts whether it has a manifest */
  async noteRepository(name: RepositoryName, counts: boolean): Promise<void> {
    for (const markKey of counts ? [repositoryMarkKey, countedMarkKey] : [repositoryMarkKey]) {
      const key = markKey(this.#quota.account, name);
      this.#repositories.add(key);
      if (!(await this.#objects.exists(key))) await this.#write(key, name);
    }
  }

  async noteContent(digest: Digest, size: number): Promise<void> {
    const key = blobMarkKey(this.#quota.account, digest);
    const before = await this.#objects.bytes(key);
    if (before === undefined || Buffer.from(before).toString() !== String(size))
      await this.#write(key, String(size));
  }

  async #write(key: string, text: string): Promise<void> {
    await this.#objects.driver.write(key, Buffer.from(text), { volatile: true });
  }

  /** Removes marks of what was not seen and is not new. */
  async sweep(isSeen: (digest: Digest) => boolean, signal: AbortSignal): Promise<void> {
    const { account } = this.#quota;
    const blobs = blobMarksPrefix(account);
    let old: string[] = [];
    const removeOld = async () => {
      const keys = old;
      old = [];
      if (keys.length > 0) await this.#remove(keys);
    };
    for (const prefix of [blobs, repositoryMarksPrefix(account), countedMarksPrefix(account)]) {
      for await (const { key, modified } of this.#objects.driver.list(prefix, { signal })) {
        const [algorithm, , hex] = key.slice(blobs.length).split('/');
        const digest = `${algorithm ?? ''}:${hex ?? ''}`;
        const seen = prefix === blobs ? isDigest(digest) && isSeen(digest) : this.#repositories.has(key);
        if (!seen && this.#isOld(modified)) old.push(key);
        if (old.length >= SWEPT_AT_ONCE) await removeOld();
      }
    }
    await removeOld();
  }

  #isOld(modified: number): boolean {
    return modified < this.#startedAt - CLOCKS_DIFFER;
  }

  async #remove(keys: readonly string[]): Promise<void> {
    await withBooks(this.#objects, [this.#quota], async () => {
      const infos = await Promise.all(keys.map((key) => this.#objects.info(key)));
      const old = infos.flatMap((info) =>
        info !== undefined && this.#isOld(info.modified) ? [info.key] : [],
      );
      await this.#objects.driver.delete(old, { volatile: true });
    });
  }

  /** Takes in what has come meanwhile and makes the sums those of the account. @returns them */
  async end(counted: Totals, isSeen: (digest: Digest) => boolean): Promise<Totals> {
    const { account } = this.#quota;
    return withBooks(this.#objects, [this.#quota], async ([book]) => {
      if (book === undefined || book.counting !== this.#id) return counted;
      let { bytes, repositories } = counted;
      for (const entry of await this.#objects.names(newsPrefix(account))) {
        const change = await this.#newsOf(entry, isSeen);
        bytes += change.bytes;
        repositories += change.repositories;
      }
      book.bytes = bytes;
      book.repositories = repositories;
      book.countedAt = Date.now();
      book.counting = undefined;
      forget(book);
      await this.#objects.driver.delete([newsPrefix(account)], { volatile: true });
      return { bytes, repositories };
    });
  }

  /** What one entry of the news adds to what was seen. */
  async #newsOf(entry: string, isSeen: (digest: Digest) => boolean): Promise<Totals> {
    const { account } = this.#quota;
    const none = { bytes: 0, repositories: 0 };
    const [, what, about = ''] = /^(blob|gone|repository)-(.+)$/.exec(entry) ?? [];
    if (what === 'repository') {
      const isNew = !this.#repositories.has(`${countedMarksPrefix(account)}${about}`);
      return isNew ? { bytes: 0, repositories: 1 } : none;
    }
    const digest = about.replace('-', ':');
    if (!isDigest(digest)) return none;
    const size = Number(
      Buffer.from((await this.#objects.bytes(newsPrefix(account) + entry)) ?? []).toString(),
    );
    const isMarked = await this.#objects.exists(blobMarkKey(account, digest));
    if (what === 'blob' && isMarked && !isSeen(digest)) return { bytes: size, repositories: 0 };
    if (what === 'gone' && isSeen(digest)) {
      if (isMarked && (await new StoredUsageLedger(this.#objects).isLinked(account, digest))) return none;
      await this.#objects.driver.delete([blobMarkKey(account, digest)], { volatile: true });
      return { bytes: -size, repositories: 0 };
    }
    return none;
  }
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
