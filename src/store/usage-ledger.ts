/**
 * What quotas count, shared by all processes: marks say which blobs and repositories an account has, a book holds the
 * sums (usage-books.ts, usage-marks.ts). A push sets aside what it needs, stores and links its content, and only then has it
 * counted: a crash in between leaves content that is not counted until the account is counted anew.
 */
import type { Digest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { Claim, Grant, Quota, Shortage, UsageLedger } from '../oci/quota.ts';
import { isRunning, PROCESS } from '../process-identity.ts';
import { isSilent } from '../silence.ts';
import { blobKey } from './layout.ts';
import type { Objects } from './objects.ts';
import {
  type Book,
  countedMarkKey,
  readBook,
  repositoryMarkKey,
  repositoryMarksPrefix,
  withBooks,
} from './usage-books.ts';
import { AccountMarks, hasLink, holds, markedSize, unlinkedOf } from './usage-marks.ts';

/** What is set aside and not heard of for so long (milliseconds) is free again. */
const FORGOTTEN_AFTER = 3_600_000;
/** Repositories that are looked into when content is deleted; an account that has more is counted anew. */
const MAX_LOOKED_INTO = 300;
/** Marks that are taken away while others wait for the account's lock. */
const REMOVED_AT_ONCE = 500;

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
      size = digest === undefined ? undefined : await markedSize(this.#objects, account, digest);
      // More bytes than the content has are not that content, whatever the client calls them.
      if (size === undefined || size < bytes) return undefined;
      if (!(await this.#objects.exists(markKey(account, repository)))) return undefined;
    }
    return size;
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
      const has = digest === undefined ? undefined : await markedSize(this.#objects, quota.account, digest);
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
    await withBooks(this.#objects, quotas, async (books, afterwards) => {
      // Whoever has deleted it since has found no mark to take away.
      const isThere = await hasLink(this.#objects, repository, digest);
      const counts = isManifest && (await hasLink(this.#objects, repository, digest, ['revisions']));
      for (const book of books) {
        book.reserved.delete(key);
        if (!isThere) continue;
        const marks = new AccountMarks(this.#objects, book, afterwards);
        await marks.addRepository(repository);
        await marks.addBlob(digest, size);
        if (counts) await marks.addCounted(repository);
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

  async release(quotas: readonly Quota[], keys: readonly string[]): Promise<void> {
    const books = await Promise.all(quotas.map(({ account }) => readBook(this.#objects, account)));
    if (!books.some(({ reserved }) => keys.some((key) => reserved.has(key)))) return;
    await withBooks(this.#objects, quotas, (current) => {
      for (const { reserved } of current) for (const key of keys) reserved.delete(key);
      return Promise.resolve();
    });
  }

  async unlinked(
    quotas: readonly Quota[],
    repository: RepositoryName,
    digests: readonly Digest[],
  ): Promise<readonly Quota[]> {
    const objects = this.#objects;
    const unknown: Quota[] = [];
    for (const quota of quotas) {
      const { account } = quota;
      if ((await objects.names(repositoryMarksPrefix(account))).length > MAX_LOOKED_INTO) {
        unknown.push(quota);
        continue;
      }
      // Without the lock first: mostly another repository has it. Marks say nothing here, one may be on its way.
      const gone = [...(await unlinkedOf(objects, account, [...new Set(digests)]))];
      for (let start = 0; start < gone.length; start += REMOVED_AT_ONCE) {
        await withBooks(objects, [quota], async ([book], afterwards) => {
          if (book === undefined) return;
          const marks = new AccountMarks(objects, book, afterwards);
          await marks.removeUnlinked(gone.slice(start, start + REMOVED_AT_ONCE));
        });
      }
      const left = new Set(digests);
      for (const digest of gone) left.delete(digest);
      await this.#markLinked(quota, repository, left);
      if (await holds(objects, repository, ['revisions'])) continue;
      await withBooks(objects, [quota], async ([book], afterwards) => {
        if (book !== undefined) await new AccountMarks(objects, book, afterwards).removeEmptied(repository);
      });
    }
    return unknown;
  }

  /**
   * What a deletion has brought back, since somebody needs it, after another deletion of it was done: which has found it
   * unlinked, and taken its mark.
   */
  async #markLinked(quota: Quota, repository: RepositoryName, digests: ReadonlySet<Digest>): Promise<void> {
    const objects = this.#objects;
    for (const digest of digests) {
      if ((await markedSize(objects, quota.account, digest)) !== undefined) continue;
      await withBooks(objects, [quota], async ([book], afterwards) => {
        const size = (await hasLink(objects, repository, digest)) ? await this.storedSize(digest) : undefined;
        if (book === undefined || size === undefined) return;
        const marks = new AccountMarks(objects, book, afterwards);
        await marks.addRepository(repository);
        await marks.addBlob(digest, size);
      });
    }
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
    if (isRunning(by) === false || isSilent(`${by} ${key}`, at, FORGOTTEN_AFTER)) book.reserved.delete(key);
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
