/**
 * The worker's side of the supervisor. A worker is this same program, started with the same arguments: the entry
 * point asks `isWorker()` before anything else and then does
 *
 *     const start = await workerStart();
 *     const listener = await listen({ address: start.address, reusePort: start.reusePort, ... });
 *     onDrain((isReplaced) => (isReplaced ? listener.handOver() : listener.drain()));
 *     workerReady();
 */
import type { Server } from 'node:net';
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
    process.on('message', (message: ToWorker, socket: unknown) => {
      if (message.kind === 'start') {
        // One that came before is no newer than this.
        unread = undefined;
        resolve(message.start);
      } else if (message.kind === 'renewed') renew(message.message);
      else if (message.kind === 'socket') lentToUs.set(message.name, socket);
      else if (message.kind === 'lend') lend();
      else if (message.kind === 'replaced') end(true);
      else if (message.kind === 'question') void reply(message.id, message.message);
      else for (const listener of listeners) listener(message.message);
    });
    send({ kind: 'here' });
  });
}

/** A renewal that nobody has taken yet: it may come while the start is still at work. */
let unread: { readonly message: unknown } | undefined;

let renew = (message: unknown): void => {
  unread = { message };
};

/** Sets what is done when the supervisor has another `WorkerStart.message`; also with one that came before this call. */
export function onRenewed(listener: (message: unknown) => void): void {
  renew = listener;
  if (unread !== undefined) listener(unread.message);
  unread = undefined;
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

const lentToUs = new Map<string, unknown>();
let ours: Readonly<Record<string, unknown>> = {};

/** The socket that the worker before had under this name: for `ListenOptions.socket`. */
export function lentSocket(name: string): unknown {
  return lentToUs.get(name);
}

/** Sets what is lent to the worker that takes our place: `Listener.socket` by name. */
export function lendSockets(sockets: Readonly<Record<string, unknown>>): void {
  ours = sockets;
}

/** What waits at a socket is lost when the last process closes it, so that it outlives its worker. */
function lend(): void {
  for (const [name, socket] of Object.entries(ours)) {
    if (socket !== undefined) process.send?.({ kind: 'socket', name } satisfies FromWorker, socket as Server);
  }
  send({ kind: 'lent' });
}

let end: (isReplaced: boolean) => void = () => undefined;

/**
 * Sets what is done when the supervisor asks the worker to end, by SIGTERM, or as another one serves in its place: finish
 * what is under way. Until then SIGTERM ends the process at once. The process exits with 0 when that is done, and is killed
 * by the supervisor when it takes too long. One that was replaced may be asked again, to end: no sooner than the first
 * `drain` is done the process exits.
 */
export function onDrain(drain: (isReplaced: boolean) => Promise<void>): void {
  let asked: 'to end' | 'as replaced' | undefined;
  end = (isReplaced) => {
    const before = asked;
    if (before === 'to end') return;
    asked = isReplaced ? 'as replaced' : 'to end';
    const done = drain(isReplaced);
    // The first one waits for all that is under way, and who has been replaced may have to end sooner.
    if (before !== undefined) return void done.catch(() => undefined);
    done.then(
      () => process.exit(0),
      (error: unknown) => {
        process.emitWarning(error instanceof Error ? error : String(error));
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', () => end(false));
}

function send(message: FromWorker, sent?: () => void): void {
  // Without a supervisor (it is gone, or a test) there is nobody to tell.
  if (process.send === undefined) sent?.();
  else process.send(message, undefined, undefined, () => sent?.());
}

function ignore(): void {
  // A handler is what keeps the signal from ending the process.
}
