/**
 * What all upkeep has in common: it runs beside a server or without one, tells how far it is and what it does, goes at a
 * bounded rate, and can be stopped at any moment without harm. Whoever starts one decides how it is told.
 */
import type { Logger } from '../log.ts';
import type { Objects } from '../store/objects.ts';

/** One line of a job's report: what was done, or would be. Plain JSON with short keys; `what` names the kind. */
export interface JobItem {
  readonly what: string;
  readonly [key: string]: string | number | boolean | readonly string[];
}

/** What a job counted; plain JSON. */
export type JobSummary = Readonly<Record<string, string | number | boolean>>;

/** How much is wrong after a run, and stays so. */
export function problemsIn({ problems, unrepaired }: JobSummary): number {
  return Number(problems ?? unrepaired ?? 0);
}

export interface JobContext {
  readonly objects: Objects;
  readonly log: Logger;
  /** The job ends soon after it aborts, with the signal's reason, and leaves nothing half-done that a later run cannot go on from. */
  readonly signal: AbortSignal;
  /** Whether no server uses the storage: then nothing has to wait for others. */
  readonly exclusive: boolean;
  /** Tells how far it is; `total` where it is known. Cheap: it may be called for each object. */
  readonly progress: (phase: string, done: number, total?: number) => void;
  /** Tells what was done, or in a dry run would be. */
  readonly report: (item: JobItem) => void;
  /** Waits as long as it takes to look at no more objects, or read no more bytes, than is allowed in a second. */
  readonly pace: (objects: number, bytes?: number) => Promise<void> | undefined;
}

/** Another process, perhaps of another node, is at the same work. It goes on there; here there is nothing to do. */
export class JobBusy extends Error {
  override readonly name: string = 'JobBusy';
}

/** It was asked for what there is not, or what may not be. The message is for who asked. */
export class JobRefused extends Error {
  override readonly name = 'JobRefused';
}

/**
 * A piece of upkeep. A count called `problems` or `unrepaired` that is above 0 makes the command that asked for it end with exit code 3.
 * @returns what it counted, for one line of the log
 * @throws the signal's reason; JobBusy; JobRefused
 */
export type Job<Options> = (context: JobContext, options: Options) => Promise<JobSummary>;
