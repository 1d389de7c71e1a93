/**
 * The collector: removes what nothing needs any more, while others push and pull. Why that is safe is told in
 * docs/decisions/0008; the pieces are in store/links.ts and store/trash.ts.
 *
 *     1. each repository:  marks what stays, sets aside links to the rest        (collect-links.ts)
 *     2. a moment later:   looks again at what was set aside, deletes it or brings it back
 *     3. each blob:        bytes without any link go to the trash                (collect-blobs.ts)
 *     4. looks at all links again, waits for readers, deletes what is in the trash
 *
 * Without a server that uses the storage 2 and 4 are not needed. A run that is stopped goes on where it was
 * (collect-progress.ts); one that dies leaves only what the next one looks at again.
 */
import { setTimeout } from 'node:timers/promises';
import type { StorageFailure } from '../drivers/driver.ts';
import type { RepositoryName } from '../oci/name.ts';
import { allRepositories } from '../store/catalog.ts';
import { COLLECTOR } from '../store/layout.ts';
import { withLease } from '../store/locks.ts';
import type { LeftOut } from '../store/repository-alias.ts';
import { BlobCollector, YOUNG } from './collect-blobs.ts';
import { LinkCollector } from './collect-links.ts';
import { CollectProgress } from './collect-progress.ts';
import { type Job, JobBusy, type JobContext, type JobSummary } from './job.ts';
import { anyHoldsLinksOrTags, holdsLinksOrTags } from './repository-evidence.ts';
import { unlessUnreadable } from './unreadable.ts';

/** Milliseconds that a link is left in the trash before it is looked at again; pushes take less between their two looks. */
const LINKS_KEPT_FOR = 10_000;

const NOTHING_LEFT =
  'there is no repository, but there are bytes: no bytes are collected, as `repositories` may be on a disk that is not mounted. Where all repositories were deleted, `entrepot gc --empty` removes the bytes';

export interface CollectOptions {
  /** Only tells what would be removed. */
  readonly dryRun: boolean;
  /** Milliseconds after it was last pushed or asked for at which something unneeded may go. */
  readonly graceMs: number;
  /** The same where no server uses the storage: nobody can be about to push. By default `graceMs`. */
  readonly aloneGraceMs?: number;
  /** Milliseconds after which a manifest without a tag goes; undefined where it stays. */
  readonly untaggedAfterMs: (name: RepositoryName) => number | undefined;
  /** For `LinkRules`. */
  readonly sparseIndexes?: boolean;
  /** Whether a run that was stopped is gone on with; else it is a whole one. */
  readonly resume?: boolean;
  /** Whether all bytes go where there is no repository; by default none do: its folder may be on a disk that is away. */
  readonly mayBeEmpty?: boolean;
  /** Whether a repository holds content of another registry, of which the links have rules of their own. */
  readonly isCached: (name: RepositoryName) => boolean;
  /** Milliseconds since 1970, by the storage's clock. */
  readonly now?: () => number;
  /** Waits so many milliseconds; `why` is for who watches. */
  readonly wait?: (milliseconds: number, why: string) => Promise<void>;
}

/** Another process collects: there is nothing to do here. */
export class AlreadyCollecting extends JobBusy {
  override readonly name = 'AlreadyCollecting';
  constructor() {
    super('the storage is being collected by another process already');
  }
}

/** Collects. @throws AlreadyCollecting; the signal's reason */
export const collect: Job<CollectOptions> = async (given, options) => {
  const context = { ...given, objects: given.objects.strict() };
  const done = await withLease(
    context.objects,
    `${COLLECTOR}lock`,
    (lost) => run({ ...context, signal: AbortSignal.any([context.signal, lost]) }, options),
    { onlyReads: options.dryRun },
  );
  if (done === undefined) throw new AlreadyCollecting();
  return done.result;
};

async function run(context: JobContext, options: CollectOptions): Promise<JobSummary> {
  const { dryRun, mayBeEmpty = false, now = Date.now } = options;
  const wait = options.wait ?? waiter(context);
  const started = now();
  const graceMs = context.exclusive ? (options.aloneGraceMs ?? options.graceMs) : options.graceMs;
  const links = new LinkCollector(context, { ...options, graceMs, now });
  const problem = (why: string, repository?: RepositoryName): void => {
    links.counts.problems += 1;
    const about = repository === undefined ? {} : { repository };
    context.report({ what: 'problem', ...about, why });
    // Who runs it without a server reads the report.
    if (!context.exclusive) context.log.warn('gc: a problem', { ...about, reason: why });
  };
  const blobs = new BlobCollector(context, {
    dryRun,
    mayBeEmpty,
    before: started - YOUNG,
    now,
    wait,
    problem,
  });
  const progress = await CollectProgress.open(context.objects, {
    now,
    isKept: !dryRun,
    isResumed: options.resume === true && !context.exclusive,
  });
  const summaryOf = (): JobSummary => {
    const seconds = Math.round((now() - started) / 100) / 10;
    return { ...links.counts, ...blobs.counts, young: links.counts.young + blobs.young, seconds, dryRun };
  };
  try {
    if (progress.phase === 'repositories') {
      const visited = await visitAll(context, links, progress, problem);
      const { aside } = visited;
      let { areKnown } = visited;
      if (aside.length > 0) {
        await wait(LINKS_KEPT_FOR, 'waiting for pushes under way');
        for (const [index, name] of aside.entries()) {
          context.signal.throwIfAborted();
          context.progress('looking again', index, aside.length);
          areKnown =
            (await unlessUnreadable(
              () => links.settle(name, progress.linked),
              (failure) => problem(unread(failure), name),
            )) && areKnown;
        }
      }
      if (areKnown && !mayBeEmpty && (await visited.isEmpty()) && (await blobs.any())) {
        areKnown = false;
        problem(NOTHING_LEFT);
      }
      // What a repository links to that cannot be read is not known: then no bytes go.
      if (!areKnown) {
        await progress.end();
        return summaryOf();
      }
      await progress.enter('blobs');
    }
    await blobs.collect(progress.linked, progress.last, (place) => progress.reached(place, context.signal));
    await blobs.settle(progress.linked);
  } catch (error) {
    if (context.signal.aborted) await progress.save();
    throw error;
  }
  await progress.end();
  return summaryOf();
}

/** Told of what is wrong, and of which repository. */
type Problem = (why: string, repository?: RepositoryName) => void;

function unread({ message }: StorageFailure): string {
  return `${message}: no bytes are collected before that is mended`;
}

/** @returns the repositories in which something was set aside, whether all could be read, and what tells whether there is none */
async function visitAll(
  { objects, progress: tell, report, signal }: JobContext,
  links: LinkCollector,
  progress: CollectProgress,
  problem: Problem,
): Promise<{
  readonly aside: readonly RepositoryName[];
  readonly areKnown: boolean;
  readonly isEmpty: () => Promise<boolean>;
}> {
  const aside: RepositoryName[] = [];
  let areKnown = true;
  let isEmpty = true;
  // A run that went on behind what could not be read would take it for read.
  const doubt = (): void => {
    areKnown = false;
    progress.doubt();
  };
  const onUnreadable = (repository: RepositoryName | undefined, failure: StorageFailure): void => {
    doubt();
    problem(unread(failure), repository);
  };
  const onLeftOut = (repository: RepositoryName, { why, isKnown }: LeftOut): void => {
    report({ what: 'left out', repository, why });
    if (isKnown) return;
    doubt();
    links.counts.problems += 1;
  };
  const last = progress.last === '' ? undefined : (progress.last as RepositoryName);
  const walk = { last, signal, onUnreadable, onLeftOut, with: 'remains' as const };
  for await (const name of allRepositories(objects, walk)) {
    await unlessUnreadable(
      async () => {
        // Before anything of it goes.
        isEmpty = isEmpty && !(await holdsLinksOrTags(objects, name));
        if (await links.visit(name, progress.linked)) aside.push(name);
      },
      (failure) => onUnreadable(name, failure),
    );
    tell('repositories', links.counts.repositories);
    await progress.reached(name, signal);
  }
  return {
    aside,
    areKnown,
    // A run that was gone on with has not seen those before: the earlier run did, but they may be away by now.
    isEmpty: async () => isEmpty && (last === undefined || !(await anyHoldsLinksOrTags(objects, signal))),
  };
}

/** Waits, and tells each second for how long already. */
function waiter({ signal, progress }: JobContext): (milliseconds: number, why: string) => Promise<void> {
  return async (milliseconds, why) => {
    const end = performance.now() + milliseconds;
    const seconds = Math.ceil(milliseconds / 1000);
    for (let left = milliseconds; left > 0; left = end - performance.now()) {
      progress(why, seconds - Math.ceil(left / 1000), seconds);
      await setTimeout(Math.min(1000, left), undefined, { signal }).catch(() => undefined);
      signal.throwIfAborted();
    }
  };
}
