/** Runs a piece of upkeep by a command: the server that runs does it, and without one it is done here. */
import { isFull, isUnwritable } from '../drivers/driver.ts';
import { statSync } from 'node:fs';
import { SocketForbidden } from '../admin/admin-socket.ts';
import { askServer, type Conversation } from '../admin/client.ts';
import type { EndedJob, RunningJob, Told } from '../admin/messages.ts';
import { loggerFor, openForReading, openForUpkeep } from '../app.ts';
import { rememberRun } from '../app-last-runs.ts';
import { settingsOf } from '../app-settings.ts';
import { hasOnlyTold, isJobName, onlyReads, onlyTells, runJob } from '../app-upkeep.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { StartFailure } from '../start-failure.ts';
import { Objects } from '../store/objects.ts';
import {
  type StorageUse,
  StorageTaken,
  useStorage,
  useStorageAlone,
  useUntold,
} from '../store/storage-users.ts';
import { CommandFailure, type CommandIo } from './command-io.ts';
import { formatTime } from './format.ts';
import { EXIT, JobReport, type ReportStyle } from './job-report.ts';

export interface JobCommand {
  readonly job: string;
  /** What is asked of it: plain JSON. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly file?: string | undefined;
  /** Of one that runs already, show what it does. */
  readonly watch?: boolean | undefined;
  readonly style: ReportStyle;
}

/** The configuration of storage that other processes can see. @throws CommandFailure */
export async function loadForStorage(file: string | undefined, io: CommandIo): Promise<Config> {
  const { config } = await loadConfig({ ...(file === undefined ? {} : { file }), env: io.env });
  const { driver } = config.storage;
  if (driver.kind === 'inmemory') {
    throw new CommandFailure('storage: what is kept in memory is known to the server alone');
  }
  // A path with a slip in it must not make an empty registry.
  try {
    statSync(driver.rootDirectory);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const isMissing = code === 'ENOENT' || code === 'ENOTDIR';
    const advice = code === 'EACCES' ? "; run this as the server's user, by `sudo -u`" : '';
    throw new CommandFailure(
      `storage.filesystem.rootdirectory: ${driver.rootDirectory}: ${isMissing ? 'there is no such folder' : `${message}${advice}`}`,
    );
  }
  return config;
}

/** Asks the server that the configuration is of. @returns undefined when none runs here @throws CommandFailure, also while it tells */
export async function askRunning(
  { admin }: Config,
  ask: Parameters<typeof askServer>[1],
): Promise<Conversation | undefined> {
  if (admin.socket === undefined) return undefined;
  const what = 'job' in ask ? `${ask.job}: ` : '';
  try {
    const conversation = await askServer(admin.socket, ask);
    if (conversation === undefined) return undefined;
    return { ...conversation, told: () => heard(conversation.told(), what) };
  } catch (error) {
    const message = `the server cannot be asked: ${(error as Error).message}`;
    throw error instanceof SocketForbidden ? new ServerForbidden(message) : new CommandFailure(message);
  }
}

/** @throws CommandFailure where the conversation breaks off */
async function* heard(told: AsyncIterable<Told>, what: string): AsyncIterable<Told> {
  try {
    yield* told;
  } catch (error) {
    throw new CommandFailure(`${what}${(error as Error).message}`);
  }
}

/** There may be a server, of another user. */
class ServerForbidden extends CommandFailure {}

/** Runs the job to its end and shows it. @returns the exit code, see `EXIT` @throws CommandFailure */
export async function runJobCommand(command: JobCommand, io: CommandIo): Promise<number> {
  const { file, style } = command;
  const config = await loadForStorage(file, io);
  const report = new JobReport(io, style);
  // Listened for before the job can have begun.
  const interrupt = new Interrupt();
  try {
    return await runSomewhere(config, command, report, interrupt);
  } finally {
    interrupt.forget();
  }
}

async function runSomewhere(
  config: Config,
  command: JobCommand,
  report: JobReport,
  interrupt: Interrupt,
): Promise<number> {
  const { job, options, watch = false } = command;
  const isTelling = onlyTells(options);
  const difference = await differenceOf(config, command, {
    isTelling,
    mayOnlyRead: isJobName(job) && onlyReads(job, config, options),
  });
  if (difference !== undefined) {
    report.note(difference);
    return doHere(config, command, report, interrupt);
  }
  const conversation = await askRunning(config, { ask: 'run', job, options });
  if (conversation !== undefined) {
    const running = await follow(conversation, job, report, interrupt);
    if (typeof running === 'number') return running;
    interrupt.forget();
    if (!watch) throw new CommandFailure(runsAlready(running));
    report.note(`${describeRun(running)}: watching it`);
    return watchJob(config, job, report);
  }
  return doHere(config, command, report, interrupt);
}

/** By this process. @returns the exit code */
async function doHere(...run: Parameters<typeof runHere>): Promise<number> {
  const [, , report] = run;
  try {
    return report.end(await runHere(...run));
  } catch (error) {
    if (error instanceof StorageTaken || error instanceof StartFailure)
      throw new CommandFailure(error.message);
    throw error;
  }
}

/**
 * Looks whether the server that runs goes by the settings of this configuration. What only reads goes by the configuration where
 * it does not, or where it may not be asked.
 * @param work whether nothing is done but to tell what would be; whether nothing is written
 * @returns then what to tell of it; undefined where the server means the same, and where there is none
 * @throws CommandFailure for all else: nothing was done
 */
export async function differenceOf(
  config: Config,
  { job, options, file }: Pick<JobCommand, 'job' | 'options' | 'file'>,
  { isTelling, mayOnlyRead }: { readonly isTelling: boolean; readonly mayOnlyRead: boolean },
): Promise<string | undefined> {
  try {
    const others = (await otherThanInForce(config, job, options)) ?? [];
    if (others.length === 0) return undefined;
    const differ = `the server that runs goes by other settings (${others.join(', ')}) than ${file ?? 'the configuration'}`;
    if (isTelling) return `${differ}: this is what they would do`;
    throw new CommandFailure(
      `${differ} and the environment of this command: nothing was done. Name the file that the server was started with, and set the variables that it has; or start it anew with these`,
    );
  } catch (error) {
    if (mayOnlyRead && error instanceof ServerForbidden) return `${error.message}; this is done without it`;
    throw error;
  }
}

/**
 * Which settings that the job goes by (`usage`: that it tells of) the server that runs has otherwise than this configuration,
 * by what the file calls them. What its own file says by now counts. @returns undefined when none runs here
 * @throws CommandFailure also when it does not answer in time
 */
export async function otherThanInForce(
  config: Config,
  job: string,
  options?: JobCommand['options'],
): Promise<readonly string[] | undefined> {
  const conversation = await askRunning(config, { ask: 'settings', of: settingsOf(job, config, options) });
  if (conversation === undefined) return undefined;
  for await (const told of conversation.told()) {
    if (told.tell === 'settings') return told.others;
    throw new CommandFailure(refusalOf(told));
  }
  throw new CommandFailure('the server has said nothing');
}

/** What to tell where the server that listens at the configuration's socket is one of another storage. @throws CommandFailure */
export async function strangerAt(config: Config, file: string | undefined): Promise<string | undefined> {
  // No job: only the storage is compared.
  if ((await otherThanInForce(config, ''))?.includes('storage') !== true) return undefined;
  return `${config.admin.socket ?? ''}: the server that listens there has another storage than ${file ?? 'the configuration'}`;
}

/** Shows what a running job does. @returns the exit code */
export async function watchJob(config: Config, job: string, report: JobReport): Promise<number> {
  const conversation = await askRunning(config, { ask: 'watch', job });
  const told = conversation === undefined ? undefined : await follow(conversation, job, report);
  if (typeof told === 'number') return told;
  throw new CommandFailure(`${job} does not run`);
}

/** @returns the exit code; or the run that is there already */
async function follow(
  conversation: Conversation,
  job: string,
  report: JobReport,
  interrupt?: Interrupt,
): Promise<number | RunningJob> {
  interrupt?.does(() => {
    report.note(`${job} is being cancelled`);
    conversation.say({ ask: 'cancel', job });
  });
  for await (const told of conversation.told()) {
    if (told.tell === 'event') report.event(told.event);
    else if (told.tell === 'ended') return report.end(told.ended);
    else if (told.tell === 'runs-already') return told.running;
    else if (told.tell !== 'started') throw new CommandFailure(refusalOf(told));
  }
  throw new CommandFailure('the server has said nothing');
}

/** What an answer that nobody asked for says. */
export function refusalOf(told: Told): string {
  if (told.tell === 'refused') return told.message;
  if (told.tell === 'runs-not') return `${told.job} does not run`;
  return `the server says ${told.tell}, which was not asked for`;
}

/** `gc runs since 2026-11-21 09:30 by schedule (process 12)`. */
export function describeRun({ job, by, startedAt, pid }: RunningJob): string {
  const process = pid === undefined ? '' : ` (process ${pid})`;
  return `${job} runs since ${formatTime(startedAt)} UTC by ${by}${process}`;
}

function runsAlready(running: RunningJob): string {
  const { job } = running;
  return `${describeRun(running)}: --watch or \`entrepot jobs watch ${job}\` shows it, \`entrepot jobs cancel ${job}\` ends it`;
}

/** Without a server of this machine: alone, or beside those of others. */
async function runHere(
  config: Config,
  { job, options }: JobCommand,
  report: JobReport,
  interrupt: Interrupt,
): Promise<EndedJob> {
  if (!isJobName(job)) throw new CommandFailure(`${job}: there is no such job`);
  const { objects, use } = await enter(config, { job, mayOnlyRead: onlyReads(job, config, options) }, report);
  const startedAt = Date.now();
  const begun = performance.now();
  const cancelled = new AbortController();
  interrupt.does(() => {
    report.note(`${job} is being cancelled`);
    cancelled.abort(new Error('it was cancelled'));
  });
  const run = async (use: StorageUse) => {
    try {
      return await runJob(job, options, {
        config,
        objects,
        log: loggerFor({ ...config, log: { ...config.log, level: 'warn' } }),
        signal: AbortSignal.any([cancelled.signal, use.disturbed]),
        exclusive: use.isAlone,
        onEvent: (event) => report.event(event),
      });
    } finally {
      await use.end();
    }
  };
  let outcome = await run(use);
  // A server that starts is not kept waiting: it goes on beside it, and waits for others where that is needed.
  if (outcome.kind === 'stopped' && use.disturbed.aborted && !cancelled.signal.aborted) {
    report.note(
      `${outcome.message}: going on beside it; what was told until now is done, and not in the sums`,
    );
    outcome = await run(await beside(objects, job, report));
  }
  const seconds = Math.round(performance.now() - begun) / 1000;
  const ended: EndedJob = { job, by: 'command', startedAt, seconds, options, outcome };
  if (!hasOnlyTold(ended)) await rememberRun(objects, ended);
  return ended;
}

/** Takes the storage for a job that a command runs. @throws StartFailure; StorageTaken */
async function enter(
  config: Config,
  { job, mayOnlyRead }: { readonly job: string; readonly mayOnlyRead: boolean },
  report: JobReport,
): Promise<{ readonly objects: Objects; readonly use: StorageUse }> {
  try {
    const objects = openForUpkeep(config);
    const use = await useStorageAlone(objects, job).catch((error: unknown) => {
      // Nobody can be told that the storage is taken; what frees space has to work all the same.
      if (isFull(error)) return beside(objects, job, report);
      throw error;
    });
    return { objects, use };
  } catch (error) {
    const failure = error instanceof StartFailure ? error.cause : error;
    if (!mayOnlyRead || !isUnwritable(failure)) throw error;
    report.note(
      `the storage can only be read (${failure.code}): ${job} runs without a lock and notes nothing`,
    );
    return { objects: new Objects(openForReading(config)), use: useUntold() };
  }
}

function beside(objects: Objects, job: string, report: JobReport): Promise<StorageUse> {
  return useStorage(objects, job, {
    onWait: (holder) => report.note(`waiting for ${holder}`),
  });
}

/** What the first Ctrl-C does, also if it came before there was something to cancel; a second one ends the command at once. */
class Interrupt {
  #cancel: (() => void) | undefined;
  #isPressed = false;
  readonly #listener = (): void => {
    if (this.#isPressed) process.exit(EXIT.cancelled);
    this.#isPressed = true;
    this.#cancel?.();
  };

  constructor() {
    process.on('SIGINT', this.#listener);
    process.on('SIGTERM', this.#listener);
  }

  does(cancel: () => void): void {
    this.#cancel = cancel;
    if (this.#isPressed) cancel();
  }

  forget(): void {
    process.off('SIGINT', this.#listener);
    process.off('SIGTERM', this.#listener);
  }
}
