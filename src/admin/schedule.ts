/** Runs jobs by their timetables. */
import type { JobOutcome } from '../server/job-messages.ts';
import { CANCELLED } from './job-board.ts';
import { type LastRun, nextRun, type Timetable, windowEnd } from './timetable.ts';

/** A job that runs by itself. */
export interface ScheduledJob {
  readonly job: string;
  readonly options: unknown;
  readonly timetable: Timetable;
}

/** A run that was started. */
export interface ScheduledRun {
  readonly ended: Promise<{ readonly outcome: JobOutcome }>;
  stop(reason: string): void;
}

export interface ScheduleOptions {
  readonly jobs: readonly ScheduledJob[];
  /** The last run of the job on any node. */
  readonly lastRun: (job: string) => Promise<LastRun | undefined>;
  readonly noteRun: (job: string, run: LastRun) => Promise<void>;
  /** undefined when it cannot be started now: it runs already. */
  readonly start: (job: string, options: unknown) => ScheduledRun | undefined;
  /** Whether nothing may be changed now. */
  readonly isPaused: () => boolean;
  readonly onFailure: (job: string, error: unknown) => void;
}

/** Milliseconds after which the clock and the last run are looked at again: both may change while it waits. */
const LOOK_EVERY = 10 * 60_000;
/** How long another try waits when a run could not be started, in milliseconds. */
const TRY_AGAIN = 60_000;

/** Starts the timetables. @returns what ends them; runs that are under way are not ended by it */
export function runSchedule(options: ScheduleOptions): () => void {
  const ended = new AbortController();
  for (const job of options.jobs) void keep(job, options, ended.signal);
  return () => ended.abort();
}

async function keep(scheduled: ScheduledJob, options: ScheduleOptions, signal: AbortSignal): Promise<void> {
  const { job, timetable } = scheduled;
  const { intervalMs } = timetable;
  const startedAt = Date.now();
  let chance = Math.random();
  /** Not before: somebody else is at it, or it failed. */
  let notBefore = 0;
  while (!signal.aborted) {
    try {
      const due = Math.max(
        notBefore,
        nextRun(timetable, await options.lastRun(job), { startedAt, chance, now: Date.now() }),
      );
      const wait = due - Date.now();
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
