/** What no manifest needs, repository by repository: layer links, untagged manifests, and what belonged to them. */
import { isFull, ObjectNotFound } from '../drivers/driver.ts';
import type { Digest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import { pushUnderWay } from '../store/abandoned-uploads.ts';
import { type LinkKind, trashedLinkKey } from '../store/layout.ts';
import { restoreLink } from '../store/links.ts';
import { type RepositoryLink, repositoryLinks, targetOf } from '../store/repository-links.ts';
import type { DigestSet } from './digest-set.ts';
import type { JobContext } from './job.ts';
import { type Marks, markRepository } from './marks.ts';
import { removeRemains } from './repository-remains.ts';

/**
 * Milliseconds for which nothing new goes from a repository that is being pushed to: the layers of one image may come
 * hours apart, and its manifest comes last.
 */
export const LONGEST_PUSH = 24 * 60 * 60_000;

export interface LinkRules {
  readonly dryRun: boolean;
  /** Milliseconds after it was last pushed or asked for at which a link may go. */
  readonly graceMs: number;
  /** Milliseconds after which a manifest without a tag goes; undefined where it stays. */
  readonly untaggedAfterMs: (name: RepositoryName) => number | undefined;
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
    this.counts.repositories += 1;
    const { objects, exclusive } = this.#context;
    const { dryRun, graceMs, untaggedAfterMs, isCached, now } = this.#rules;
    if (isCached(name)) {
      for (const kind of ['layers', 'revisions'] as const) {
        for await (const link of repositoryLinks(objects, name, kind))
          linked.add(await targetOf(objects, link));
      }
      return false;
    }
    const isBusy = !exclusive && (await pushUnderWay(objects, name, now() - graceMs));
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
    let waitsForPush = false;
    for (const candidate of candidates) {
      const { link, kind, modified } = candidate;
      if (kind === 'layers' && modified > before) {
        young += 1;
        waitsForPush ||= modified <= now() - graceMs;
        linked.add(await targetOf(objects, link));
      } else gone.push(candidate);
    }
    // Manifests first: nobody brings back one whose layers have gone already (links.ts).
    gone.sort((a, b) => (a.kind === b.kind ? 0 : a.kind === 'revisions' ? -1 : 1));
    for (const { link, kind } of gone) this.#tell(name, kind, link.digest);
    if (young > 0) this.#tellKept(name, young, waitsForPush);
    if (stayed + young === 0 && gone.length > 0) {
      this.#context.report({ what: 'repository', repository: name, why: 'nothing is left in it' });
    }
    if (dryRun) return false;
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
    for (const kind of ['layers', 'revisions'] as const) {
      for await (const link of repositoryLinks(objects, name, kind)) {
        if (!link.trashed) continue;
        const modified = (await objects.info(link.key))?.modified;
        if (modified === undefined) continue;
        const isNeeded =
          marks.unreadable.length > 0 ||
          marks.damagedTags.length > 0 ||
          (kind === 'layers' ? marks.content : marks.manifests).has(link.digest);
        const target = await targetOf(objects, link);
        if (!isNeeded && modified <= since) gone.push({ link, kind, modified });
        else {
          await restoreLink(objects, name, kind, link.digest);
          linked.add(target);
        }
      }
    }
    await this.#delete(name, gone);
  }

  /** The links that nothing which stays refers to. The others are entered into `linked`. */
  async #unneeded(
    name: RepositoryName,
    marks: Marks,
    linked: DigestSet,
  ): Promise<{ candidates: Candidate[]; anyTrashed: boolean; stayed: number }> {
    const { objects, pace, report } = this.#context;
    const candidates: Candidate[] = [];
    let anyTrashed = false;
    let stayed = 0;
    const consider = async (kind: LinkKind, link: RepositoryLink, stays: boolean): Promise<void> => {
      anyTrashed ||= link.trashed;
      if (stays) {
        linked.add(await targetOf(objects, link));
        stayed += 1;
      } else candidates.push({ kind, link, modified: (await objects.info(link.key))?.modified ?? 0 });
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
    for await (const link of repositoryLinks(objects, name, 'layers')) {
      const wait = pace(1);
      if (wait !== undefined) await wait;
      await consider('layers', link, isDamaged || marks.content.has(link.digest));
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
    await this.#context.objects.driver.delete(gone.map(({ link }) => link.key));
    const manifests = gone.filter(({ kind }) => kind === 'revisions').map(({ link }) => link.digest);
    await this.#removeRemains(name, manifests);
  }

  #removeRemains(name: RepositoryName, manifests: readonly Digest[]): Promise<void> {
    const { graceMs, now } = this.#rules;
    return removeRemains(this.#context.objects, name, { manifests, before: now() - graceMs });
  }

  #tellKept(repository: RepositoryName, links: number, waitsForPush: boolean): void {
    this.counts.young += links;
    const why = waitsForPush
      ? 'it is being pushed to: what is younger than a day stays'
      : 'younger than the grace time';
    this.#context.report({ what: 'kept', repository, links, why });
  }

  #tell(repository: RepositoryName, kind: LinkKind, digest: Digest): void {
    if (kind === 'revisions') this.counts.manifests += 1;
    else this.counts.links += 1;
    this.#context.report(
      kind === 'revisions'
        ? { what: 'manifest', repository, digest, why: 'no tag, index or subject keeps it' }
        : { what: 'link', repository, digest, why: 'no manifest refers to it' },
    );
  }
}
