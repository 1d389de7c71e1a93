import type { FromJob, JobEvent, JobOutcome, JobStart, ToJob } from './job-messages.ts';
import { JOB_VARIABLE } from './job-messages.ts';
import { spawnSelf } from './spawn-self.ts';

/** Milliseconds that a job has to end in after it was asked to; it is killed then. */
const STOP_TIME = 20_000;

/** A job that runs in a process of its own. */
export interface JobProcess {
  readonly pid: number | undefined;
  /** Resolves when the process has ended, however it did. Never rejects. */
  readonly outcome: Promise<JobOutcome>;
  /** Asks it to end, and kills it when it does not. */
  stop(): void;
  kill(): void;
}

/**
 * Starts a job in a process of its own: whatever becomes of it, the server goes on. `onEvent` is given what it tells;
 * until its promise is kept, no more than a bounded number of items come.
 */
export async function startJob(
  start: JobStart,
  onEvent: (event: JobEvent) => Promise<void> | undefined,
): Promise<JobProcess> {
  const child = await spawnSelf({ [JOB_VARIABLE]: start.job });
  const send = (message: ToJob): void => {
    if (child.connected) child.send(message, () => undefined);
  };
  let told: JobOutcome | undefined;
  let stopTimer: NodeJS.Timeout | undefined;
  child.on('message', (message: FromJob) => {
    if (message.kind === 'here') send({ kind: 'start', start });
    else if (message.kind === 'end') told = message.outcome;
    else pass(message.event);
  });
  const pass = (event: JobEvent): void => {
    const passed = onEvent(event) ?? Promise.resolve();
    if (event.kind !== 'items') return;
    const taken = () => send({ kind: 'taken', count: event.items.length });
    passed.then(taken, taken);
  };
  const outcome = new Promise<JobOutcome>((resolve) => {
    child.once('close', (code, signal) => {
      clearTimeout(stopTimer);
      // So early that it did not listen yet.
      if (stopTimer !== undefined && signal === 'SIGTERM')
        told ??= { kind: 'stopped', message: 'it was asked to end' };
      const how = signal === null ? `with exit code ${code}` : `by ${signal}`;
      resolve(told ?? { kind: 'failed', message: `its process (${child.pid}) ended unasked, ${how}` });
    });
    child.on('error', (error) => {
      // The process could not even be made; 'close' does not come then.
      if (child.pid === undefined) resolve({ kind: 'failed', message: error.message });
    });
  });
  return {
    pid: child.pid,
    outcome,
    stop() {
      child.kill('SIGTERM');
      stopTimer ??= setTimeout(() => child.kill('SIGKILL'), STOP_TIME);
    },
    kill: () => void child.kill('SIGKILL'),
  };
}
