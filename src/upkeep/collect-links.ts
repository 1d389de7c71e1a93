/** What no manifest needs, repository by repository: layer links, untagged manifests, and what belonged to them. */
import { isFull, ObjectNotFound } from '../drivers/driver.ts';
import type { Digest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import { lastUpload } from '../store/abandoned-uploads.ts';
import { holdsAnything } from '../store/catalog.ts';
import { type LinkKind, trashedLinkKey } from '../store/layout.ts';
import { returnLink } from '../store/delete-links.ts';
import { bringBackLink } from '../store/links.ts';
import { type RepositoryLink, repositoryLinks, targetOf } from '../store/repository-links.ts';
import type { DigestSet } from './digest-set.ts';
import type { JobContext } from './job.ts';
import { type Marks, markRepository } from './marks.ts';
import { removeRemains } from './repository-remains.ts';
import { formatAge } from './retention-rules.ts';

/**
 * Milliseconds for which nothing new goes from a repository that is being pushed to: the layers of one image may come
 * hours apart, and its manifest comes last.
 */
export const LONGEST_PUSH = 24 * 60 * 60_000;

/** The grace time, in milliseconds, that is advised to who cannot wait for a longer one. */
const ADVISED_GRACE = 60_000;

export interface LinkRules {
  readonly dryRun: boolean;
  /** Milliseconds after it was last pushed or asked for at which a link may go. */
  readonly graceMs: number;
  /** Milliseconds after which a manifest without a tag goes; undefined where it stays. */
  readonly untaggedAfterMs: (name: RepositoryName) => number | undefined;
  /** Whether indexes may be pushed without all of their children. */
  readonly sparseIndexes?: boolean;
  /** Whether the repository holds content of another registry, which has rules of its own. */
  readonly isCached: (name: RepositoryName) => boolean;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** A link that may go. */
interface Candidate {
  readonly link: RepositoryLink;
  readonly kind: LinkKind;
  readonly modified: number;
}

export interface LinkCounts {
  repositories: number;
  manifests: number;
  links: number;
  /** Links that nothing needs and that are too young to go. */
  young: number;
  /** What is damaged: nothing goes from its repository. */
  problems: number;
}

export class LinkCollector {
  readonly counts: LinkCounts = { repositories: 0, manifests: 0, links: 0, young: 0, problems: 0 };
  readonly #context: JobContext;
  readonly #rules: LinkRules;

  constructor(context: JobContext, rules: LinkRules) {
    this.#context = context;
    this.#rules = rules;
  }

  /**
   * Sets aside what nothing needs, and enters the bytes that all others stand for into `linked`.
   * @returns whether something was set aside, so that `settle` has to look again
   */
  async visit(name: RepositoryName, linked: DigestSet): Promise<boolean> {
    const { objects, exclusive } = this.#context;
    if (await holdsAnything(objects, name, { orTrash: true })) this.counts.repositories += 1;
    const { dryRun, graceMs, untaggedAfterMs, isCached, now } = this.#rules;
    if (isCached(name)) {
      for (const kind of ['layers', 'revisions'] as const) {
        for await (const link of repositoryLinks(objects, name, kind, { taken: true }))
          linked.add(await targetOf(objects, link));
      }
      return false;
    }
    const uploaded = exclusive ? 0 : await lastUpload(objects, name);
    const isBusy = !exclusive && uploaded > now() - graceMs;
    const leastMs = isBusy ? Math.max(graceMs, LONGEST_PUSH) : graceMs;
    const untagged = untaggedAfterMs(name);
    const untaggedSince = untagged === undefined ? undefined : now() - Math.max(leastMs, untagged);
    const marks = await markRepository(this.#context, name, { untaggedSince, graceSince: now() - graceMs });
    const { candidates, anyTrashed, stayed } = await this.#unneeded(name, marks, linked);
    const isBeingPushed =
      isBusy ||
      (!exclusive &&
        candidates.some(({ kind, modified }) => kind === 'layers' && now() - modified < graceMs));
    const before = now() - (isBeingPushed ? Math.max(graceMs, LONGEST_PUSH) : graceMs);
    const gone: Candidate[] = [];
    let young = 0;
    let oldest = Infinity;
    let youngest = 0;
    for (const candidate of candidates) {
      const { link, kind, modified } = candidate;
      if (kind === 'layers' && modified > before) {
        young += 1;
        youngest = Math.max(youngest, modified);
        oldest = Math.min(oldest, modified);
        linked.add(await targetOf(objects, link));
      } else gone.push(candidate);
    }
    // Manifests first: nobody brings back one whose layers have gone already (links.ts).
    gone.sort(manifestsFirst);
    if (young > 0) this.#tellKept(name, young, { oldest, youngest, uploaded });
    if (dryRun) {
      this.#tell(name, gone, gone.length > 0 && stayed + young === 0);
      return false;
    }
    if (exclusive) {
      await this.#delete(name, gone);
      if (anyTrashed) await this.settle(name, linked);
      return false;
    }
    for (const { link, kind } of gone) if (!link.trashed) await this.#setAside(name, kind, link);
    if (gone.length > 0 || anyTrashed) return true;
    if (marks.revisions.size === 0) await this.#removeRemains(name, []);
    return false;
  }

  /** Looks again at what was set aside: brings it back or deletes it for good. */
  async settle(name: RepositoryName, linked: DigestSet): Promise<void> {
    const { objects } = this.#context;
    const { graceMs, now } = this.#rules;
    const since = now() - graceMs;
    // What is live now stays: it was looked at when it was left.
    const marks = await markRepository(this.#context, name, { untaggedSince: undefined, graceSince: since });
    const gone: Candidate[] = [];
    const isKnown = marks.unreadable.length === 0 && marks.damagedTags.length === 0;
    for (const kind of ['layers', 'revisions'] as const) {
      const needed = kind === 'layers' ? marks.content : marks.manifests;
      for await (const link of this.#links(name, kind)) {
        if (!link.trashed) continue;
        const modified = await this.#modified(link);
        if (modified === undefined) continue;
        const waits =
          link.taken === 'alive' ||
          (link.taken === 'dead' && !isKnown) ||
          (kind === 'revisions' && marks.young.has(link.digest));
        const isNeeded = !isKnown || needed.has(link.digest);
        if (!waits && !isNeeded && modified <= since) gone.push({ link, kind, modified });
        else {
          linked.add(await targetOf(objects, link));
          // A manifest that nothing needs is brought back by who asks for it.
          if (!waits) await this.#bringBack(name, kind, link);
        }
      }
    }
    await this.#delete(name, gone.sort(manifestsFirst));
  }

  async #bringBack(name: RepositoryName, kind: LinkKind, link: RepositoryLink): Promise<void> {
    const { objects } = this.#context;
    if (link.taken !== undefined) await returnLink(objects, name, kind, link);
    await bringBackLink(objects, name, kind, link.digest, {
      sparse: this.#rules.sparseIndexes === true,
    });
  }

  /** Also those that deletions have taken. */
  #links(name: RepositoryName, kind: LinkKind, unchecked = false): AsyncIterable<RepositoryLink> {
    const { objects, exclusive } = this.#context;
    return repositoryLinks(objects, name, kind, { unchecked, taken: exclusive ? 'as dead' : true });
  }

  /** Milliseconds since 1970; undefined for a link that has gone. What a deletion had taken that died is old. */
  async #modified({ key, taken }: RepositoryLink): Promise<number | undefined> {
    return taken === 'dead' ? 0 : (await this.#context.objects.info(key))?.modified;
  }

  /** The links that nothing which stays refers to. The others are entered into `linked`. */
  async #unneeded(
    name: RepositoryName,
    marks: Marks,
    linked: DigestSet,
  ): Promise<{ candidates: Candidate[]; anyTrashed: boolean; stayed: number }> {
    const { objects, pace, report } = this.#context;
    const candidates: Candidate[] = [];
    let { anyTrashed } = marks;
    let stayed = 0;
    const consider = async (kind: LinkKind, link: RepositoryLink, stays: boolean): Promise<void> => {
      anyTrashed ||= link.trashed;
      if (stays) {
        linked.add(await targetOf(objects, link));
        stayed += 1;
        return;
      }
      const modified = await this.#modified(link);
      if (modified !== undefined) candidates.push({ kind, link, modified });
    };
    for (const [digest, link] of marks.revisions) {
      await consider('revisions', link, marks.manifests.has(digest));
    }
    const isDamaged = marks.unreadable.length > 0 || marks.damagedTags.length > 0;
    for (const digest of marks.unreadable) {
      const why = 'a manifest whose bytes are gone or damaged: what it refers to is not known, see `scrub`';
      report({ what: 'kept', repository: name, digest, why });
    }
    for (const tag of marks.damagedTags) {
      const why = 'a damaged tag: what it points at is not known, see `scrub`';
      report({ what: 'kept', repository: name, tag, why });
    }
    this.counts.problems += marks.unreadable.length + marks.damagedTags.length;
    // What is referred to stays, link or not, so only the others have to be looked at.
    for await (const link of this.#links(name, 'layers', true)) {
      const wait = pace(1);
      if (wait !== undefined) await wait;
      const stays = isDamaged || link.taken === 'alive' || marks.content.has(link.digest);
      await consider('layers', link, stays);
    }
    return { candidates, anyTrashed, stayed };
  }

  async #setAside(name: RepositoryName, kind: LinkKind, { digest, key }: RepositoryLink): Promise<void> {
    try {
      await this.#context.objects.move(key, trashedLinkKey(name, kind, digest), { volatile: true });
    } catch (error) {
      // Deleted meanwhile; or there is no room for the trash, and it stays for another run.
      if (!(error instanceof ObjectNotFound) && !isFull(error)) throw error;
    }
  }

  async #delete(name: RepositoryName, gone: readonly Candidate[]): Promise<void> {
    const keys = gone.map(({ link }) => link.key);
    await this.#context.objects.driver.delete(keys, { small: true });
    this.#tell(name, gone, gone.length > 0 && (await this.#isEmpty(name)));
    const manifests = gone.filter(({ kind }) => kind === 'revisions').map(({ link }) => link.digest);
    await this.#removeRemains(name, manifests);
  }

  async #isEmpty(name: RepositoryName): Promise<boolean> {
    for (const kind of ['revisions', 'layers'] as const) {
      const links = this.#links(name, kind, true)[Symbol.asyncIterator]();
      const { done } = await links.next();
      await links.return?.();
      if (done !== true) return false;
    }
    return true;
  }

  #removeRemains(name: RepositoryName, manifests: readonly Digest[]): Promise<void> {
    const { graceMs, now } = this.#rules;
    return removeRemains(this.#context.objects, name, { manifests, before: now() - graceMs });
  }

  /**
   * Tells until when links stay if nobody pushes, or asks for them, again.
   * @param times of the oldest and the youngest of them, and of the last upload, in milliseconds since 1970
   */
  #tellKept(
    repository: RepositoryName,
    links: number,
    { oldest, youngest, uploaded }: { readonly [time in 'oldest' | 'youngest' | 'uploaded']: number },
  ): void {
    const { graceMs, now } = this.#rules;
    this.counts.young += links;
    const grace = formatAge(graceMs);
    // A push has ended when it has stood still for the grace time: then it is no longer a day that counts.
    const pushEnds = Math.max(youngest, uploaded) + graceMs;
    const until = Math.min(pushEnds, youngest + Math.max(graceMs, LONGEST_PUSH));
    const isForPush = oldest <= now() - graceMs || until > youngest + graceMs;
    const reason = isForPush
      ? `it is being pushed to: what is younger than a day stays until nobody has pushed for ${grace}`
      : `younger than the grace time of ${grace}`;
    const advice =
      graceMs > ADVISED_GRACE
        ? `to free it now: \`entrepot gc --grace ${formatAge(ADVISED_GRACE)}\`, or another shorter time`
        : 'the same grace time frees it then';
    const why = `${reason}; ${advice}`;
    this.#context.report({ what: 'kept', repository, links, until: new Date(until).toISOString(), why });
  }

  /** What is gone, or in a dry run would be. */
  #tell(repository: RepositoryName, gone: readonly Candidate[], isEmpty: boolean): void {
    const { report } = this.#context;
    for (const { link, kind } of gone) {
      const { digest } = link;
      if (kind === 'revisions') this.counts.manifests += 1;
      else this.counts.links += 1;
      report(
        kind === 'revisions'
          ? { what: 'manifest', repository, digest, why: 'no tag, index or subject keeps it' }
          : { what: 'link', repository, digest, why: 'no manifest refers to it' },
      );
    }
    if (isEmpty) report({ what: 'repository', repository, why: 'nothing is left in it' });
  }
}

function manifestsFirst(a: Candidate, b: Candidate): number {
  return a.kind === b.kind ? 0 : a.kind === 'revisions' ? -1 : 1;
}
