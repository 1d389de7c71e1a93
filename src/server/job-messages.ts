import type { JobItem, JobSummary } from '../upkeep/job.ts';

/** What a job's process is given to begin with: plain JSON. */
export interface JobStart {
  /** Its name in the table of jobs. */
  readonly job: string;
  /** What it was asked to do. */
  readonly options: unknown;
  /** The effective configuration. */
  readonly config: unknown;
}

/** What a job tells while it runs. */
export type JobEvent =
  | { readonly kind: 'progress'; readonly phase: string; readonly done: number; readonly total?: number }
  | { readonly kind: 'items'; readonly items: readonly JobItem[] };

/** How a job ended. */
export type JobOutcome =
  | { readonly kind: 'done'; readonly summary: JobSummary }
  /** It was asked to end, and the next run goes on. */
  | { readonly kind: 'stopped'; readonly message: string }
  /** Another node is at the same work. */
  | { readonly kind: 'busy'; readonly message: string }
  /** It was not begun: it may not be done now, or is asked of what there is not. */
  | { readonly kind: 'refused'; readonly message: string }
  | { readonly kind: 'failed'; readonly message: string };

/** Parent to job. It is asked to end by SIGTERM. */
export type ToJob =
  | { readonly kind: 'start'; readonly start: JobStart }
  /** So many items have been passed on: a job does not tell more than can be read. */
  | { readonly kind: 'taken'; readonly count: number };

/** Job to parent. */
export type FromJob =
  /** It listens for messages. Node 20 loses those that come earlier. */
  | { readonly kind: 'here' }
  | { readonly kind: 'event'; readonly event: JobEvent }
  | { readonly kind: 'end'; readonly outcome: JobOutcome };

/** Marks a process as a job. */
export const JOB_VARIABLE = 'ENTREPOT_JOB';
