import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { processEnded, reapProcess } from './reaper.ts';
import { killGroup } from './tools.ts';
import { pause } from './waiting.ts';

/** A server process that this test process started. */
export interface Daemon {
  readonly pid: number;
  /** Standard output and standard error so far, as they came. */
  logs(): string;
  /** The exit code once it has ended (128 + the signal's number after a signal), else undefined. */
  exitCode(): number | undefined;
  /**
   * Sends the signal (SIGTERM unless told) to the process, waits for its end and returns its exit code;
   * what it said last is in the logs then. What is left of its process group is killed after that.
   * @throws Error with the logs when it has not ended after 90 s; it is killed then
   */
  stop(signal?: NodeJS.Signals): Promise<number>;
  /** SIGKILL to the whole process group at once, as a crash of all its processes; returns when it is gone. */
  kill9(): Promise<void>;
}

/** How long a daemon may take to start or to stop, in milliseconds. */
const START_LIMIT = 120_000;
const STOP_LIMIT = 90_000;
/**
 * How long what an ended daemon said last is waited for: its pipes may hold it still, and are open for as long
 * as a process of another group that it left behind has them.
 */
const OUTPUT_LIMIT = 2_000;
const POLL_INTERVAL = 10;
/** Only the end of a long log is kept, so that a verbose daemon cannot fill the memory of the test process. */
const LOG_LIMIT = 4 * 1024 * 1024;

/**
 * Starts a server in a process group of its own and waits until `ready` says that it answers.
 * @throws Error with the logs when it ends before that, or is not ready after 120 s
 */
export async function startDaemon(
  command: string,
  args: readonly string[],
  options: {
    /** Asked every 10 ms; a rejection counts as "not yet". */
    ready: () => Promise<boolean>;
    cwd?: string;
    /** Added to this process's environment; undefined removes a variable. */
    env?: Readonly<Record<string, string | undefined>>;
  },
): Promise<Daemon> {
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let logs = '';
  const collect = (text: string) => {
    logs = (logs + text).slice(-LOG_LIMIT);
  };
  child.stdout.setEncoding('utf8').on('data', collect);
  child.stderr.setEncoding('utf8').on('data', collect);
  let code: number | undefined;
  const ended = new Promise<number>((resolve) => {
    const end = (value: number) => {
      code = value;
      if (child.pid !== undefined) processEnded(child.pid);
      resolve(value);
    };
    child.once('error', (error) => {
      collect(`${error.message}\n`);
      end(127);
    });
    child.once('exit', (value, signal) =>
      end(value ?? 128 + (signal === null ? 0 : constants.signals[signal])),
    );
  });
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const outputRead = () => Promise.race([closed, pause(OUTPUT_LIMIT)]);
  const pid = child.pid ?? -1;
  if (pid > 0) reapProcess(pid);

  const crash = async () => {
    if (pid > 0) killGroup(pid);
    await ended;
  };
  const failure = (what: string) =>
    new Error(`${[command, ...args].join(' ')}\n${what}; its output:\n${logs === '' ? '(none)' : logs}`);

  const deadline = Date.now() + START_LIMIT;
  while (!(await options.ready().catch(() => false))) {
    if (code !== undefined) {
      await outputRead();
      throw failure(`ended with exit code ${code} before it answered`);
    }
    if (Date.now() > deadline) {
      await crash();
      throw failure(`did not answer within ${START_LIMIT} ms`);
    }
    await pause(POLL_INTERVAL);
  }

  return {
    pid,
    logs: () => logs,
    exitCode: () => code,
    stop: async (signal = 'SIGTERM') => {
      if (code !== undefined) return code;
      child.kill(signal);
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<undefined>((resolve) => {
        timer = setTimeout(resolve, STOP_LIMIT, undefined);
      });
      const result = await Promise.race([ended, late]);
      clearTimeout(timer);
      killGroup(pid);
      if (result !== undefined) {
        await outputRead();
        return result;
      }
      await ended;
      throw failure(`did not end within ${STOP_LIMIT} ms of ${signal}`);
    },
    kill9: crash,
  };
}
