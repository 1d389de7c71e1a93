/**
 * Retention: deletes tags that the rules let go (retention-rules.ts). What they pointed at is freed by the collector later,
 * so that a tag which comes back meanwhile costs nothing. Safe beside pushes: each tag is looked at again under its lock,
 * and one that was pushed since the decision stays.
 */
import type { StorageFailure } from '../drivers/driver.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import type { RepositoryName, Tag } from '../oci/name.ts';
import { allRepositories } from '../store/catalog.ts';
import {
  blobKey,
  DRIVER_FOLDER,
  pullNotesPrefix,
  revisionLinkKey,
  tagCurrentKey,
  trashedLinkKey,
  trashKey,
} from '../store/layout.ts';
import { withLease } from '../store/locks.ts';
import { lastPull, PULL_GRAIN, pullsNotedSince } from '../store/pull-notes.ts';
import type { LeftOut } from '../store/repository-alias.ts';
import { deleteTagWhere, resolveTag, tagsOf } from '../store/tags.ts';
import { type Job, JobBusy, type JobContext, JobRefused, type JobSummary } from './job.ts';
import { companionOf, decide, type Decision, type TagFacts } from './retention-decision.ts';
import type { RetentionRule, RetentionRules } from './retention-rules.ts';
import { type CollectorFacts, untaggedManifests } from './retention-untagged.ts';
import { unlessUnreadable } from './unreadable.ts';

export interface RetentionOptions {
  /** Only tells what would be deleted. */
  readonly dryRun: boolean;
  /** Tells of every tag what becomes of it and why; changes nothing. */
  readonly explain?: boolean;
  /** Only this repository, and of it only this tag. */
  readonly repository?: RepositoryName;
  readonly tag?: Tag;
  readonly rules: RetentionRules;
  /** Why a tag must stay whatever the rules say, as an immutable one; undefined where nothing says so. */
  readonly guarded: (name: RepositoryName, tag: Tag) => string | undefined;
  /** Whether a repository holds content of another registry, which has its own time to live. */
  readonly isCached: (name: RepositoryName) => boolean;
  /** By which is told what becomes of manifests without a tag. */
  readonly collector: CollectorFacts;
  /** Milliseconds since 1970, by the storage's clock. */
  readonly now?: () => number;
}

/** A companion of an image that is no more stays so long, in milliseconds: it may have been pushed before the image. */
const COMPANION_STAYS = 24 * 3600_000;

/**
 * Applies the rules. Items: `tag` with `repository`, `tag`, `digest`, `pushed`, `why`, and `deleted` (or in a dry run
 * `goes`, or to explain either `goes` or `stays`). Where nothing is changed also `untagged`, see retention-untagged.ts.
 * @throws JobBusy; JobRefused to explain what is not there
 */
export const retention: Job<RetentionOptions> = async (given, options) => {
  const context = { ...given, objects: given.objects.strict() };
  if (options.dryRun || options.explain === true) return new Retention(context, options).run();
  const lease = `${DRIVER_FOLDER}/retention/lease`;
  const done = await withLease(context.objects, lease, (lost) =>
    new Retention({ ...context, signal: AbortSignal.any([context.signal, lost]) }, options).run(),
  );
  if (done === undefined) throw new JobBusy('another process applies the retention rules already');
  return done.result;
};

class Retention {
  readonly #context: JobContext;
  readonly #options: RetentionOptions;
  readonly #now: () => number;
  readonly #changes: boolean;
  readonly #counts = { repositories: 0, tags: 0, deleted: 0 };
  #untagged = 0;
  #problems = 0;
  /** Whether there was anything to tell of. */
  #told = false;

  constructor(context: JobContext, options: RetentionOptions) {
    this.#context = context;
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#changes = !options.dryRun && options.explain !== true;
  }

  async run(): Promise<JobSummary> {
    const { repository } = this.#options;
    if (repository !== undefined) await this.#repository(repository);
    else {
      const { objects, signal, report } = this.#context;
      const onUnreadable = (name: RepositoryName | undefined, error: StorageFailure) =>
        this.#tellUnreadable(name, error);
      const onLeftOut = (name: RepositoryName, { why }: LeftOut) =>
        report({ what: 'left out', repository: name, why });
      for await (const name of allRepositories(objects, { signal, onUnreadable, onLeftOut })) {
        await unlessUnreadable(
          () => this.#repository(name),
          (failure) => onUnreadable(name, failure),
        );
      }
    }
    if (repository !== undefined && !this.#told) throw new JobRefused(this.#nothingOf(repository));
    const { deleted, ...counted } = this.#counts;
    const untagged = this.#untagged === 0 ? {} : { untagged: this.#untagged };
    const problems = this.#problems === 0 ? {} : { problems: this.#problems };
    return {
      ...counted,
      [this.#changes ? 'deleted' : 'goes']: deleted,
      ...untagged,
      ...(this.#changes ? {} : { dryRun: true }),
      ...problems,
    };
  }

  /** Or cannot be changed: the other repositories have nothing to do with it. */
  #tellUnreadable(name: RepositoryName | undefined, { message }: StorageFailure): void {
    const about = name === undefined ? {} : { repository: name };
    this.#problems += 1;
    this.#context.report({ what: 'problem', ...about, why: message });
    this.#context.log.warn('retention: a repository cannot be read', { ...about, reason: message });
  }

  #nothingOf(repository: RepositoryName): string {
    const { tag } = this.#options;
    return tag === undefined
      ? `${repository}: there is no such repository, or it has no tag`
      : `${repository}:${tag}: there is no such tag`;
  }

  async #repository(name: RepositoryName): Promise<void> {
    const { rules, isCached, guarded } = this.#options;
    this.#context.signal.throwIfAborted();
    const rule = isCached(name) ? undefined : rules.of(name);
    if (rule === undefined) {
      if (this.#options.explain === true)
        await this.#explainAll(
          name,
          isCached(name) ? 'cached: see proxy.ttl' : 'no rule names the repository',
        );
      return;
    }
    this.#counts.repositories += 1;
    this.#context.progress('repositories', this.#counts.repositories);
    const { tags, companions } = await this.#facts(name, rule);
    const decisions = decide(rule, tags, this.#now(), (tag) => guarded(name, tag));
    for (const decision of decisions) await this.#carryOut(name, decision);
    for (const companion of companions)
      await this.#carryOut(name, await this.#companion(name, companion, tags.length > 0));
    await this.#tellUntagged(name, rule);
    if (this.#changes && rules.needsPulls) await this.#forgetPulls(name);
  }

  async #facts(
    name: RepositoryName,
    rule: RetentionRule,
  ): Promise<{ readonly tags: readonly TagFacts[]; readonly companions: readonly TagFacts[] }> {
    const { objects, pace, signal } = this.#context;
    const now = this.#now();
    const needsPulls = rule.keep.some(({ pulledWithinMs }) => pulledWithinMs !== undefined);
    // Nothing is known of what was pulled before: then it counts as pulled when the notes began.
    const since = needsPulls ? ((await pullsNotedSince(objects)) ?? now) : 0;
    const tags: TagFacts[] = [];
    const companions: TagFacts[] = [];
    for await (const tag of tagsOf(objects, name)) {
      signal.throwIfAborted();
      await pace(1);
      const pushed = await this.#pushed(name, tag);
      const digest = await resolveTag(objects, name, tag);
      if (pushed === undefined || digest === undefined) continue;
      const noted = needsPulls ? await lastPull(objects, name, digest) : undefined;
      const pulled = Math.max(pushed, noted === undefined ? since : Math.min(now, noted + PULL_GRAIN));
      (companionOf(tag) === undefined ? tags : companions).push({ tag, digest, pushed, pulled });
    }
    this.#counts.tags += tags.length + companions.length;
    return { tags, companions };
  }

  async #tellUntagged(name: RepositoryName, rule: RetentionRule): Promise<void> {
    const { collector, tag } = this.#options;
    if (this.#changes || tag !== undefined) return;
    for await (const item of untaggedManifests(this.#context, name, rule, collector, this.#now())) {
      this.#context.signal.throwIfAborted();
      this.#untagged += 1;
      this.#told = true;
      this.#context.report(item);
    }
  }

  /** When the tag's link was last written. */
  async #pushed(name: RepositoryName, tag: Tag): Promise<number | undefined> {
    return (await this.#context.objects.info(tagCurrentKey(name, tag)))?.modified;
  }

  /** Signatures and the like stay as long as what they are about, whatever the rules say. */
  async #companion(name: RepositoryName, facts: TagFacts, hasImages: boolean): Promise<Decision> {
    const { objects } = this.#context;
    const stays = (reason: string): Decision => ({ facts, stays: true, reason });
    const guard = this.#options.guarded(name, facts.tag);
    if (guard !== undefined) return stays(guard);
    const { subject } = companionOf(facts.tag) ?? {};
    if (subject === undefined)
      return stays('it goes with an image, of which the tag does not tell the digest');
    if (!hasImages) return stays('a repository that holds only signatures and the like is left alone');
    // Signatures may be kept apart from the images: then the image is in another repository.
    if ((await objects.exists(blobKey(subject))) || (await objects.exists(trashKey(subject))))
      return stays(`it goes with ${subject}, which is there`);
    if (this.#now() - facts.pushed < COMPANION_STAYS)
      return stays(`it goes with ${subject}, which is not there, but is new`);
    return { facts, stays: false, reason: `it goes with ${subject}, which is no more` };
  }

  async #carryOut(name: RepositoryName, { facts, stays, reason }: Decision): Promise<void> {
    const { explain = false, tag: wanted } = this.#options;
    if (wanted !== undefined && facts.tag !== wanted) return;
    this.#told = true;
    const { tag, digest, pushed } = facts;
    if (!stays) {
      if (this.#changes && !(await this.#delete(name, facts))) return;
      this.#counts.deleted += 1;
    } else if (!explain) return;
    if (this.#changes)
      this.#context.log.info('retention: a tag was deleted', { repository: name, tag, digest, why: reason });
    this.#context.report({
      what: 'tag',
      repository: name,
      tag,
      digest,
      pushed: new Date(pushed).toISOString(),
      ...(this.#changes ? { deleted: true } : stays ? { stays } : { goes: true }),
      why: reason,
    });
  }

  /** @returns whether it went: not where it was pushed since it was decided about */
  #delete(name: RepositoryName, { tag, digest, pushed }: TagFacts): Promise<boolean> {
    const isToGo = async (current: Digest): Promise<boolean> =>
      current === digest && (await this.#pushed(name, tag)) === pushed;
    return deleteTagWhere(this.#context.objects, name, tag, isToGo);
  }

  async #explainAll(name: RepositoryName, reason: string): Promise<void> {
    const { objects } = this.#context;
    for await (const tag of tagsOf(objects, name)) {
      const pushed = await this.#pushed(name, tag);
      const digest = await resolveTag(objects, name, tag);
      if (pushed === undefined || digest === undefined) continue;
      this.#counts.tags += 1;
      await this.#carryOut(name, { facts: { tag, digest, pushed, pulled: pushed }, stays: true, reason });
    }
  }

  /** Notes about what is no more. */
  async #forgetPulls(name: RepositoryName): Promise<void> {
    const { objects, pace } = this.#context;
    const prefix = pullNotesPrefix(name);
    for (const entry of await objects.names(prefix)) {
      await pace(1);
      const digest = entry.replace('-', ':');
      const isThere =
        isDigest(digest) &&
        ((await objects.exists(revisionLinkKey(name, digest))) ||
          (await objects.exists(trashedLinkKey(name, 'revisions', digest))));
      if (!isThere) await objects.driver.delete([prefix + entry], { volatile: true });
    }
  }
}
