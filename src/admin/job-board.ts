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

/** Keeps how runs ended, for longer than a server lives. */
export interface RunMemory {
  readonly remember: (ended: EndedJob) => Promise<void>;
  /** The last run of each job, also of those that others did. */
  readonly recall: () => Promise<readonly EndedJob[]>;
}

export class JobBoard {
  readonly #start: StartJob;
  readonly #log: Logger;
  readonly #hasOnlyTold: (ended: EndedJob) => boolean;
  readonly #running = new Map<string, Run>();
  readonly #ended = new Map<string, EndedJob>();
  readonly #memory: RunMemory | undefined;
  readonly #noting = new Set<Promise<void>>();
  #closed = false;

  /** @param hasOnlyTold whether a run has done nothing, as a dry run: it is no last run of its job */
  constructor(start: StartJob, log: Logger, hasOnlyTold: (ended: EndedJob) => boolean, memory?: RunMemory) {
    this.#start = start;
    this.#log = log;
    this.#hasOnlyTold = hasOnlyTold;
    this.#memory = memory;
  }

  /** Starts the job unless it runs. @returns the run, and whether it was started by this call; undefined at the end of the server */
  start(job: string, options: unknown, by: StartedBy): { run: JobRun; isNew: boolean } | undefined {
    const present = this.#running.get(job);
    if (present !== undefined) return { run: present, isNew: false };
    if (this.#closed) return undefined;
    const run = new Run(this.#start, job, options, by);
    this.#running.set(job, run);
    const noting = run.ended
      .then(async (ended) => {
        this.#running.delete(job);
        this.#tell(ended);
        if (this.#hasOnlyTold(ended) || ended.outcome.kind === 'refused') return;
        this.#ended.set(job, ended);
        await this.#memory?.remember(ended);
      })
      .catch((error: unknown) => this.#log.warn('a run cannot be noted', { job, error: String(error) }))
      .finally(() => this.#noting.delete(noting));
    this.#noting.add(noting);
    return { run, isNew: true };
  }

  find(job: string): JobRun | undefined {
    return this.#running.get(job);
  }

  get running(): readonly RunningJob[] {
    return [...this.#running.values()].map(({ running }) => running);
  }

  /** What runs, and the last runs that have ended, the oldest first. */
  async status(): Promise<{ readonly running: readonly RunningJob[]; readonly ended: readonly EndedJob[] }> {
    const last = new Map(this.#ended);
    for (const run of (await this.#memory?.recall()) ?? [])
      if (run.startedAt > (last.get(run.job)?.startedAt ?? 0)) last.set(run.job, run);
    return {
      running: this.running,
      ended: [...last.values()].toSorted((a, b) => a.startedAt - b.startedAt),
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
    await Promise.all(this.#noting);
  }

  /** One line for each run. */
  #tell(ended: EndedJob): void {
    const { job, by, seconds, outcome } = ended;
    const fields: LogFields = { job, by, seconds };
    if (outcome.kind === 'done') this.#log.info('upkeep is done', { ...fields, ...outcome.summary });
    else if (outcome.kind === 'stopped')
      this.#log.info('upkeep was stopped', { ...fields, reason: outcome.message });
    else if (outcome.kind === 'busy')
      this.#log.debug('upkeep is done elsewhere', { ...fields, reason: outcome.message });
    // Mostly it is asked for what there is not; who asked is told why.
    else if (this.#hasOnlyTold(ended))
      this.#log.info('what was asked of upkeep could not be told', { ...fields, reason: outcome.message });
    else if (outcome.kind === 'refused')
      this.#log.info('upkeep was refused', { ...fields, reason: outcome.message });
    else this.#log.error('upkeep failed', { ...fields, error: outcome.message });
  }
}
