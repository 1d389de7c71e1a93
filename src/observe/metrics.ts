/** Metrics in Prometheus' text format. They are made anew for each scrape from what is known then. */
import { Gauge, Registry } from 'prom-client';

/** How a run of a piece of upkeep ended. */
export interface ObservedRun {
  /** Milliseconds since 1970. */
  readonly endedAt: number;
  readonly seconds: number;
  readonly isFailure: boolean;
}

export interface ObservedJob {
  readonly job: string;
  readonly isRunning: boolean;
  /** The last run. */
  readonly last?: ObservedRun | undefined;
  /** The last one that did all there was to do, with what it counted. */
  readonly done?:
    | (ObservedRun & { readonly counts: Readonly<Record<string, number>>; readonly problems: number })
    | undefined;
}

export interface Observed {
  readonly version: string;
  readonly isReadOnly: boolean;
  readonly jobs: readonly ObservedJob[];
}

/** The text of a scrape and its media type. */
export async function metricsOf({ version, isReadOnly, jobs }: Observed): Promise<{
  readonly text: string;
  readonly type: string;
}> {
  const registry = new Registry();
  const gauge = <Label extends string = never>(name: string, help: string, ...labelNames: Label[]) =>
    new Gauge({ name: `entrepot_${name}`, help, labelNames, registers: [registry] });

  gauge('build_info', 'Always 1, with the version.', 'version').set({ version }, 1);
  gauge('read_only', '1 while changes are refused.').set(isReadOnly ? 1 : 0);
  const running = gauge('job_running', '1 while the job runs.', 'job');
  const failed = gauge('job_last_run_failed', '1 where the last run failed.', 'job');
  const ended = gauge('job_last_end_timestamp_seconds', 'When the last run ended.', 'job');
  const success = gauge(
    'job_last_success_timestamp_seconds',
    'When the last run ended that did all there was to do.',
    'job',
  );
  const duration = gauge('job_last_success_duration_seconds', 'How long that one took.', 'job');
  const problems = gauge(
    'job_problems',
    'What was wrong after that one and was not repaired: for a scrub damaged or missing content.',
    'job',
  );
  const counted = gauge('job_count', 'What that one counted, as its line in the log has it.', 'job', 'count');
  for (const { job, isRunning, last, done } of jobs) {
    running.set({ job }, isRunning ? 1 : 0);
    if (last !== undefined) {
      failed.set({ job }, last.isFailure ? 1 : 0);
      ended.set({ job }, last.endedAt / 1000);
    }
    if (done === undefined) continue;
    success.set({ job }, done.endedAt / 1000);
    duration.set({ job }, done.seconds);
    problems.set({ job }, done.problems);
    for (const [count, value] of Object.entries(done.counts)) counted.set({ job, count }, value);
  }
  return { text: await registry.metrics(), type: registry.contentType };
}
