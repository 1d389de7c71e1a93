import type { ChildProcess } from 'node:child_process';
import type { FromWorker, ToWorker, WorkerStart } from './worker-messages.ts';
import { sharesPorts } from './runtime.ts';
import { spawnSelf } from './spawn-self.ts';
import { WORKER_VARIABLE } from './worker-messages.ts';

/** Threads for file work: most of them wait for the disk, and syncs that wait together share a journal commit. */
const THREADS = '16';

/** How a worker ended. */
export interface WorkerExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** How a worker's start went. */
export type WorkerOutcome =
  | { readonly kind: 'ready' }
  /** It said itself that a further attempt is useless. */
  | { readonly kind: 'failed'; readonly message: string }
  | ({ readonly kind: 'exited' } & WorkerExit);

/** One running worker process. */
export interface WorkerProcess {
  readonly pid: number | undefined;
  /** Resolves when it serves, or will not. Never rejects. */
  readonly started: Promise<WorkerOutcome>;
  /** Resolves when it has ended. Never rejects. */
  readonly exited: Promise<WorkerExit>;
  /** Asks it to finish what is under way, and kills it when that takes longer than so many milliseconds. */
  drain(timeoutMs: number): Promise<WorkerExit>;
  kill(): void;
  /** Asks it something; undefined when it ends before it answers. */
  ask(message: unknown): Promise<unknown>;
  /** Hands it what another worker shared. */
  tell(message: unknown): void;
}

/**
 * Starts this same program again, with the same arguments, as worker `number`. `onShared` is given what it has for the
 * other workers.
 */
export async function startWorker(
  number: number,
  start: WorkerStart,
  onShared: (message: unknown) => void,
): Promise<WorkerProcess> {
  const child = sharesPorts() ? await spawn(number) : await fork(number);
  return observe(child, start, onShared);
}

function spawn(number: number): Promise<ChildProcess> {
  const threads = process.env['UV_THREADPOOL_SIZE'] ?? THREADS;
  return spawnSelf({ UV_THREADPOOL_SIZE: threads, [WORKER_VARIABLE]: String(number) });
}

/**
 * Node 20 cannot share a port, so there the parent accepts the connections (`node:cluster`) and hands them to the
 * workers in turn. Its defect: a connection that comes in the moment of a drain may be left waiting until the end.
 */
async function fork(number: number): Promise<ChildProcess> {
  const { default: cluster } = await import('node:cluster');
  cluster.setupPrimary({ stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  return cluster.fork({ [WORKER_VARIABLE]: String(number) }).process;
}

function observe(
  child: ChildProcess,
  start: WorkerStart,
  onShared: (message: unknown) => void,
): WorkerProcess {
  const exited = new Promise<WorkerExit>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    // The process could not even be made; 'exit' does not come then.
    child.on('error', () => {
      if (child.pid === undefined) resolve({ code: null, signal: null });
    });
  });
  const given: ToWorker = { kind: 'start', start };
  // When it ends before it reads this, its exit tells all there is to know.
  const send = (message: ToWorker): void => {
    if (child.connected) child.send(message, () => undefined);
  };
  const answers = new Map<number, (message: unknown) => void>();
  let questions = 0;
  const started = new Promise<WorkerOutcome>((resolve) => {
    child.on('message', (message: FromWorker) => {
      if (message.kind === 'shared') onShared(message.message);
      else if (message.kind === 'answer') answers.get(message.id)?.(message.message);
      else if (message.kind !== 'here') resolve(message);
      else send(given);
    });
    void exited.then((exit) => resolve({ kind: 'exited', ...exit }));
  });
  return {
    pid: child.pid,
    started,
    exited,
    async drain(timeoutMs) {
      if (timeoutMs > 0) child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
      const exit = await exited;
      clearTimeout(timer);
      return exit;
    },
    kill() {
      child.kill('SIGKILL');
    },
    async ask(message) {
      const id = (questions += 1);
      const answered = new Promise<unknown>((resolve) => answers.set(id, resolve));
      send({ kind: 'question', id, message });
      const answer = await Promise.race([answered, exited.then(() => undefined)]);
      answers.delete(id);
      return answer;
    },
    tell(message) {
      send({ kind: 'shared', message });
    },
  };
}
