/** What is said over the admin socket: a line of JSON each. */
import type { JobEvent, JobOutcome } from '../server/job-messages.ts';

/** Who started a run. */
export type StartedBy = 'command' | 'schedule';

/** A run that has not ended. */
export interface RunningJob {
  readonly job: string;
  readonly by: StartedBy;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  readonly options: unknown;
  /** Its process. */
  readonly pid: number | undefined;
  readonly progress?: Extract<JobEvent, { kind: 'progress' }> | undefined;
}

/** A run that has ended. */
export interface EndedJob {
  readonly job: string;
  readonly by: StartedBy;
  readonly startedAt: number;
  readonly seconds: number;
  readonly options: unknown;
  readonly outcome: JobOutcome;
}

/** Whether and when a job runs by itself. */
export interface ScheduledNext {
  readonly job: string;
  /** Whether the configuration lets it. */
  readonly isEnabled: boolean;
  /** Milliseconds since 1970, as far as is known now; left out for one that is due, or runs. */
  readonly nextAt?: number | undefined;
}

/** Whether changes are refused, and by whose word. */
export interface ReadOnlyStatus {
  readonly on: boolean;
  readonly reason?: string | undefined;
  /** Milliseconds since 1970. */
  readonly since?: number | undefined;
  /** It is so by `storage.maintenance.readonly`: it cannot be switched off at runtime. */
  readonly configured?: boolean;
}

/** Client to server. The first line says what the connection is for. */
export type Ask =
  /** Starts a job and tells what it does; of one that runs already it only says so. */
  | { readonly ask: 'run'; readonly job: string; readonly options: unknown }
  /** Tells what a running job does, and how it ends. */
  | { readonly ask: 'watch'; readonly job: string }
  /** Ends a running job, by a connection of its own or the one that started it; then tells how it ended. */
  | { readonly ask: 'cancel'; readonly job: string }
  | { readonly ask: 'status' }
  /** Which of these settings it has otherwise: fingerprints by the names of sections. */
  | { readonly ask: 'settings'; readonly of: Readonly<Record<string, string>> }
  | { readonly ask: 'read-only'; readonly change?: { readonly on: boolean; readonly reason?: string } };

/** Server to client. The connection ends after any of them but `started` and `event`. */
export type Told =
  | { readonly tell: 'started'; readonly running: RunningJob }
  | { readonly tell: 'event'; readonly event: JobEvent }
  | { readonly tell: 'ended'; readonly ended: EndedJob }
  /** It is not started: it runs already. */
  | { readonly tell: 'runs-already'; readonly running: RunningJob }
  /** There is no such run to watch or end. */
  | { readonly tell: 'runs-not'; readonly job: string }
  | {
      readonly tell: 'status';
      readonly running: readonly RunningJob[];
      readonly ended: readonly EndedJob[];
      /** Left out by servers that cannot tell. */
      readonly scheduled?: readonly ScheduledNext[];
    }
  /** The names of those that are others. */
  | { readonly tell: 'settings'; readonly others: readonly string[] }
  | { readonly tell: 'read-only'; readonly readOnly: ReadOnlyStatus; readonly underWay?: number }
  | { readonly tell: 'refused'; readonly message: string };
