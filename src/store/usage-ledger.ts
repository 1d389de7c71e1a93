/**
 * What quotas count, shared by all processes: marks say which blobs and repositories an account has, a book holds the
 * sums (usage-books.ts). A push sets aside what it needs, stores and links its content, and only then has it counted: a
 * crash in between leaves content that is not counted until the account is counted anew, never the other way round.
 */
import type { Digest } from '../oci/digest.ts';
import { isRepositoryName, type RepositoryName } from '../oci/name.ts';
import type { Claim, Grant, Quota, Shortage, UsageLedger } from '../oci/quota.ts';
import { isRunning, PROCESS } from '../process-identity.ts';
import { blobKey, linkKey, trashedLinkKey } from './layout.ts';
import type { Objects } from './objects.ts';
import {
  blobMarkKey,
  type Book,
  countedMarkKey,
  newsKey,
  readBook,
  repositoryMarkKey,
  repositoryMarksPrefix,
  withBooks,
} from './usage-books.ts';

/** What is set aside and not heard of for so long (milliseconds) is free again. */
const FORGOTTEN_AFTER = 3_600_000;
/** Repositories that are looked into when content is deleted; where there are more, the next counting tells. */
const MAX_LOOKED_INTO = 100;

export class StoredUsageLedger implements UsageLedger {
  readonly #objects: Objects;

  constructor(objects: Objects) {
    this.#objects = objects;
  }

  async reserve(quotas: readonly Quota[], claim: Claim): Promise<Grant> {
    const has = await this.#hasAll(quotas, claim, countedMarkKey);
    if (has !== undefined) return { bytes: has, uncounted: [] };
    return withBooks(this.#objects, quotas, async (books) => {
      const needs = await this.#needsOf(quotas, books, claim);
      const grant = grantOf(needs, claim);
      if (grant.shortage !== undefined) return grant;
      for (const { book, isNew, bytes } of needs) {
        book.reserved.set(claim.key, {
          bytes: bytes === 0 ? 0 : grant.bytes,
          repository: claim.repository,
          isNew: isNew && claim.isManifest === true,
          at: Date.now(),
          by: PROCESS,
        });
      }
      return grant;
    });
  }

  async look(quotas: readonly Quota[], repository: RepositoryName): Promise<Grant> {
    const books = await Promise.all(quotas.map(({ account }) => readBook(this.#objects, account)));
    const claim = { key: '', repository, bytes: 1 };
    return grantOf(await this.#needsOf(quotas, books, claim), claim);
  }

  /** The content's size where all accounts have it and a mark of the repository: then nothing has to be set aside. */
  async #hasAll(
    quotas: readonly Quota[],
    { digest, repository, bytes }: Omit<Claim, 'key'>,
    markKey: typeof countedMarkKey,
  ): Promise<number | undefined> {
    let size: number | undefined;
    for (const { account } of quotas) {
      size = digest === undefined ? undefined : await this.#markedSize(account, digest);
      // More bytes than the content has are not that content, whatever the client calls them.
      if (size === undefined || size < bytes) return undefined;
      if (!(await this.#objects.exists(markKey(account, repository)))) return undefined;
    }
    return size;
  }

  async #markedSize(account: string, digest: Digest): Promise<number | undefined> {
    const bytes = await this.#objects.bytes(blobMarkKey(account, digest));
    const size = Number(Buffer.from(bytes ?? []).toString() || Number.NaN);
    return Number.isSafeInteger(size) ? size : undefined;
  }

  async #needsOf(
    quotas: readonly Quota[],
    books: readonly Book[],
    { digest, bytes, repository }: Claim,
  ): Promise<readonly Need[]> {
    const needs: Need[] = [];
    for (const [index, quota] of quotas.entries()) {
      const book = books[index];
      if (book === undefined) continue;
      forget(book);
      const has = digest === undefined ? undefined : await this.#markedSize(quota.account, digest);
      const isNew = !(await this.#objects.exists(countedMarkKey(quota.account, repository)));
      needs.push({ quota, book, isNew, bytes: has !== undefined && has >= bytes ? 0 : bytes });
    }
    return needs;
  }

  async settle(
    quotas: readonly Quota[],
    { key, repository, digest, size, isManifest = false }: Parameters<UsageLedger['settle']>[1],
  ): Promise<void> {
    const markKeys = isManifest ? [repositoryMarkKey, countedMarkKey] : [repositoryMarkKey];
    if (await this.#isSettled(quotas, key, { repository, digest, bytes: 0 }, markKeys)) return;
    await withBooks(this.#objects, quotas, async (books) => {
      // Whoever has deleted it since has found no mark to take away.
      const isThere = await this.#hasLink(repository, digest);
      for (const book of books) {
        book.reserved.delete(key);
        if (!isThere) continue;
        const mark = blobMarkKey(book.pattern, digest);
        if (await this.#mark(book, mark, String(size), 'blob', digest)) book.bytes += size;
        const other = repositoryMarkKey(book.pattern, repository);
        // A new one is not swept, so it needs no news.
        if (book.counting !== undefined || !(await this.#objects.exists(other)))
          await this.#write(other, repository);
        if (!isManifest) continue;
        const about = other.slice(other.lastIndexOf('/') + 1);
        const counts = countedMarkKey(book.pattern, repository);
        if (await this.#mark(book, counts, repository, 'repository', about)) book.repositories += 1;
      }
    });
  }

  async #isSettled(
    quotas: readonly Quota[],
    key: string,
    what: Omit<Claim, 'key'>,
    markKeys: readonly (typeof countedMarkKey)[],
  ): Promise<boolean> {
    for (const { account } of quotas) {
      const book = await readBook(this.#objects, account);
      if (book.counting !== undefined || book.reserved.has(key)) return false;
    }
    for (const markKey of markKeys) {
      if ((await this.#hasAll(quotas, what, markKey)) === undefined) return false;
    }
    return true;
  }

  /** Sets a mark, anew where the account is being counted, as what is old may be swept then. @returns whether it was not there */
  async #mark(
    { pattern, counting }: Book,
    key: string,
    text: string,
    what: 'blob' | 'repository',
    about: string,
  ): Promise<boolean> {
    const wasThere = await this.#objects.exists(key);
    if (wasThere && counting === undefined) return false;
    await this.#write(key, text);
    if (counting !== undefined) await this.#write(newsKey(pattern, what, about), text);
    return !wasThere;
  }

  async #write(key: string, text: string): Promise<void> {
    await this.#objects.driver.write(key, Buffer.from(text), { volatile: true });
  }

  async release(quotas: readonly Quota[], key: string): Promise<void> {
    const books = await Promise.all(quotas.map(({ account }) => readBook(this.#objects, account)));
    if (!books.some(({ reserved }) => reserved.has(key))) return;
    await withBooks(this.#objects, quotas, (current) => {
      for (const { reserved } of current) reserved.delete(key);
      return Promise.resolve();
    });
  }

  async unlinked(quotas: readonly Quota[], digest: Digest): Promise<void> {
    const objects = this.#objects;
    for (const quota of quotas) {
      const { account } = quota;
      const mark = blobMarkKey(account, digest);
      if ((await objects.names(repositoryMarksPrefix(account))).length > MAX_LOOKED_INTO) continue;
      await withBooks(objects, [quota], async ([book]) => {
        const size = await this.#markedSize(account, digest);
        if (book === undefined || size === undefined || (await this.isLinked(account, digest))) return;
        await objects.driver.delete([mark], { volatile: true });
        book.bytes = Math.max(0, book.bytes - size);
        if (book.counting !== undefined) await this.#write(newsKey(account, 'gone', digest), String(size));
      });
    }
  }

  /** Whether a repository that the account is known to have links to the content. */
  async isLinked(account: string, digest: Digest): Promise<boolean> {
    const prefix = repositoryMarksPrefix(account);
    for (const entry of await this.#objects.names(prefix)) {
      const name = Buffer.from((await this.#objects.bytes(prefix + entry)) ?? []).toString();
      if (isRepositoryName(name) && (await this.#hasLink(name, digest))) return true;
    }
    return false;
  }

  /** Also by a link that may come back (links.ts). */
  async #hasLink(name: RepositoryName, digest: Digest): Promise<boolean> {
    for (const kind of ['layers', 'revisions'] as const) {
      if ((await this.#objects.link(linkKey(name, kind, digest))) !== undefined) return true;
      if (await this.#objects.exists(trashedLinkKey(name, kind, digest))) return true;
    }
    return false;
  }

  storedSize(digest: Digest): Promise<number | undefined> {
    return this.#objects.size(blobKey(digest));
  }
}

/** What a claim adds to one account. */
interface Need {
  readonly quota: Quota;
  readonly book: Book;
  /** Bytes; none where the account has the content. */
  readonly bytes: number;
  /** Whether the repository does not count yet: what comes to it is of use only if it may. */
  readonly isNew: boolean;
}

/** Drops what was set aside by processes that have ended, or is not heard of any more. */
export function forget(book: Book): void {
  for (const [key, { at, by }] of book.reserved) {
    if (Date.now() - at > FORGOTTEN_AFTER || isRunning(by) === false) book.reserved.delete(key);
  }
}

function grantOf(needs: readonly Need[], claim: Claim): Grant {
  const uncounted = needs.filter(({ book }) => book.countedAt === 0).map(({ quota }) => quota);
  let bytes = Math.max(claim.ahead ?? 0, claim.bytes);
  for (const need of needs) {
    if (need.book.countedAt === 0) continue;
    const shortage = shortageOf(need, claim);
    if (shortage !== undefined) return { bytes: 0, shortage, uncounted };
    if (need.bytes > 0 && need.quota.bytes !== undefined) {
      bytes = Math.min(bytes, need.quota.bytes - usedBytes(need.book, claim.key));
    }
  }
  return { bytes, uncounted };
}

function usedBytes({ bytes, reserved }: Book, except: string): number {
  let used = bytes;
  for (const [key, reservation] of reserved) if (key !== except) used += reservation.bytes;
  return used;
}

function shortageOf({ quota, book, bytes: needed, isNew }: Need, claim: Claim): Shortage | undefined {
  const { bytes, maxRepositories } = quota;
  if (bytes !== undefined && needed > 0) {
    const used = usedBytes(book, claim.key);
    if (used + needed > bytes) return { quota, of: 'bytes', limit: bytes, used };
  }
  if (maxRepositories === undefined || !isNew) return undefined;
  const coming = new Set(
    [...book.reserved.values()].filter((one) => one.isNew).map(({ repository }) => repository),
  );
  coming.delete(claim.repository);
  const used = book.repositories + coming.size;
  return used + 1 > maxRepositories ? { quota, of: 'repositories', limit: maxRepositories, used } : undefined;
}
