import { setTimeout as delay } from 'node:timers/promises';
import type { LentSockets, WorkerExit, WorkerOutcome, WorkerProcess } from './worker-process.ts';
import type { WorkerStart } from './worker-messages.ts';
import { startWorker } from './worker-process.ts';

/** Takes one line for the operator. */
export type SupervisorLog = (
  level: 'info' | 'warn' | 'error',
  message: string,
  fields: Readonly<Record<string, unknown>>,
) => void;

/** First starts in a row that may fail before a worker counts as unable to start. */
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

export interface SlotOptions {
  /** The worker has something for those of the other slots. */
  readonly onShared: (message: unknown, from: WorkerSlot) => void;
  /** Milliseconds that a replaced worker has for its requests. */
  readonly replacedLimitMs: number;
  /** For `SuperviseOptions.onlyInWorker`. */
  readonly onlyInWorker?: string | undefined;
}

/** Replaced workers of one slot that may still have requests: each costs the memory of a worker. */
export const MAX_REPLACED = 3;

/**
 * A replaced worker leaves the port within so many milliseconds. The next slot waits for it: while a port is left, some of
 * those who come connect later, and it shall be few at a time.
 */
const LEAVING_MS = 1_000;

/** Keeps one worker running: starts it, starts it anew when it ends unasked, replaces it on request. */
export class WorkerSlot {
  readonly #number: number;
  readonly #start: () => WorkerStart;
  readonly #log: SupervisorLog;
  readonly #onShared: SlotOptions['onShared'];
  readonly #replacedLimitMs: number;
  readonly #onlyInWorker: string | undefined;
  /** Every process that may be alive: the serving one, one that is to take its place, and those that were replaced. */
  readonly #alive = new Set<WorkerProcess>();
  /** Those that were replaced and finish their requests, the oldest first. */
  readonly #replaced = new Set<WorkerProcess>();
  readonly #stopped = new AbortController();
  /** Ends the pause before a restart. */
  #wake = new AbortController();
  #serving: WorkerProcess | undefined;
  /** Another one is on its way to take the place of the serving one: when that ends meanwhile, it is the restart. */
  #isReplacing = false;
  #readySince = 0;
  /** Ends in a row, of starts and of running workers, for the pause. */
  #failures = 0;

  constructor(
    number: number,
    start: () => WorkerStart,
    log: SupervisorLog,
    { onShared, replacedLimitMs, onlyInWorker }: SlotOptions,
  ) {
    this.#number = number;
    this.#start = start;
    this.#log = log;
    this.#onShared = onShared;
    this.#replacedLimitMs = replacedLimitMs;
    this.#onlyInWorker = onlyInWorker;
  }

  /**
   * Starts the worker for the first time and resolves when it serves. What the worker itself calls hopeless is
   * tried once, what merely crashes five times.
   * @throws WorkerCannotStart
   */
  async start(): Promise<void> {
    for (let attempt = 1; !this.#stopped.signal.aborted; attempt += 1) {
      const outcome = await this.#try();
      if (outcome.kind === 'ready') return;
      if (outcome.kind === 'failed') throw new WorkerCannotStart(outcome.message);
      if (attempt === MAX_FAILED_STARTS) {
        throw new WorkerCannotStart(
          `worker ${this.#number} could not start ${attempt} times in a row; its own messages above say why`,
        );
      }
      await this.#pause();
    }
  }

  /**
   * Starts a new process beside the old one, and resolves when the new one serves and the old one has left the port. The
   * old one then finishes its requests, however long they take up to `replacedLimitMs`. When the new one does not start
   * the old one stays, and also where it has something that would end with it. One that is down and about to be started
   * anew is started at once.
   * @returns whether a new process serves, or is being started, or none is wanted
   */
  async replace(): Promise<boolean> {
    const old = this.#serving;
    if (old === undefined || this.#stopped.signal.aborted) {
      this.#wake.abort();
      return true;
    }
    if (this.#onlyInWorker !== undefined) {
      this.#log('warn', `worker ${this.#number} is not replaced: ${this.#onlyInWorker} would be lost`, {
        pid: old.pid,
      });
      return true;
    }
    this.#isReplacing = true;
    const fresh = await this.#launch(await old.lend());
    const outcome = await fresh.started;
    this.#isReplacing = false;
    if (this.#stopped.signal.aborted) return false;
    if (outcome.kind !== 'ready') {
      this.#log('error', `worker ${this.#number} was not replaced: the new one did not start`, {
        pid: fresh.pid,
        ...describe(outcome),
      });
      // It has crashed meanwhile, and this start was to be its restart.
      if (this.#serving !== old) void this.#restart();
      return false;
    }
    const isServing = this.#serving === old;
    this.#serve(fresh);
    this.#log('info', `worker ${this.#number} is replaced`, { pid: fresh.pid, oldPid: old.pid });
    if (!isServing) return true;
    // What ended before the operator's new beginning is no reason to make anybody wait.
    this.#failures = 0;
    void this.#retire(old);
    await Promise.race([old.exited, delay(LEAVING_MS, undefined, { ref: false })]);
    return true;
  }

  /** Lets a replaced one finish what is under way, as long as there is time and few others do so too. */
  async #retire(old: WorkerProcess): Promise<void> {
    old.retire();
    this.#replaced.add(old);
    const [oldest] = this.#replaced;
    if (this.#replaced.size > MAX_REPLACED && oldest !== undefined)
      this.#cut(oldest, `${MAX_REPLACED} that were replaced after it have requests as well`);
    const limit = setTimeout(() => this.#cut(old, 'they took too long'), this.#replacedLimitMs);
    const exit = await old.exited;
    clearTimeout(limit);
    const isCut = !this.#replaced.delete(old);
    if (isCut || exit.code === 0 || this.#stopped.signal.aborted) return;
    this.#log('error', `worker ${this.#number}, replaced before, ended before its requests`, {
      pid: old.pid,
      ...describe(exit),
    });
  }

  #cut(replaced: WorkerProcess, reason: string): void {
    this.#replaced.delete(replaced);
    this.#log('warn', `worker ${this.#number}, replaced before, is ended with its requests`, {
      pid: replaced.pid,
      reason,
    });
    replaced.kill();
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

  /** Hands its processes another `WorkerStart.message`. */
  renew(message: unknown): void {
    for (const worker of this.#alive) worker.renew(message);
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

  async #launch(sockets?: LentSockets): Promise<WorkerProcess> {
    const share = (message: unknown) => this.#onShared(message, this);
    const worker = await startWorker(this.#number, this.#start, share, sockets);
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
    this.#failures = performance.now() - this.#readySince >= HEALTHY_MS ? 1 : this.#failures + 1;
    this.#log('error', `worker ${this.#number} ended unasked and is started again`, {
      pid: worker.pid,
      ...describe(exit),
      pauseMs: this.#isReplacing ? 0 : restartPause(this.#failures),
      ...(this.#onlyInWorker === undefined ? {} : { lost: this.#onlyInWorker }),
    });
    if (!this.#isReplacing) await this.#restart();
  }

  /**
   * Goes on until one serves: what keeps a worker from starting may pass, and to end would cut what the others, and those
   * that were replaced, are at.
   */
  async #restart(): Promise<void> {
    do await this.#pause();
    while (!this.#stopped.signal.aborted && (await this.#try()).kind !== 'ready');
    if (this.#serving !== undefined)
      this.#log('info', `worker ${this.#number} serves again`, { pid: this.#serving.pid });
  }

  /** Starts one; a failure is told, and counted for the pause. */
  async #try(): Promise<WorkerOutcome> {
    const worker = await this.#launch();
    const outcome = await worker.started;
    if (this.#stopped.signal.aborted) return outcome;
    if (outcome.kind === 'ready') {
      this.#serve(worker);
      return outcome;
    }
    this.#failures += 1;
    // The server ends by it, and tells it then.
    if (this.#readySince === 0 && outcome.kind === 'failed') return outcome;
    this.#log('error', `worker ${this.#number} did not start`, {
      pid: worker.pid,
      ...describe(outcome),
      pauseMs: restartPause(this.#failures),
    });
    return outcome;
  }

  async #pause(): Promise<void> {
    const pause = restartPause(this.#failures);
    if (pause === 0) return;
    this.#wake = new AbortController();
    const signal = AbortSignal.any([this.#stopped.signal, this.#wake.signal]);
    await delay(pause, undefined, { signal }).catch(() => undefined);
  }
}

/** What is worth a log line of how a worker ended. */
function describe(end: WorkerExit | { readonly message: string }): Readonly<Record<string, unknown>> {
  if ('message' in end) return { reason: end.message };
  if (end.error !== undefined) return { reason: `its process could not be made: ${end.error}` };
  return end.signal === null ? { exitCode: end.code } : { signal: end.signal };
}
