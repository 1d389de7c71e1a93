import { setTimeout as delay } from 'node:timers/promises';
import type { WorkerExit, WorkerProcess } from './worker-process.ts';
import type { WorkerStart } from './worker-messages.ts';
import { startWorker } from './worker-process.ts';

/** Takes one line for the operator. */
export type SupervisorLog = (
  level: 'info' | 'warn' | 'error',
  message: string,
  fields: Readonly<Record<string, unknown>>,
) => void;

/** Starts in a row that may fail before a worker counts as unable to start. */
const MAX_FAILED_STARTS = 5;

/** A worker that served for so long (milliseconds) was healthy: its crash counts as a first one. */
const HEALTHY_MS = 10_000;

/** Least and greatest pause (milliseconds) before a restart, from the second failure in a row on. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;

/** Pause in milliseconds before the restart that follows so many failures in a row. */
export function restartPause(failures: number): number {
  if (failures <= 1) return 0;
  return Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (failures - 2));
}

/** The worker cannot start. The message is for the operator. */
export class WorkerCannotStart extends Error {
  override readonly name = 'WorkerCannotStart';
}

export interface SlotEvents {
  /** A worker that served once cannot be started anew. */
  readonly hopeless: (error: WorkerCannotStart) => void;
  /** The worker has something for those of the other slots. */
  readonly onShared: (message: unknown, from: WorkerSlot) => void;
}

/** Keeps one worker running: starts it, starts it anew when it ends unasked, replaces it on request. */
export class WorkerSlot {
  readonly #number: number;
  readonly #start: WorkerStart;
  readonly #log: SupervisorLog;
  readonly #onShared: SlotEvents['onShared'];
  readonly #hopeless: (error: WorkerCannotStart) => void;
  /** Every process that may be alive: the serving one, and during a replacement the other one. */
  readonly #alive = new Set<WorkerProcess>();
  readonly #stopped = new AbortController();
  #serving: WorkerProcess | undefined;
  /** The one that was asked to end although no other serves in its place. */
  #dismissed: WorkerProcess | undefined;
  #readySince = 0;
  /** Ends in a row, of starts and of running workers, for the pause. */
  #failures = 0;

  constructor(number: number, start: WorkerStart, log: SupervisorLog, { hopeless, onShared }: SlotEvents) {
    this.#onShared = onShared;
    this.#number = number;
    this.#start = start;
    this.#log = log;
    this.#hopeless = hopeless;
  }

  /**
   * Starts the worker for the first time and resolves when it serves. What the worker itself calls hopeless is
   * tried once, what merely crashes five times.
   * @throws WorkerCannotStart
   */
  async start(): Promise<void> {
    for (let attempt = 1; !this.#stopped.signal.aborted; attempt += 1) {
      const worker = await this.#launch();
      const outcome = await worker.started;
      if (this.#stopped.signal.aborted) return;
      if (outcome.kind === 'ready') {
        this.#serve(worker);
        return;
      }
      if (outcome.kind === 'failed' && this.#readySince === 0) throw new WorkerCannotStart(outcome.message);
      this.#log('error', `worker ${this.#number} did not start`, { pid: worker.pid, ...describe(outcome) });
      if (attempt === MAX_FAILED_STARTS) {
        throw new WorkerCannotStart(
          `worker ${this.#number} could not start ${attempt} times in a row; its own messages above say why`,
        );
      }
      this.#failures += 1;
      await this.#pause();
    }
  }

  /**
   * Starts a new process beside the old one and lets the old one finish once the new one serves. When the new one
   * does not start the old one stays. With `exclusive` (an address that two cannot share) the old one ends first.
   * @returns whether a new process serves, or (with `exclusive`) is being started
   */
  async replace(options: { drainTimeoutMs: number; exclusive: boolean }): Promise<boolean> {
    const old = this.#serving;
    // Down and about to be started anew: that start is the replacement.
    if (old === undefined || this.#stopped.signal.aborted) return true;
    if (options.exclusive) {
      this.#dismissed = old;
      await old.drain(options.drainTimeoutMs);
      return true;
    }
    const fresh = await this.#launch();
    const outcome = await fresh.started;
    if (this.#stopped.signal.aborted) return false;
    if (outcome.kind !== 'ready') {
      this.#log('error', `worker ${this.#number} was not replaced: the new one did not start`, {
        pid: fresh.pid,
        ...describe(outcome),
      });
      return false;
    }
    this.#serve(fresh);
    this.#log('info', `worker ${this.#number} is replaced`, { pid: fresh.pid, oldPid: old.pid });
    await old.drain(options.drainTimeoutMs);
    return true;
  }

  /** Ends it for good: lets it finish within `drainTimeoutMs`, then kills it. */
  async stop(drainTimeoutMs: number): Promise<void> {
    this.#stopped.abort();
    await Promise.all(
      [...this.#alive].map(async (worker) => {
        const exit = await worker.drain(drainTimeoutMs);
        if (exit.signal === 'SIGKILL' && drainTimeoutMs > 0) {
          this.#log(
            'warn',
            `worker ${this.#number} was killed: its requests took longer than the drain timeout`,
            {
              pid: worker.pid,
              drainTimeoutMs,
            },
          );
        }
      }),
    );
  }

  /** Hands its processes what another worker shared. */
  tell(message: unknown): void {
    for (const worker of this.#alive) worker.tell(message);
  }

  /** What its processes answer; of one that starts it is asked when it serves. One that ends answers undefined. */
  async ask(message: unknown): Promise<readonly unknown[]> {
    return Promise.all(
      [...this.#alive].map(async (worker) => {
        const outcome = await worker.started;
        return outcome.kind === 'ready' ? worker.ask(message) : undefined;
      }),
    );
  }

  /** Ends it for good and at once. */
  kill(): void {
    this.#stopped.abort();
    for (const worker of this.#alive) worker.kill();
  }

  async #launch(): Promise<WorkerProcess> {
    const worker = await startWorker(this.#number, this.#start, (message) => this.#onShared(message, this));
    this.#alive.add(worker);
    void worker.exited.then(() => this.#alive.delete(worker));
    // The stop came while the process was made.
    if (this.#stopped.signal.aborted) worker.kill();
    return worker;
  }

  #serve(worker: WorkerProcess): void {
    this.#serving = worker;
    this.#readySince = performance.now();
    void worker.exited.then((exit) => this.#ended(worker, exit));
  }

  async #ended(worker: WorkerProcess, exit: WorkerExit): Promise<void> {
    // Asked to: the server ends, or another process took its place.
    if (this.#stopped.signal.aborted || this.#serving !== worker) return;
    this.#serving = undefined;
    if (this.#dismissed !== worker) {
      this.#failures = performance.now() - this.#readySince >= HEALTHY_MS ? 1 : this.#failures + 1;
      this.#log('error', `worker ${this.#number} ended unasked and is started again`, {
        pid: worker.pid,
        ...describe(exit),
        pauseMs: restartPause(this.#failures),
      });
      await this.#pause();
    }
    try {
      await this.start();
    } catch (error) {
      this.#hopeless(error instanceof WorkerCannotStart ? error : new WorkerCannotStart(String(error)));
    }
  }

  async #pause(): Promise<void> {
    const pause = restartPause(this.#failures);
    if (pause > 0) await delay(pause, undefined, { signal: this.#stopped.signal }).catch(() => undefined);
  }
}

/** What is worth a log line of how a worker ended. */
function describe(end: WorkerExit | { readonly message: string }): Readonly<Record<string, unknown>> {
  if ('message' in end) return { reason: end.message };
  return end.signal === null ? { exitCode: end.code } : { signal: end.signal };
}
