/**
 * The parent of the server: one worker process a core, all on one port, restarted when they crash, drained when
 * the server is asked to end. It touches no request, and loads little, so that it costs hardly any time or memory.
 */
import type { Address } from './listener.ts';
import type { SupervisorLog } from './worker-slot.ts';
import { closeSync, fstatSync, openSync, readlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { isatty } from 'node:tty';
import { clearStaleSocket } from './address.ts';
import { listen, sharesPorts } from './runtime.ts';
import { WorkerSlot } from './worker-slot.ts';

/** All processes that serve. */
export interface Workers {
  /** Asks each of them (`onAsked`), and gives what they answer; of those that end meanwhile, undefined. */
  ask(message: unknown): Promise<readonly unknown[]>;
  /** Hands each of them another `startMessage` (`onRenewed`); also those that are on their way in or out. */
  renew(message: unknown): void;
}

export interface SuperviseOptions {
  /** Processes that serve; at least 1. A unix socket cannot be shared and always has one. */
  readonly workers: number;
  /** A port of 0 is resolved once, so that all workers share it. */
  readonly address: Address;
  /** What is given to a worker that starts now (`WorkerStart.message`): plain JSON. */
  readonly startMessage: () => unknown;
  /** Milliseconds that requests under way may take after SIGTERM or SIGINT; 0 cuts them at once. */
  readonly drainTimeoutMs: number;
  /** Milliseconds that requests under way may take in a worker that SIGHUP has replaced; by default a day. */
  readonly replacedLimitMs?: number;
  /** What a worker has that nobody else has, for messages: SIGHUP replaces none then. */
  readonly onlyInWorker?: string;
  readonly log: SupervisorLog;
  /** Called once, when the address was found free; the workers start when the promise is kept. Must not reject. */
  readonly onFree?: () => Promise<void>;
  /** Called once, when every worker serves. */
  readonly onReady: (address: Address, workers: Workers) => void;
  /** Called at SIGHUP; workers are replaced when the promise is kept, or after 2 s. Must not reject. */
  readonly onReplacing?: () => Promise<void>;
  /** Called once, when the server begins to end. */
  readonly onEnding?: () => void;
}

/** Nothing waits for a replaced worker, and what does not move in it is cut by its own limits. In milliseconds. */
const REPLACED_LIMIT_MS = 24 * 60 * 60_000;

/** A file system that hangs must not keep SIGHUP from what it can do without. In milliseconds. */
const REPLACING_MS = 2_000;

/** A second signal to end within so many milliseconds is the first one, told twice. */
const REPEATED_MS = 500;

/** Exit codes after a second signal to end, as a shell has them. */
const CUT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

/**
 * Runs the workers until the server is told to end. SIGTERM and SIGINT drain, a second one ends at once; SIGHUP
 * replaces the workers one by one.
 * @returns the exit code for the process: 0 after a drain
 * @throws AddressUnavailable when the address cannot be listened on
 * @throws WorkerCannotStart when the workers cannot start at all
 */
export async function supervise(options: SuperviseOptions): Promise<number> {
  const address = await proveFree(options.address);
  const shared = !('unix' in address);
  const reusePort = !shared || sharesPorts();
  const start = () => ({ address, reusePort, message: options.startMessage() });
  let over = false;
  let end: (signal: EndSignal) => void = () => undefined;
  const ended = new Promise<EndSignal>((resolve) => {
    end = (signal) => {
      over = true;
      resolve(signal);
    };
  });
  const slots: readonly WorkerSlot[] = Array.from(
    { length: shared ? Math.max(1, options.workers) : 1 },
    (_, number) =>
      new WorkerSlot(number, start, options.log, {
        replacedLimitMs: options.replacedLimitMs ?? REPLACED_LIMIT_MS,
        onlyInWorker: options.onlyInWorker,
        onShared(message, from) {
          for (const slot of slots) if (slot !== from) slot.tell(message);
        },
      }),
  );
  // Signals count from now on: one during the start must not leave workers behind.
  const forget = onSignals(end, slots, replacer(slots, options));
  try {
    await options.onFree?.();
    if (!over) await Promise.race([ended, Promise.all(slots.map((slot) => slot.start()))]);
    const ask = async (message: unknown) =>
      (await Promise.all(slots.map((slot) => slot.ask(message)))).flat();
    const renew = (message: unknown): void => {
      for (const slot of slots) slot.renew(message);
    };
    if (!over) options.onReady(address, { ask, renew });
    const signal = await ended;
    options.onEnding?.();
    options.log('info', `${signal}: finishing what is under way`, { drainTimeoutMs: options.drainTimeoutMs });
    await Promise.all(slots.map((slot) => slot.stop(options.drainTimeoutMs)));
    return 0;
  } finally {
    for (const slot of slots) slot.kill();
    forget();
    // Another server may have the path by now, which takes it as soon as nobody answers there. The inode would not tell: the
    // next socket often has the number of one that was just removed.
    if ('unix' in address) await clearStaleSocket(address.unix).catch(() => undefined);
  }
}

/** What makes the server end. */
type EndSignal = 'SIGTERM' | 'SIGINT';

/**
 * Proves that the address is free, without sharing it, and resolves port 0. The workers bind it again.
 * @throws AddressUnavailable
 */
export async function proveFree(address: Address): Promise<Address> {
  const probe = await listen({
    address,
    reusePort: false,
    idleSeconds: 10,
    handler: () => Promise.resolve(new Response(null, { status: 503 })),
  });
  await probe.close();
  return 'unix' in address ? address : { hostname: address.hostname, port: probe.port };
}

/** Replaces the workers one after the other. Asked again while it is at it, it does so once more afterwards. */
function replacer(
  slots: readonly WorkerSlot[],
  { log, onReplacing = () => Promise.resolve() }: Pick<SuperviseOptions, 'log' | 'onReplacing'>,
): () => void {
  let asked = false;
  let busy = false;
  const run = async (): Promise<void> => {
    busy = true;
    while (asked) {
      asked = false;
      log('info', 'SIGHUP: replacing the workers one by one', { workers: slots.length });
      await Promise.race([onReplacing(), delay(REPLACING_MS, undefined, { ref: false })]);
      for (const slot of slots) {
        // What keeps one from starting keeps all: the old ones go on.
        if (!(await slot.replace())) break;
      }
    }
    busy = false;
  };
  return () => {
    asked = true;
    if (!busy) void run();
  };
}

/** Node aborts at its end, after all is done, when it cannot set back a terminal that was closed. */
function forgetTerminal(): void {
  for (const fd of [0, 1, 2]) {
    if (!isHungUp(fd)) continue;
    closeSync(fd);
    openSync('/dev/null', 'r+'); // gets the lowest number that is free, which is this one
  }
}

/** A terminal that was closed answers nothing any more. */
function isHungUp(fd: number): boolean {
  try {
    return fstatSync(fd).isCharacterDevice() && readlinkSync(`/proc/self/fd/${fd}`).includes('(deleted)');
  } catch {
    return false;
  }
}

/** Handles the signals until the returned function is called. */
function onSignals(
  end: (signal: EndSignal) => void,
  slots: readonly WorkerSlot[],
  replace: () => void,
): () => void {
  let since = 0;
  const terminate = (signal: EndSignal): void => {
    if (since === 0) {
      since = performance.now();
      end(signal);
      return;
    }
    // One Ctrl-C may arrive twice, by the terminal and by npm or another wrapper that forwards it; and so may the end of
    // a whole process group, or of a service's.
    if (performance.now() - since < REPEATED_MS) return;
    for (const slot of slots) slot.kill();
    process.exit(CUT_CODES[signal]);
  };
  const terminals = [0, 1, 2].filter((fd) => isatty(fd));
  // A terminal that closes says SIGHUP as well, and nobody wants the server to go on then: what was one before is none any
  // more (EIO). One that is still there, as in a container with `docker run -t`, has nothing to do with the signal, and no
  // more has one whose input and outputs are all elsewhere, as by `nohup`.
  const hangUp = (): void => {
    if (terminals.every((fd) => isatty(fd))) return replace();
    forgetTerminal();
    // A shell and the terminal may both tell it, at any time: nobody asks twice by it.
    if (since === 0) terminate('SIGTERM');
  };
  process.on('SIGTERM', terminate);
  process.on('SIGINT', terminate);
  process.on('SIGHUP', hangUp);
  return () => {
    process.off('SIGTERM', terminate);
    process.off('SIGINT', terminate);
    process.off('SIGHUP', hangUp);
  };
}
