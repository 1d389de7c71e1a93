/**
 * The worker's side of the supervisor. A worker is this same program, started with the same arguments: the entry
 * point asks `isWorker()` before anything else and then does
 *
 *     const start = await workerStart();
 *     const listener = await listen({ address: start.address, reusePort: start.reusePort, ... });
 *     onDrain(() => listener.drain());
 *     workerReady();
 */
import type { FromWorker, ToWorker, WorkerStart } from './worker-messages.ts';
import { WORKER_VARIABLE } from './worker-messages.ts';

/** Whether this process was started by a supervisor. Costs one look into the environment. */
export function isWorker(): boolean {
  return process.env[WORKER_VARIABLE] !== undefined && process.send !== undefined;
}

/** The worker's number, counted from 0; a replacement has the number of the one it replaces. */
export function workerNumber(): number {
  return Number(process.env[WORKER_VARIABLE] ?? 0);
}

/**
 * Waits for what the supervisor sends to begin with. From here on the process ends when its supervisor vanishes,
 * so that no orphan keeps the port; and it leaves a terminal's SIGINT and SIGHUP, which reach the whole process
 * group, to the supervisor.
 */
export function workerStart(): Promise<WorkerStart> {
  process.on('disconnect', () => process.exit(1));
  process.on('SIGINT', ignore);
  process.on('SIGHUP', ignore);
  return new Promise((resolve) => {
    process.on('message', (message: ToWorker) => {
      if (message.kind === 'start') resolve(message.start);
      else if (message.kind === 'question') void reply(message.id, message.message);
      else for (const listener of listeners) listener(message.message);
    });
    send({ kind: 'here' });
  });
}

const listeners = new Set<(message: unknown) => void>();

let answer: (message: unknown) => Promise<unknown> = () => Promise.resolve(undefined);

/** Sets how the supervisor's questions are answered: plain JSON. To be set before `workerReady`. */
export function onAsked(listener: (message: unknown) => Promise<unknown>): void {
  answer = listener;
}

async function reply(id: number, message: unknown): Promise<void> {
  send({ kind: 'answer', id, message: await answer(message) });
}

/** Tells all other workers something: plain JSON. Those that start later are not told. */
export function shareWithWorkers(message: unknown): void {
  send({ kind: 'shared', message });
}

/** Sets what is done with what other workers share. */
export function onShared(listener: (message: unknown) => void): void {
  listeners.add(listener);
}

/** Tells the supervisor that this worker serves. */
export function workerReady(): void {
  send({ kind: 'ready' });
}

/**
 * Tells the supervisor that this worker cannot start and that another attempt would fail in the same way, and
 * ends the process. At the first start this ends the whole server; the message is what the operator reads.
 */
export function workerFailed(message: string): void {
  send({ kind: 'failed', message }, () => process.exit(1));
}

/**
 * Sets what is done at SIGTERM, by which the supervisor asks the worker to end: finish what is under way. Until
 * then SIGTERM ends the process at once. The process exits with 0 when that is done, and is killed by the supervisor when it takes too long.
 */
export function onDrain(drain: () => Promise<void>): void {
  let draining = false;
  const begin = (): void => {
    if (draining) return;
    draining = true;
    drain().then(
      () => process.exit(0),
      (error: unknown) => {
        process.emitWarning(error instanceof Error ? error : String(error));
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', begin);
}

function send(message: FromWorker, sent?: () => void): void {
  // Without a supervisor (it is gone, or a test) there is nobody to tell.
  if (process.send === undefined) sent?.();
  else process.send(message, undefined, undefined, () => sent?.());
}

function ignore(): void {
  // A handler is what keeps the signal from ending the process.
}
