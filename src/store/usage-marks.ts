/**
 * The marks of an account, which are changed under its lock only (`withBooks`), and always together with the sums: with no
 * push under way the sum in the book is that of the marks. What the order of the writes leaves after a crash, or on a full
 * disk, is a sum without its mark: too much until the next count, never too little.
 *
 * Who pushes looks at marks without the lock: it links its content first and then looks whether that has a mark. So a
 * mark goes first, and then it is looked whether anything links to the content after all, which brings it back.
 */
import { setImmediate } from 'node:timers/promises';
import type { Digest } from '../oci/digest.ts';
import { isRepositoryName, type RepositoryName } from '../oci/name.ts';
import { linkKey, trashedLinkKey } from './layout.ts';
import type { Objects } from './objects.ts';
import { liveLinks, trashedLinks } from './repository-links.ts';
import {
  blobMarkKey,
  type Book,
  countedMarkKey,
  type News,
  newsKey,
  repositoryMarkKey,
  repositoryMarksPrefix,
  sha256,
} from './usage-books.ts';

const KINDS = ['layers', 'revisions'] as const;
/** Digests up to which each of them is looked for in a repository; of more the repository's links are listed. */
const FEW = 3;
/** Repositories that are looked into at a stretch, some 0.1 ms each: a request that comes meanwhile waits. */
const LET_OTHERS_AFTER = 16;

/** The marks of one account while its lock is held. */
export class AccountMarks {
  readonly #objects: Objects;
  readonly #book: Book;
  readonly #afterwards: (step: () => Promise<void>) => void;
  /** What has been added under this lock, and is not written yet. */
  readonly #added = new Map<string, number>();
  /** Who counts the account at the moment and is to be told. */
  readonly #counting: string | undefined;

  /**
   * @param afterwards what is to be done when the book is written, in that order
   * @param by the counting whose own changes these are
   */
  constructor(objects: Objects, book: Book, afterwards: (step: () => Promise<void>) => void, by?: string) {
    this.#objects = objects;
    this.#book = book;
    this.#afterwards = afterwards;
    this.#counting = book.counting === by ? undefined : book.counting;
  }

  /** Has content count with its size. */
  async addBlob(digest: Digest, size: number): Promise<void> {
    const { pattern } = this.#book;
    const key = blobMarkKey(pattern, digest);
    const before = this.#added.get(key) ?? (await markedSize(this.#objects, pattern, digest));
    await this.#note('blob', digest, size);
    if (before === size) return;
    this.#book.bytes += size - (before ?? 0);
    this.#add(key, String(size), size);
  }

  /** Has it known that a repository has content: from then on it is looked into. */
  async addRepository(name: RepositoryName): Promise<void> {
    const key = repositoryMarkKey(this.#book.pattern, name);
    await this.#note('repository', sha256(name), 0);
    if (!(await this.#has(key))) this.#add(key, name, 0);
  }

  /** Has a repository count, since it has a manifest. */
  async addCounted(name: RepositoryName): Promise<void> {
    const key = countedMarkKey(this.#book.pattern, name);
    await this.#note('repository', sha256(name), 0);
    if (await this.#has(key)) return;
    this.#book.repositories += 1;
    this.#add(key, name, 0);
  }

  async #has(key: string): Promise<boolean> {
    return this.#added.has(key) || this.#objects.exists(key);
  }

  #add(key: string, text: string, size: number): void {
    this.#added.set(key, size);
    this.#afterwards(() => write(this.#objects, key, text));
  }

  /** Has content count no more that no repository of the account links to any more. */
  async removeUnlinked(digests: readonly Digest[]): Promise<void> {
    const { pattern } = this.#book;
    const sizes = new Map<Digest, number>();
    for (const digest of digests) {
      const size = await markedSize(this.#objects, pattern, digest);
      if (size !== undefined) sizes.set(digest, size);
    }
    if (sizes.size === 0) return;
    // Also what comes back: whoever counts may have looked in between.
    for (const [digest, size] of sizes) await this.#note('blob', digest, size);
    await this.#delete([...sizes.keys()].map((digest) => blobMarkKey(pattern, digest)));
    let unlinked: ReadonlySet<Digest> = new Set();
    try {
      unlinked = await unlinkedOf(this.#objects, pattern, [...sizes.keys()]);
    } finally {
      for (const [digest, size] of sizes) {
        if (!unlinked.has(digest)) await write(this.#objects, blobMarkKey(pattern, digest), String(size));
      }
    }
    for (const digest of unlinked) this.#lower(sizes.get(digest) ?? 0);
  }

  /** Takes away marks of content that is known to be gone. */
  async removeBlobs(digests: readonly Digest[]): Promise<void> {
    const { pattern } = this.#book;
    for (const digest of digests) {
      const size = await markedSize(this.#objects, pattern, digest);
      if (size === undefined) continue;
      await this.#note('blob', digest, size);
      this.#lower(size);
    }
    await this.#delete(digests.map((digest) => blobMarkKey(pattern, digest)));
  }

  /** A sum that a crash has left too low does not become a negative one. */
  #lower(bytes: number): void {
    this.#book.bytes = Math.max(0, this.#book.bytes - bytes);
  }

  /** Has a repository count no more that has no manifest, and be looked into no more where it has nothing at all. */
  async removeEmptied(name: RepositoryName): Promise<void> {
    const { pattern } = this.#book;
    const counted = countedMarkKey(pattern, name);
    await this.#note('repository', sha256(name), 0);
    if (await this.#objects.exists(counted)) {
      await this.#delete([counted]);
      if (await holds(this.#objects, name, ['revisions'])) await write(this.#objects, counted, name);
      else this.#lowerRepositories();
    }
    const known = repositoryMarkKey(pattern, name);
    if (!(await this.#objects.exists(known))) return;
    await this.#delete([known]);
    if (await holds(this.#objects, name, KINDS)) await write(this.#objects, known, name);
  }

  /** Takes away marks by which repositories count that are known to be gone, by their keys. */
  async removeCounted(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      if (!(await this.#objects.exists(key))) continue;
      await this.#note('repository', key.slice(key.lastIndexOf('/') + 1), 0);
      this.#lowerRepositories();
    }
    await this.#delete(keys);
  }

  #lowerRepositories(): void {
    this.#book.repositories = Math.max(0, this.#book.repositories - 1);
  }

  async #delete(keys: readonly string[]): Promise<void> {
    await this.#objects.driver.delete(keys, { volatile: true });
  }

  async #note(what: News, about: string, size: number): Promise<void> {
    if (this.#counting !== undefined)
      await write(this.#objects, newsKey(this.#book.pattern, what, about), String(size));
  }
}

/** Writes what can be counted anew. */
export async function write(objects: Objects, key: string, text: string): Promise<void> {
  await objects.driver.write(key, Buffer.from(text), { volatile: true });
}

/** The size with which content counts; undefined where it does not, or its mark is damaged. */
export async function markedSize(
  objects: Objects,
  account: string,
  digest: Digest,
): Promise<number | undefined> {
  return sizeAt(objects, blobMarkKey(account, digest));
}

/** The number of bytes that an object of ours holds as text. */
export async function sizeAt(objects: Objects, key: string): Promise<number | undefined> {
  const size = Number(Buffer.from((await objects.bytes(key)) ?? []).toString() || Number.NaN);
  return Number.isSafeInteger(size) ? size : undefined;
}

/** Whether a repository links to content; also by a link that lies in the trash and may come back (links.ts). */
export async function hasLink(
  objects: Objects,
  name: RepositoryName,
  digest: Digest,
  kinds: readonly (typeof KINDS)[number][] = KINDS,
): Promise<boolean> {
  for (const kind of kinds) {
    const live = linkKey(name, kind, digest);
    if ((await objects.link(live)) !== undefined) return true;
    if (await objects.exists(trashedLinkKey(name, kind, digest))) return true;
    // It may have come back between the two.
    if ((await objects.link(live)) !== undefined) return true;
  }
  return false;
}

/** Whether a repository has any link of these kinds; also one that may come back. */
export async function holds(
  objects: Objects,
  name: RepositoryName,
  kinds: readonly (typeof KINDS)[number][],
): Promise<boolean> {
  for (const kind of kinds) {
    for (const digest of await digestsOf(objects, name, kind))
      if (await hasLink(objects, name, digest, [kind])) return true;
    for await (const { taken } of trashedLinks(objects, name, kind, true)) if (taken === 'alive') return true;
  }
  return false;
}

/** Names of links, some of them perhaps gone. */
async function digestsOf(
  objects: Objects,
  name: RepositoryName,
  kind: (typeof KINDS)[number],
): Promise<ReadonlySet<Digest>> {
  const digests = new Set<Digest>();
  const live = async () => {
    for await (const { digest } of liveLinks(objects, name, kind, true)) digests.add(digest);
  };
  await live();
  for await (const { digest } of trashedLinks(objects, name, kind)) digests.add(digest);
  await live();
  return digests;
}

/** Of these digests those that no repository links to which the account is known to have. */
export async function unlinkedOf(
  objects: Objects,
  account: string,
  digests: readonly Digest[],
): Promise<ReadonlySet<Digest>> {
  const left = new Set(digests);
  const prefix = repositoryMarksPrefix(account);
  for (const [index, entry] of (await objects.names(prefix)).entries()) {
    if (left.size === 0) break;
    // A driver may answer without letting anybody else do something in between.
    if (index % LET_OTHERS_AFTER === LET_OTHERS_AFTER - 1) await setImmediate();
    const name = Buffer.from((await objects.bytes(prefix + entry)) ?? []).toString();
    if (!isRepositoryName(name)) continue;
    for (const digest of await asked(objects, name, left))
      if (await hasLink(objects, name, digest)) left.delete(digest);
  }
  return left;
}

/** Of these digests those that a repository may link to. */
async function asked(
  objects: Objects,
  name: RepositoryName,
  digests: ReadonlySet<Digest>,
): Promise<readonly Digest[]> {
  if (digests.size <= FEW) return [...digests];
  const found: Digest[] = [];
  for (const kind of KINDS)
    for (const digest of await digestsOf(objects, name, kind)) if (digests.has(digest)) found.push(digest);
  return found;
}
