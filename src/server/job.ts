/**
 * A job's side of its parent. Like a worker it is this same program, started with the same arguments: the entry point
 * asks `isJob()` before it looks at the command line.
 */
import type { FromJob, JobEvent, JobOutcome, JobStart, ToJob } from './job-messages.ts';
import { JOB_VARIABLE } from './job-messages.ts';

/** Whether this process was started to do a job. */
export function isJob(): boolean {
  return process.env[JOB_VARIABLE] !== undefined && process.send !== undefined;
}

/** What a job's process knows of who started it. */
export interface JobParent {
  readonly start: JobStart;
  /** Aborts when the parent wants the job to end. */
  readonly signal: AbortSignal;
  readonly tell: (event: JobEvent) => void;
  /** Sets what is done when items have been passed on. */
  readonly onTaken: (listener: (count: number) => void) => void;
  /** Tells how it ended, and ends the process. */
  readonly end: (outcome: JobOutcome) => void;
}

/**
 * Waits for what the parent sends to begin with. The process ends when its parent vanishes: nobody would know of it
 * any more. A terminal's SIGINT and SIGHUP are left to the parent.
 */
export function jobParent(): Promise<JobParent> {
  const stopped = new AbortController();
  const listeners = new Set<(count: number) => void>();
  process.on('disconnect', () => process.exit(1));
  process.on('SIGINT', () => undefined);
  process.on('SIGHUP', () => undefined);
  process.on('SIGTERM', () => stopped.abort(new Error('it was asked to end')));
  return new Promise((resolve) => {
    process.on('message', (message: ToJob) => {
      if (message.kind === 'taken') {
        for (const listener of listeners) listener(message.count);
        return;
      }
      resolve({
        start: message.start,
        signal: stopped.signal,
        tell: (event) => send({ kind: 'event', event }),
        onTaken: (listener) => void listeners.add(listener),
        end: (outcome) => send({ kind: 'end', outcome }, () => process.exit(0)),
      });
    });
    send({ kind: 'here' });
  });
}

function send(message: FromJob, sent?: () => void): void {
  if (process.send === undefined) sent?.();
  else process.send(message, undefined, undefined, () => sent?.());
}
