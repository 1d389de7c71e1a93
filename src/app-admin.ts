/** What the supervisor does beside serving: upkeep, and what commands ask of it. A part of the composition root. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Socket } from 'node:net';
import { type AdminSocket, AdminSocketUnavailable, listenForAdmin } from './admin/admin-socket.ts';
import { answerAdmin } from './admin/desk.ts';
import { JobBoard, type StartJob } from './admin/job-board.ts';
import { ReadOnlySwitch } from './admin/read-only-switch.ts';
import { Schedule } from './admin/schedule.ts';
import { hasOnlyTold, isJobName, runJob, scheduledJobs, timetables } from './app-upkeep.ts';
import type { Upkeep } from './app-debug.ts';
import { lastRuns, rememberRun } from './app-last-runs.ts';
import { otherSettings } from './app-settings.ts';
import type { ConfigInForce } from './app-in-force.ts';
import type { Config } from './config/config.ts';
import type { Logger } from './log.ts';
import type { JobEvent } from './server/job-messages.ts';
import { startJob } from './server/job-process.ts';
import type { Workers } from './server/supervisor.ts';
import { jobNote, noteJob, noteReadOnly, readOnlyNote } from './store/notes.ts';
import type { Objects } from './store/objects.ts';

/** The upkeep of a server that runs. */
export interface Administration {
  /** Stops jobs that run, and starts none any more. */
  close(): Promise<void>;
  /** What it does at the moment. */
  observe(): Upkeep;
  /** Takes up timetables that have changed. Each job starts with the configuration in force anyway. */
  renew(): void;
}

/** How long a start, or an end, waits for what is tried to listen for commands, in milliseconds. */
const TRY_TAKES = 2_000;

/** How often it is tried to listen for commands where another server does, in milliseconds. */
const LISTEN_AGAIN = 30_000;

/**
 * Begins upkeep by schedule, and answers commands until it is closed. Each job starts with the configuration in force. Not
 * for what is in memory, which only its worker knows.
 */
export function administer(
  inForce: Pick<ConfigInForce, 'config' | 'look'>,
  objects: Objects,
  workers: Workers,
  commands: CommandSocket,
  log: Logger,
): Administration {
  const { config } = inForce;
  // A job keeps the tags that the rules of its own day protect.
  const start: StartJob = (job, options, onEvent) =>
    startJob({ job, options, config: inForce.config }, onEvent);
  const board = new JobBoard(start, log, hasOnlyTold, {
    remember: (ended) => rememberRun(objects, ended),
    recall: async () => (await lastRuns(objects)).flatMap(({ last }) => last ?? []),
  });
  const readOnly = new ReadOnlySwitch({
    isConfigured: config.storage.readOnly,
    read: () => readOnlyNote(objects),
    write: (note) => noteReadOnly(objects, note),
    async tell(question) {
      const answers = await workers.ask(question);
      return answers.reduce<number>((sum, answer) => sum + (typeof answer === 'number' ? answer : 0), 0);
    },
    onOn: () => board.stop('the registry is in read-only mode'),
    log: (message, fields) => log.info(message, fields),
  });
  readOnly.start();
  const next = new Map<string, number | undefined>();
  const schedule = new Schedule({
    jobs: () => scheduledJobs(inForce.config),
    lastRun: (job) => jobNote(objects, job),
    noteRun: (job, run) => noteJob(objects, job, run),
    start(job, options) {
      const started = board.start(job, options, 'schedule');
      return started?.isNew === true ? started.run : undefined;
    },
    isPaused: () => readOnly.isOn,
    onFailure: (job, error) => log.error('upkeep could not be started', { job, error: String(error) }),
    onNext: (job, at) => next.set(job, at),
  });
  commands.answerBy((socket) =>
    answerAdmin(socket, {
      board,
      isJob: isJobName,
      scheduled: () =>
        timetables(inForce.config).map(({ job, isEnabled }) => ({ job, isEnabled, nextAt: next.get(job) })),
      async settings(asked) {
        // What the file says by now counts.
        await inForce.look();
        return otherSettings(inForce.config, asked);
      },
      async readOnly(change) {
        const underWay = change === undefined ? 0 : await readOnly.change(change.on, change.reason);
        return { readOnly: readOnly.status, ...(underWay > 0 ? { underWay } : {}) };
      },
    }),
  );
  return {
    observe: () => ({ isReadOnly: readOnly.isOn, running: board.running.map(({ job }) => job) }),
    renew: () => schedule.renew(),
    async close() {
      schedule.end();
      readOnly.stop();
      await board.close();
      await commands.close();
    },
  };
}

/** Where commands come in. */
export interface CommandSocket {
  /** Has them answered from now on, also those that have come before. */
  answerBy(answer: (socket: Socket) => void): void;
  close(): Promise<void>;
}

/**
 * Listens for commands, and where that cannot be tells why and tries again: the server that has the socket may end first.
 * Resolves when it was tried once: whoever sees the server serve can ask it.
 */
export async function listenForCommands({ admin }: Config, log: Logger): Promise<CommandSocket> {
  const { socket: path } = admin;
  if (path === undefined) return { answerBy: () => undefined, close: () => Promise.resolve() };
  let answerBy: CommandSocket['answerBy'] = () => undefined;
  const answerer = new Promise<(socket: Socket) => void>((resolve) => {
    answerBy = resolve;
  });
  const onConnection = (socket: Socket): void => {
    // A client may leave while it waits.
    socket.on('error', () => undefined);
    void answerer.then((answer) => answer(socket));
  };
  let isClosed = false;
  let told = '';
  let timer: NodeJS.Timeout | undefined;
  const listen = async (): Promise<AdminSocket | undefined> => {
    try {
      const socket = await listenForAdmin(path, onConnection);
      if (!isClosed) return socket;
      // It was not waited for.
      await socket.close();
      return undefined;
    } catch (error) {
      if (!(error instanceof AdminSocketUnavailable)) throw error;
      if (told !== error.message) log.warn(`commands cannot ask this server: ${error.message}`);
      told = error.message;
      if (!isClosed) timer = setTimeout(again, LISTEN_AGAIN).unref();
      return undefined;
    }
  };
  const again = (): void => {
    listening = listen();
  };
  let listening = listen();
  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    isClosed = true;
    clearTimeout(timer);
    await (await soon(listening))?.close();
  };
  await soon(listening);
  return { answerBy, close: () => (closed ??= close()) };
}

/** A folder that hangs keeps nobody from pulling, and no server from its end. */
function soon<T>(listening: Promise<T>): Promise<T | undefined> {
  return Promise.race([listening, delay(TRY_TAKES, undefined, { ref: false })]);
}

/** The upkeep of a registry in memory, which only the process that serves it can do. */
export function keepUpInMemory(
  inForce: () => Config,
  objects: Objects,
  log: Logger,
): Pick<Schedule, 'renew' | 'end'> {
  const config = inForce();
  const begin: StartJob = async (job, options, onEvent) => {
    if (!isJobName(job)) throw new Error(`${job}: there is no such job`);
    const stopped = new AbortController();
    const { signal } = stopped;
    const stop = (): void => stopped.abort(new Error('it was asked to end'));
    const tell = (event: JobEvent): void => void onEvent(event);
    const outcome = runJob(job, options, {
      config: inForce(),
      objects,
      log,
      signal,
      exclusive: false,
      onEvent: tell,
    });
    return { pid: process.pid, outcome, stop, kill: stop };
  };
  const board = new JobBoard(begin, log, hasOnlyTold);
  const schedule = new Schedule({
    jobs: () => scheduledJobs(inForce()),
    lastRun: (job) => jobNote(objects, job),
    noteRun: (job, run) => noteJob(objects, job, run),
    start: (job, options) => board.start(job, options, 'schedule')?.run,
    isPaused: () => config.storage.readOnly,
    onFailure: (job, error) => log.error('upkeep could not be started', { job, error: String(error) }),
  });
  return {
    renew: () => schedule.renew(),
    end() {
      schedule.end();
      void board.close();
    },
  };
}
