/** The jobs of a server: one of a kind at a time, with whoever watches it, and how the last ones ended. */
import type { LogFields, Logger } from '../log.ts';
import type { JobEvent, JobOutcome } from '../server/job-messages.ts';
import type { EndedJob, RunningJob, StartedBy } from './messages.ts';

/** Why a run ended that somebody did not want. */
export const CANCELLED = 'it was cancelled';

/** What a run is started by; see `server/job-process.ts`. */
export type StartJob = (
  job: string,
  options: unknown,
  onEvent: (event: JobEvent) => Promise<void> | undefined,
) => Promise<{
  readonly pid: number | undefined;
  readonly outcome: Promise<JobOutcome>;
  stop(): void;
  kill(): void;
}>;

/** Is told what a run does. What it returns is waited for before more is told, within a limit. */
export type JobWatcher = (event: JobEvent) => Promise<void> | undefined;

/** A run, for who started it or watches it. */
export interface JobRun {
  readonly running: RunningJob;
  /** Never rejects. */
  readonly ended: Promise<EndedJob>;
  /** @returns what ends the watching */
  watch(watcher: JobWatcher): () => void;
  /** Asks it to end; the reason is for the log. */
  stop(reason: string): void;
}

class Run implements JobRun {
  readonly ended: Promise<EndedJob>;
  readonly #watchers = new Set<JobWatcher>();
  readonly #job: string;
  readonly #by: StartedBy;
  readonly #options: unknown;
  readonly #startedAt = Date.now();
  #process: Awaited<ReturnType<StartJob>> | undefined;
  #progress: RunningJob['progress'];
  #reason: string | undefined;

  constructor(start: StartJob, job: string, options: unknown, by: StartedBy) {
    this.#job = job;
    this.#by = by;
    this.#options = options;
    this.ended = this.#run(start);
  }

  get running(): RunningJob {
    return {
      job: this.#job,
      by: this.#by,
      startedAt: this.#startedAt,
      options: this.#options,
      pid: this.#process?.pid,
      progress: this.#progress,
    };
  }

  watch(watcher: JobWatcher): () => void {
    this.#watchers.add(watcher);
    return () => void this.#watchers.delete(watcher);
  }

  stop(reason: string): void {
    this.#reason ??= reason;
    this.#process?.stop();
  }

  kill(): void {
    this.#process?.kill();
  }

  async #run(start: StartJob): Promise<EndedJob> {
    const begun = performance.now();
    const outcome = await this.#outcome(start);
    return {
      job: this.#job,
      by: this.#by,
      startedAt: this.#startedAt,
      seconds: Math.round(performance.now() - begun) / 1000,
      options: this.#options,
      outcome:
        outcome.kind === 'stopped' ? { ...outcome, message: this.#reason ?? outcome.message } : outcome,
    };
  }

  async #outcome(start: StartJob): Promise<JobOutcome> {
    try {
      this.#process = await start(this.#job, this.#options, (event) => this.#pass(event));
      // It was asked to end while the process was made.
      if (this.#reason !== undefined) this.#process.stop();
      return await this.#process.outcome;
    } catch (error) {
      return { kind: 'failed', message: error instanceof Error ? error.message : String(error) };
    }
  }

  #pass(event: JobEvent): Promise<void> | undefined {
    if (event.kind === 'progress') this.#progress = event;
    const waits = [...this.#watchers].map((watcher) => watcher(event)).filter((wait) => wait !== undefined);
    return waits.length === 0 ? undefined : Promise.all(waits).then(() => undefined);
  }
}

export class JobBoard {
  readonly #start: StartJob;
  readonly #log: Logger;
  readonly #running = new Map<string, Run>();
  readonly #ended = new Map<string, EndedJob>();
  #closed = false;

  constructor(start: StartJob, log: Logger) {
    this.#start = start;
    this.#log = log;
  }

  /** Starts the job unless it runs. @returns the run, and whether it was started by this call; undefined at the end of the server */
  start(job: string, options: unknown, by: StartedBy): { run: JobRun; isNew: boolean } | undefined {
    const present = this.#running.get(job);
    if (present !== undefined) return { run: present, isNew: false };
    if (this.#closed) return undefined;
    const run = new Run(this.#start, job, options, by);
    this.#running.set(job, run);
    void run.ended.then((ended) => {
      this.#running.delete(job);
      this.#ended.set(job, ended);
      this.#tell(ended);
    });
    return { run, isNew: true };
  }

  find(job: string): JobRun | undefined {
    return this.#running.get(job);
  }

  status(): { readonly running: readonly RunningJob[]; readonly ended: readonly EndedJob[] } {
    return {
      running: [...this.#running.values()].map(({ running }) => running),
      ended: [...this.#ended.values()],
    };
  }

  /** Ends the runs for which `which` holds, and waits for it. */
  async stop(reason: string, which: (running: RunningJob) => boolean = () => true): Promise<void> {
    const runs = [...this.#running.values()].filter((run) => which(run.running));
    for (const run of runs) run.stop(reason);
    await Promise.all(runs.map(({ ended }) => ended));
  }

  /** Ends all runs, and starts none any more. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.stop('the server ends');
  }

  /** One line for each run. */
  #tell({ job, by, seconds, outcome }: EndedJob): void {
    const fields: LogFields = { job, by, seconds };
    if (outcome.kind === 'done') this.#log.info('upkeep is done', { ...fields, ...outcome.summary });
    else if (outcome.kind === 'stopped')
      this.#log.info('upkeep was stopped', { ...fields, reason: outcome.message });
    else if (outcome.kind === 'busy')
      this.#log.debug('upkeep is done elsewhere', { ...fields, reason: outcome.message });
    else this.#log.error('upkeep failed', { ...fields, error: outcome.message });
  }
}
