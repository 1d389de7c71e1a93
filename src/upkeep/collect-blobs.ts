/** Bytes to which no repository has a link. */
import { isUnwritable, ObjectNotFound, StorageFailure } from '../drivers/driver.ts';
import { type Digest, digestOf, isDigest } from '../oci/digest.ts';
import { allRepositories } from '../store/catalog.ts';
import { removeEmptyFolders } from '../store/empty-folders.ts';
import { BLOBS, blobKey, TRASH, trashKey } from '../store/layout.ts';
import { failIfUnknown } from '../store/repository-alias.ts';
import { repositoryLinks, targetOf } from '../store/repository-links.ts';
import { deleteTrashed, moveToTrash, restore, trashed, TRASH_KEPT_FOR } from '../store/trash.ts';
import { isFuture } from '../silence.ts';
import { DigestSet } from './digest-set.ts';
import type { JobContext } from './job.ts';

/** Deletions that are made durable together. */
const BATCH = 200;
const UNLINKED = 'no repository links to it';
/** Bytes of a blob that is deleted without a second look at its size. */
const SMALL = 64 * 1024;

export interface BlobRules {
  readonly dryRun: boolean;
  /** Whether it is all right that there is no repository. */
  readonly mayBeEmpty: boolean;
  /** Bytes that came after this (milliseconds since 1970) are left alone. */
  readonly before: number;
  readonly now: () => number;
  readonly wait: (milliseconds: number, why: string) => Promise<void>;
  /** Told of what keeps bytes from being deleted. */
  readonly problem: (why: string) => void;
}

export interface BlobCounts {
  blobs: number;
  bytes: number;
}

/** Bytes this young (milliseconds) are not even set aside beside a server: their link may be younger than our look. */
export const YOUNG = 60_000;

/** Where a walk over all blobs is: the first two characters of their digests, by algorithm. */
export type BlobPlace = `${'sha256' | 'sha512'}/${string}`;

export class BlobCollector {
  readonly counts: BlobCounts = { blobs: 0, bytes: 0 };
  /** Bytes without a link that are younger than `YOUNG`. */
  young = 0;
  readonly #context: JobContext;
  readonly #rules: BlobRules;
  /** What this run has put into the trash. */
  readonly #moved = new DigestSet();

  constructor(context: JobContext, rules: BlobRules) {
    this.#context = context;
    this.#rules = rules;
  }

  /**
   * Removes the bytes that `linked` does not name: beside a server they go to the trash.
   * @param onPlace called when all up to and including a place is done, for who goes on from there
   */
  async collect(linked: DigestSet, after: string, onPlace: (place: string) => Promise<void>): Promise<void> {
    const { progress } = this.#context;
    let seen = 0;
    for (const algorithm of ['sha256', 'sha512'] as const) {
      for (const start of await this.#namesIn(`${BLOBS}${algorithm}/`)) {
        const place = `${algorithm}/${start}`;
        if (place <= after) continue;
        const names = await this.#namesIn(`${BLOBS}${place}/`);
        const dead = names
          .map((hex) => digestOf(algorithm, hex))
          .filter((digest) => isDigest(digest) && !linked.has(digest));
        for (let at = 0; at < dead.length; at += BATCH) await this.#remove(dead.slice(at, at + BATCH));
        seen += names.length;
        progress('blobs', seen);
        const wait = this.#context.pace(names.length);
        if (wait !== undefined) await wait;
        await onPlace(place);
      }
    }
    if (this.young === 0) return;
    const why = 'younger than a minute: their link may be on its way';
    this.#context.report({ what: 'kept', blobs: this.young, why });
  }

  /** Whether there are bytes that a repository could link to, in their places or in the trash. */
  async any(): Promise<boolean> {
    const { objects } = this.#context;
    for (const algorithm of ['sha256', 'sha512'] as const) {
      for (const start of await this.#namesIn(`${BLOBS}${algorithm}/`)) {
        for (const hex of await this.#namesIn(`${BLOBS}${algorithm}/${start}/`)) {
          const digest = digestOf(algorithm, hex);
          if (isDigest(digest) && (await objects.exists(blobKey(digest)))) return true;
        }
      }
    }
    return (await objects.names(TRASH)).some((entry) => isDigest(entry.replace('-', ':')));
  }

  /** None where they cannot be read, which is told. */
  async #namesIn(prefix: string): Promise<readonly string[]> {
    try {
      return await this.#context.objects.names(prefix);
    } catch (error) {
      if (!(error instanceof StorageFailure)) throw error;
      this.#rules.problem(error.message);
      return [];
    }
  }

  #tell(digest: Digest, bytes: number, why: string): void {
    this.counts.blobs += 1;
    this.counts.bytes += bytes;
    this.#context.report({ what: 'blob', digest, bytes, why });
  }

  /** Of what is deleted from the trash: this run has put it there, or one that was stopped, or somebody else. */
  async #tellTrashed(digest: Digest): Promise<void> {
    const bytes = (await this.#context.objects.size(trashKey(digest))) ?? 0;
    this.#tell(digest, bytes, this.#moved.has(digest) ? UNLINKED : 'it lies in the trash');
  }

  async #tellTrash(marked: DigestSet): Promise<void> {
    try {
      for await (const { digest } of trashed(this.#context.objects, this.#rules.now()))
        if (!marked.has(digest)) await this.#tellTrashed(digest);
    } catch (error) {
      // Bytes that a crash has left without the mark that says since when they lie there get one, also in a dry run.
      if (!isUnwritable(error)) throw error;
      this.#rules.problem(`${error.message}: what lies in the trash is not told`);
    }
  }

  async #remove(digests: readonly Digest[]): Promise<void> {
    const { objects, exclusive } = this.#context;
    const { dryRun, before } = this.#rules;
    const gone: Digest[] = [];
    let largest = 0;
    for (const digest of digests) {
      const info = await objects.info(blobKey(digest));
      if (info === undefined) {
        if (!dryRun) await removeEmptyFolders(objects, blobKey(digest).slice(0, -'data'.length));
        continue;
      }
      if (!exclusive && info.modified > before) {
        this.young += 1;
        if (!dryRun && this.#isFuture(info.modified)) await this.#touch(blobKey(digest));
        continue;
      }
      if (!dryRun && !exclusive) {
        // It is told when it is deleted.
        if (await moveToTrash(objects, digest)) this.#moved.add(digest);
        continue;
      }
      gone.push(digest);
      largest = Math.max(largest, info.size);
      this.#tell(digest, info.size, UNLINKED);
    }
    if (dryRun || !exclusive) return;
    const keys = gone.map((digest) => blobKey(digest));
    await objects.driver.delete(keys, { small: largest <= SMALL });
  }

  /** A clock that was wrong has given it that time: until then nothing would go. */
  #isFuture(time: number): boolean {
    return isFuture(time, this.#rules.now());
  }

  async #touch(key: string): Promise<void> {
    await this.#context.objects.touch(key).catch((error: unknown) => {
      if (!(error instanceof ObjectNotFound)) throw error;
    });
  }

  /**
   * Looks again whether anybody links to what lies in the trash, brings that back, and deletes the rest when it has lain there
   * for its time: what this run put there, and what was left by others. A dry run tells what it would delete.
   * @param marked all bytes that the run found linked
   */
  async settle(marked: DigestSet): Promise<void> {
    const { objects, exclusive } = this.#context;
    const { dryRun, now, wait } = this.#rules;
    if (dryRun) return this.#tellTrash(marked);
    let latest = 0;
    let any = false;
    for await (const { digest, since } of trashed(objects, now())) {
      // Back to where the next run sets it aside anew: for its time nobody can wait.
      if (this.#isFuture(since)) await restore(objects, digest);
      else latest = Math.max(latest, since);
      any = true;
    }
    if (!any) return;
    const looked = now();
    const linked = await this.#linkedStill(marked);
    if (linked === undefined) return;
    if (!exclusive) await wait(latest + TRASH_KEPT_FOR - now(), 'waiting for readers');
    let gone: Digest[] = [];
    for await (const { digest, since } of trashed(objects, now())) {
      if (linked.has(digest)) await restore(objects, digest);
      // What came after the look has to be looked for by who brought it.
      else if (since < looked && (exclusive || now() - since >= TRASH_KEPT_FOR)) {
        await this.#tellTrashed(digest);
        gone.push(digest);
      }
      if (gone.length < BATCH) continue;
      await deleteTrashed(objects, gone);
      gone = [];
    }
    await deleteTrashed(objects, gone);
  }

  /** What is linked now; undefined, which is told, where that is not to be known. */
  async #linkedStill(marked: DigestSet): Promise<DigestSet | undefined> {
    const { mayBeEmpty, problem } = this.#rules;
    const stays = 'what lies in the trash stays there before that is mended';
    try {
      const linked = await linkedEverywhere(this.#context);
      if (linked.size > 0 || marked.size === 0 || mayBeEmpty) return linked;
      problem(
        `the links that were there are gone, perhaps with the disk that \`repositories\` is on: ${stays}`,
      );
    } catch (error) {
      if (!(error instanceof StorageFailure)) throw error;
      problem(`${error.message}: ${stays}`);
    }
    return undefined;
  }
}

/** All bytes that any repository links to, also by links that are on their way out. @throws StorageFailure */
async function linkedEverywhere({ objects, pace, progress, signal }: JobContext): Promise<DigestSet> {
  const linked = new DigestSet();
  let repositories = 0;
  for await (const name of allRepositories(objects, { signal, onLeftOut: failIfUnknown })) {
    for (const kind of ['layers', 'revisions'] as const) {
      for await (const link of repositoryLinks(objects, name, kind, { taken: true })) {
        linked.add(await targetOf(objects, link));
        const wait = pace(1);
        if (wait !== undefined) await wait;
      }
    }
    repositories += 1;
    progress('looking again', repositories);
  }
  return linked;
}
