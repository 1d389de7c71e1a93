/** Runs jobs by their timetables. */
import { isDeepStrictEqual } from 'node:util';
import type { JobOutcome } from '../server/job-messages.ts';
import { CANCELLED } from './job-board.ts';
import { type LastRun, nextRun, type Timetable, windowEnd } from './timetable.ts';

/** A job that runs by itself. */
export interface ScheduledJob {
  readonly job: string;
  readonly options: unknown;
  readonly timetable: Timetable;
  /** What else it goes by, as far as it matters that this has changed; plain JSON. */
  readonly settings?: unknown;
}

/** A run that was started. */
export interface ScheduledRun {
  readonly ended: Promise<{ readonly outcome: JobOutcome }>;
  stop(reason: string): void;
}

export interface ScheduleOptions {
  /** What runs by itself now. */
  readonly jobs: () => readonly ScheduledJob[];
  /** The last run of the job on any node. */
  readonly lastRun: (job: string) => Promise<LastRun | undefined>;
  readonly noteRun: (job: string, run: LastRun) => Promise<void>;
  /** undefined when it cannot be started now: it runs already. */
  readonly start: (job: string, options: unknown) => ScheduledRun | undefined;
  /** Whether nothing may be changed now. */
  readonly isPaused: () => boolean;
  readonly onFailure: (job: string, error: unknown) => void;
  /** Told when the job is to begin next, in milliseconds since 1970, as far as is known now; undefined while it runs. */
  readonly onNext?: (job: string, at: number | undefined) => void;
}

/** Milliseconds after which the clock and the last run are looked at again: both may change while it waits. */
const LOOK_EVERY = 10 * 60_000;
/**
 * Milliseconds after a change of what a job goes by before which it does not begin: a file that is being edited may be right
 * and say half of what is meant.
 */
const SETTLED_AFTER = 10 * 60_000;
/** How long another try waits when a run could not be started, in milliseconds. */
const TRY_AGAIN = 60_000;

/** Runs jobs by themselves, from when it is made. */
export class Schedule {
  readonly #options: ScheduleOptions;
  /** By the job's name. */
  readonly #kept = new Map<string, { readonly scheduled: ScheduledJob; readonly ended: AbortController }>();

  constructor(options: ScheduleOptions) {
    this.#options = options;
    this.#keep(0);
  }

  /**
   * Looks at what runs by itself by now. What is as it was goes on, and what has changed begins no sooner than in ten minutes,
   * or its interval if that is shorter. Runs that are under way are not ended by it.
   */
  renew(): void {
    this.#keep(Date.now() + SETTLED_AFTER);
  }

  #keep(notBefore: number): void {
    const jobs = new Map(this.#options.jobs().map((scheduled) => [scheduled.job, scheduled]));
    for (const [job, { scheduled, ended }] of this.#kept) {
      if (isDeepStrictEqual(jobs.get(job), scheduled)) continue;
      ended.abort();
      this.#kept.delete(job);
      this.#options.onNext?.(job, undefined);
    }
    for (const [job, scheduled] of jobs) {
      if (this.#kept.has(job)) continue;
      const ended = new AbortController();
      this.#kept.set(job, { scheduled, ended });
      void keep(scheduled, this.#options, ended.signal, notBefore);
    }
  }

  /** Starts none any more. */
  end(): void {
    for (const { ended } of this.#kept.values()) ended.abort();
  }
}

/** @param notBefore milliseconds since 1970 */
async function keep(
  scheduled: ScheduledJob,
  options: ScheduleOptions,
  signal: AbortSignal,
  notBefore: number,
): Promise<void> {
  const { job, timetable } = scheduled;
  const { intervalMs } = timetable;
  let startedAt = Date.now();
  let chance = Math.random();
  while (!signal.aborted) {
    // The clock may have been set back since.
    startedAt = Math.min(startedAt, Date.now());
    notBefore = Math.min(notBefore, Date.now() + Math.min(intervalMs, SETTLED_AFTER));
    try {
      const due = Math.max(
        notBefore,
        nextRun(timetable, await options.lastRun(job), { startedAt, chance, now: Date.now() }),
      );
      if (signal.aborted) return;
      const wait = due - Date.now();
      options.onNext?.(job, wait > 0 ? due : undefined);
      if (wait > 0) {
        await sleep(Math.min(wait, LOOK_EVERY), signal);
        continue;
      }
      const outcome = options.isPaused() ? undefined : await runOnce(scheduled, options);
      // What is under way elsewhere, or may not be done now, is looked for again in a while.
      const again = Math.min(intervalMs, TRY_AGAIN);
      if (outcome === undefined || outcome.kind === 'busy') notBefore = Date.now() + again;
      if (outcome?.kind === 'stopped') notBefore = Date.now() + again;
      chance = Math.random();
    } catch (error) {
      options.onFailure(job, error);
      notBefore = Date.now() + Math.min(intervalMs, TRY_AGAIN);
    }
  }
}

/** @returns undefined when it could not be started */
async function runOnce(
  { job, options: asked, timetable: { window } }: ScheduledJob,
  { start, noteRun }: ScheduleOptions,
): Promise<JobOutcome | undefined> {
  const startedAt = Date.now();
  const end = window === undefined ? undefined : windowEnd(window, startedAt);
  if (window !== undefined && end === undefined) return undefined;
  const run = start(job, asked);
  if (run === undefined) return undefined;
  const timer =
    end === undefined
      ? undefined
      : setTimeout(() => run.stop('its window has ended; it goes on in the next'), end - startedAt);
  await noteRun(job, { startedAt, isComplete: false });
  const { outcome } = await run.ended;
  clearTimeout(timer);
  // One that failed is tried again after its interval: what failed would mostly fail again. So is what was not wanted.
  const isOver = outcome.kind === 'stopped' ? outcome.message === CANCELLED : outcome.kind !== 'busy';
  if (isOver) await noteRun(job, { startedAt, isComplete: true });
  return outcome;
}

function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds).unref();
    signal.addEventListener('abort', done, { once: true });
  });
}
