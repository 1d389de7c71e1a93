/**
 * The parent of the server: one worker process a core, all on one port, restarted when they crash, drained when
 * the server is asked to end. It touches no request, and loads little, so that it costs hardly any time or memory.
 */
import type { Address } from './listener.ts';
import type { SupervisorLog, WorkerCannotStart } from './worker-slot.ts';
import { unlink } from 'node:fs/promises';
import { isatty } from 'node:tty';
import { listen, sharesPorts } from './runtime.ts';
import { WorkerSlot } from './worker-slot.ts';

/** All processes that serve. */
export interface Workers {
  /** Asks each of them (`onAsked`), and gives what they answer; of those that end meanwhile, undefined. */
  ask(message: unknown): Promise<readonly unknown[]>;
}

export interface SuperviseOptions {
  /** Processes that serve; at least 1. A unix socket cannot be shared and always has one. */
  readonly workers: number;
  /** A port of 0 is resolved once, so that all workers share it. */
  readonly address: Address;
  /** Given to every worker (`WorkerStart.message`); plain JSON. */
  readonly startMessage: unknown;
  /** Milliseconds that requests under way may take after SIGTERM or SIGINT; 0 cuts them at once. */
  readonly drainTimeoutMs: number;
  readonly log: SupervisorLog;
  /** Called once, when every worker serves. */
  readonly onReady: (address: Address, workers: Workers) => void;
  /** Called once, when the server begins to end. */
  readonly onEnding?: () => void;
}

/** Least time (milliseconds) that a replaced worker has for its requests: nothing waits for it. */
const REPLACED_DRAIN_MS = 60_000;

/** A second SIGINT within so many milliseconds is the first one, told twice. */
const REPEATED_MS = 500;

/** Exit code after a second SIGINT, as a shell has it. */
const INTERRUPTED = 130;

/**
 * Runs the workers until the server is told to end. SIGTERM and SIGINT drain, a second one ends at once; SIGHUP
 * replaces the workers one by one.
 * @returns the exit code for the process: 0 after a drain, 1 when a worker could not be started again
 * @throws AddressUnavailable when the address cannot be listened on
 * @throws WorkerCannotStart when the workers cannot start at all
 */
export async function supervise(options: SuperviseOptions): Promise<number> {
  const address = await proveFree(options.address);
  const shared = !('unix' in address);
  const start = { address, reusePort: shared && sharesPorts(), message: options.startMessage };
  let over = false;
  let end: (how: End) => void = () => undefined;
  const ended = new Promise<End>((resolve) => {
    end = (how) => {
      over = true;
      resolve(how);
    };
  });
  const slots: readonly WorkerSlot[] = Array.from(
    { length: shared ? Math.max(1, options.workers) : 1 },
    (_, number) =>
      new WorkerSlot(number, start, options.log, {
        hopeless: (error) => end({ error }),
        onShared(message, from) {
          for (const slot of slots) if (slot !== from) slot.tell(message);
        },
      }),
  );
  // Signals count from now on: one during the start must not leave workers behind.
  const forget = onSignals(end, slots, replacer(slots, options, !shared));
  try {
    await Promise.race([ended, Promise.all(slots.map((slot) => slot.start()))]);
    const ask = async (message: unknown) =>
      (await Promise.all(slots.map((slot) => slot.ask(message)))).flat();
    if (!over) options.onReady(address, { ask });
    const how = await ended;
    options.onEnding?.();
    return await finish(how, slots, options);
  } finally {
    for (const slot of slots) slot.kill();
    forget();
    if ('unix' in address) await unlink(address.unix).catch(() => undefined);
  }
}

/** What makes the server end: the signal it was told by, or the worker that cannot be started. */
type End = { readonly signal: 'SIGTERM' | 'SIGINT' } | { readonly error: WorkerCannotStart };

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

async function finish(how: End, slots: readonly WorkerSlot[], options: SuperviseOptions): Promise<number> {
  const { log, drainTimeoutMs } = options;
  if ('error' in how) log('error', how.error.message, {});
  else log('info', `${how.signal}: finishing what is under way`, { drainTimeoutMs });
  await Promise.all(slots.map((slot) => slot.stop(drainTimeoutMs)));
  return 'error' in how ? 1 : 0;
}

/** Replaces the workers one after the other. Asked again while it is at it, it does so once more afterwards. */
function replacer(slots: readonly WorkerSlot[], options: SuperviseOptions, exclusive: boolean): () => void {
  const drainTimeoutMs = Math.max(options.drainTimeoutMs, REPLACED_DRAIN_MS);
  let asked = false;
  let busy = false;
  const run = async (): Promise<void> => {
    busy = true;
    while (asked) {
      asked = false;
      options.log('info', 'SIGHUP: replacing the workers one by one', { workers: slots.length });
      for (const slot of slots) {
        // What keeps one from starting keeps all: the old ones go on.
        if (!(await slot.replace({ drainTimeoutMs, exclusive }))) break;
      }
    }
    busy = false;
  };
  return () => {
    asked = true;
    if (!busy) void run();
  };
}

/** Handles the signals until the returned function is called. */
function onSignals(end: (how: End) => void, slots: readonly WorkerSlot[], replace: () => void): () => void {
  let since = 0;
  const terminate = (signal: 'SIGTERM' | 'SIGINT'): void => {
    if (since === 0) {
      since = performance.now();
      end({ signal });
      return;
    }
    // One Ctrl-C may arrive twice, by the terminal and by npm or another wrapper that forwards it.
    if (signal !== 'SIGINT' || performance.now() - since < REPEATED_MS) return;
    for (const slot of slots) slot.kill();
    process.exit(INTERRUPTED);
  };
  // A closed terminal says SIGHUP as well, and then nobody wants the server to go on.
  const hangUp = isatty(0) ? () => terminate('SIGTERM') : replace;
  process.on('SIGTERM', terminate);
  process.on('SIGINT', terminate);
  process.on('SIGHUP', hangUp);
  return () => {
    process.off('SIGTERM', terminate);
    process.off('SIGINT', terminate);
    process.off('SIGHUP', hangUp);
  };
}
