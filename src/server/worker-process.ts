import type { ChildProcess } from 'node:child_process';
import type { Server } from 'node:net';
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
  /** Why the process could not even be made. */
  readonly error?: string;
}

/** How a worker's start went. */
export type WorkerOutcome =
  | { readonly kind: 'ready' }
  /** It said itself that a further attempt is useless. */
  | { readonly kind: 'failed'; readonly message: string }
  | ({ readonly kind: 'exited' } & WorkerExit);

/** What a worker listens on, by name, while it is on its way to another. */
export type LentSockets = ReadonlyMap<string, ServerSocket>;

/** A handle of Node's, that has no public declaration. */
interface ServerSocket {
  close(): void;
}

/** A worker that has not lent its sockets within so many milliseconds has none to lend. */
const LEND_MS = 2_000;

/** One running worker process. */
export interface WorkerProcess {
  readonly pid: number | undefined;
  /** Resolves when it serves, or will not. Never rejects. */
  readonly started: Promise<WorkerOutcome>;
  /** Resolves when it has ended. Never rejects. */
  readonly exited: Promise<WorkerExit>;
  /** Asks it to finish what is under way, and kills it when that takes longer than so many milliseconds. */
  drain(timeoutMs: number): Promise<WorkerExit>;
  /** What it listens on, where that can be shared (Node from 22.12 on): to be given to `startWorker`. Never rejects. */
  lend(): Promise<LentSockets>;
  /** Asks it to leave the port to the one that serves in its place, within a second, and to finish what is under way. */
  retire(): void;
  kill(): void;
  /** Asks it something; undefined when it ends before it answers. */
  ask(message: unknown): Promise<unknown>;
  /** Hands it what another worker shared. */
  tell(message: unknown): void;
  /** Hands it another `WorkerStart.message` (`onRenewed`). One that has not read its first one gets none older. */
  renew(message: unknown): void;
}

/**
 * Starts this same program again, with the same arguments, as worker `number`. `onShared` is given what it has for the
 * other workers; `start` is asked when the worker is there to read it, so that it never starts with what was replaced
 * meanwhile; `sockets` are what it listens on instead of new ones, and are closed here.
 */
export async function startWorker(
  number: number,
  start: () => WorkerStart,
  onShared: (message: unknown) => void,
  sockets: LentSockets = new Map(),
): Promise<WorkerProcess> {
  const child = sharesPorts() ? await spawn(number) : await fork(number);
  return observe(child, start, onShared, sockets);
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
  const worker = cluster.fork({ [WORKER_VARIABLE]: String(number) });
  // It repeats what its process says, and without a listener that would end us.
  worker.on('error', () => undefined);
  return worker.process;
}

function observe(
  child: ChildProcess,
  start: () => WorkerStart,
  onShared: (message: unknown) => void,
  sockets: LentSockets,
): WorkerProcess {
  const exited = new Promise<WorkerExit>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    // The process could not even be made; 'exit' does not come then.
    child.on('error', ({ message }) => {
      if (child.pid === undefined) resolve({ code: null, signal: null, error: message });
    });
  });
  // When it ends before it reads this, its exit tells all there is to know.
  const send = (message: ToWorker): void => {
    if (child.connected) child.send(message, () => undefined);
  };
  const begin = (): void => {
    for (const [name, socket] of sockets) {
      const message: ToWorker = { kind: 'socket', name };
      if (child.connected) child.send(message, socket as unknown as Server, {}, () => undefined);
    }
    send({ kind: 'start', start: start() });
  };
  let lending: { readonly sockets: Map<string, ServerSocket>; readonly end: () => void } | undefined;
  const answers = new Map<number, (message: unknown) => void>();
  let questions = 0;
  const started = new Promise<WorkerOutcome>((resolve) => {
    child.on('message', (message: FromWorker, socket: unknown) => {
      if (message.kind === 'shared') onShared(message.message);
      else if (message.kind === 'socket') lending?.sockets.set(message.name, socket as ServerSocket);
      else if (message.kind === 'lent') lending?.end();
      else if (message.kind === 'answer') answers.get(message.id)?.(message.message);
      else if (message.kind !== 'here') resolve(message);
      else begin();
    });
    void exited.then((exit) => resolve({ kind: 'exited', ...exit }));
  });
  // They are in the worker by now, or of no use to it.
  void started.then(() => {
    for (const socket of sockets.values()) socket.close();
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
    async lend() {
      // By Bun and by node:cluster nothing can be lent.
      if (!sharesPorts() || typeof Bun !== 'undefined') return new Map();
      const found = new Map<string, ServerSocket>();
      await new Promise<void>((resolve) => {
        lending = { sockets: found, end: resolve };
        send({ kind: 'lend' });
        setTimeout(resolve, LEND_MS).unref();
        void exited.then(() => resolve());
      });
      return found;
    },
    retire() {
      send({ kind: 'replaced' });
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
    renew(message) {
      send({ kind: 'renewed', message });
    },
  };
}
