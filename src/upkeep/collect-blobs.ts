/** Bytes to which no repository has a link. */
import { type Digest, digestOf, isDigest } from '../oci/digest.ts';
import { allRepositories } from '../store/catalog.ts';
import { BLOBS, blobKey, trashKey } from '../store/layout.ts';
import { repositoryLinks, targetOf } from '../store/repository-links.ts';
import { deleteTrashed, moveToTrash, restore, trashed, TRASH_KEPT_FOR } from '../store/trash.ts';
import { DigestSet } from './digest-set.ts';
import type { JobContext } from './job.ts';
import { removeEmptyFolders } from './repository-remains.ts';

/** Deletions that are made durable together. */
const BATCH = 200;

export interface BlobRules {
  readonly dryRun: boolean;
  /** Bytes that came after this (milliseconds since 1970) are left alone. */
  readonly before: number;
  readonly now: () => number;
  readonly wait: (milliseconds: number, why: string) => Promise<void>;
}

export interface BlobCounts {
  blobs: number;
  bytes: number;
}

/** Where a walk over all blobs is: the first two characters of their digests, by algorithm. */
export type BlobPlace = `${'sha256' | 'sha512'}/${string}`;

export class BlobCollector {
  readonly counts: BlobCounts = { blobs: 0, bytes: 0 };
  readonly #context: JobContext;
  readonly #rules: BlobRules;
  /** What this run has put into the trash, and told. */
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
    const { objects, progress } = this.#context;
    let seen = 0;
    for (const algorithm of ['sha256', 'sha512'] as const) {
      for (const start of await objects.names(`${BLOBS}${algorithm}/`)) {
        const place = `${algorithm}/${start}`;
        if (place <= after) continue;
        const names = await objects.names(`${BLOBS}${place}/`);
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
  }

  /** What a run that was stopped, or somebody else, has put into the trash, and nobody has brought back. */
  async #tellLeft(digest: Digest): Promise<void> {
    const bytes = (await this.#context.objects.size(trashKey(digest))) ?? 0;
    this.counts.blobs += 1;
    this.counts.bytes += bytes;
    this.#context.report({ what: 'blob', digest, bytes, why: 'it lies in the trash' });
  }

  async #remove(digests: readonly Digest[]): Promise<void> {
    const { objects, exclusive, report } = this.#context;
    const { dryRun, before } = this.#rules;
    const gone: Digest[] = [];
    for (const digest of digests) {
      const info = await objects.info(blobKey(digest));
      if (info === undefined) {
        if (!dryRun) await removeEmptyFolders(objects, blobKey(digest).slice(0, -'data'.length));
        continue;
      }
      if (!exclusive && info.modified > before) continue;
      if (!dryRun && !exclusive) {
        if (!(await moveToTrash(objects, digest))) continue;
        this.#moved.add(digest);
      }
      gone.push(digest);
      this.counts.blobs += 1;
      this.counts.bytes += info.size;
      report({ what: 'blob', digest, bytes: info.size, why: 'no repository links to it' });
    }
    if (!dryRun && exclusive) await objects.driver.delete(gone.map((digest) => blobKey(digest)));
  }

  /**
   * Looks again whether anybody links to what lies in the trash, brings that back, and deletes the rest when it has lain there
   * for its time: what this run put there, and what was left by others. A dry run tells what it would delete.
   * @param marked all bytes that the run found linked
   */
  async settle(marked: DigestSet): Promise<void> {
    const { objects, exclusive } = this.#context;
    const { dryRun, now, wait } = this.#rules;
    let latest = 0;
    let any = false;
    for await (const { digest, since } of trashed(objects, now())) {
      if (dryRun && !marked.has(digest)) await this.#tellLeft(digest);
      any = true;
      latest = Math.max(latest, since);
    }
    if (!any || dryRun) return;
    const looked = now();
    const linked = await linkedEverywhere(this.#context);
    if (!exclusive) await wait(latest + TRASH_KEPT_FOR - now(), 'waiting for readers');
    let gone: Digest[] = [];
    for await (const { digest, since } of trashed(objects, now())) {
      if (linked.has(digest)) await restore(objects, digest);
      // What came after the look has to be looked for by who brought it.
      else if (since < looked && (exclusive || now() - since >= TRASH_KEPT_FOR)) {
        if (!this.#moved.has(digest)) await this.#tellLeft(digest);
        gone.push(digest);
      }
      if (gone.length < BATCH) continue;
      await deleteTrashed(objects, gone);
      gone = [];
    }
    await deleteTrashed(objects, gone);
  }
}

/** All bytes that any repository links to, also by links that are on their way out. */
async function linkedEverywhere({ objects, pace, progress, signal }: JobContext): Promise<DigestSet> {
  const linked = new DigestSet();
  let repositories = 0;
  for await (const name of allRepositories(objects, { signal })) {
    for (const kind of ['layers', 'revisions'] as const) {
      for await (const link of repositoryLinks(objects, name, kind)) {
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
