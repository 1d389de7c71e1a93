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
import { StorageFailure } from '../drivers/driver.ts';
import type { RepositoryName } from '../oci/name.ts';
import { allRepositories } from '../store/catalog.ts';
import { COLLECTOR } from '../store/layout.ts';
import { withLease } from '../store/locks.ts';
import { BlobCollector } from './collect-blobs.ts';
import { LinkCollector } from './collect-links.ts';
import { CollectProgress } from './collect-progress.ts';
import { type Job, JobBusy, type JobContext, type JobSummary } from './job.ts';

/** Milliseconds that a link is left in the trash before it is looked at again; pushes take less between their two looks. */
const LINKS_KEPT_FOR = 10_000;
/** Bytes this young (milliseconds) are not even set aside beside a server: their link may be younger than our look. */
const YOUNG = 60_000;

export interface CollectOptions {
  /** Only tells what would be removed. */
  readonly dryRun: boolean;
  /** Milliseconds after it was last pushed or asked for at which something unneeded may go. */
  readonly graceMs: number;
  /** The same where no server uses the storage: nobody can be about to push. By default `graceMs`. */
  readonly aloneGraceMs?: number;
  /** Milliseconds after which a manifest without a tag goes; undefined where it stays. */
  readonly untaggedAfterMs: (name: RepositoryName) => number | undefined;
  /** Whether a run that was stopped is gone on with; else it is a whole one. */
  readonly resume?: boolean;
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
export const collect: Job<CollectOptions> = async (context, options) => {
  const done = await withLease(context.objects, `${COLLECTOR}lock`, (lost) =>
    run({ ...context, signal: AbortSignal.any([context.signal, lost]) }, options),
  );
  if (done === undefined) throw new AlreadyCollecting();
  return done.result;
};

async function run(context: JobContext, options: CollectOptions): Promise<JobSummary> {
  const { dryRun, now = Date.now } = options;
  const wait = options.wait ?? waiter(context);
  const started = now();
  const graceMs = context.exclusive ? (options.aloneGraceMs ?? options.graceMs) : options.graceMs;
  const links = new LinkCollector(context, { ...options, graceMs, now });
  const blobs = new BlobCollector(context, { dryRun, before: started - YOUNG, now, wait });
  const progress = await CollectProgress.open(context.objects, {
    now,
    isKept: !dryRun,
    isResumed: options.resume === true && !context.exclusive,
  });
  const summaryOf = (): JobSummary => {
    const seconds = Math.round((now() - started) / 100) / 10;
    return { ...links.counts, ...blobs.counts, seconds, dryRun };
  };
  try {
    if (progress.phase === 'repositories') {
      const { aside, areKnown } = await visitAll(context, links, progress);
      if (aside.length > 0) {
        await wait(LINKS_KEPT_FOR, 'waiting for pushes under way');
        for (const [index, name] of aside.entries()) {
          context.signal.throwIfAborted();
          context.progress('looking again', index, aside.length);
          await links.settle(name, progress.linked);
        }
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

/** @returns the repositories in which something was set aside, and whether all could be read */
async function visitAll(
  { objects, progress: tell, report, signal }: JobContext,
  links: LinkCollector,
  progress: CollectProgress,
): Promise<{ readonly aside: readonly RepositoryName[]; readonly areKnown: boolean }> {
  const aside: RepositoryName[] = [];
  let areKnown = true;
  const onUnreadable = (repository: RepositoryName, error: StorageFailure): void => {
    areKnown = false;
    links.counts.problems += 1;
    report({
      what: 'problem',
      repository,
      why: `${error.message}: no bytes are collected before that is mended`,
    });
  };
  const last = progress.last === '' ? undefined : (progress.last as RepositoryName);
  for await (const name of allRepositories(objects, { last, signal, onUnreadable })) {
    try {
      if (await links.visit(name, progress.linked)) aside.push(name);
    } catch (error) {
      if (!(error instanceof StorageFailure)) throw error;
      onUnreadable(name, error);
    }
    tell('repositories', links.counts.repositories);
    await progress.reached(name, signal);
  }
  return { aside, areKnown };
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
