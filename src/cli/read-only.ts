/** `entrepot read-only`: refuses changes while the registry runs, and lets them happen again. */
import type { ReadOnlyStatus } from '../admin/messages.ts';
import { openForUpkeep } from '../app.ts';
import type { Config } from '../config/config.ts';
import { StartFailure } from '../start-failure.ts';
import { noteReadOnly, readOnlyNote } from '../store/notes.ts';
import { CommandFailure, type CommandIo, codeOf, processIo } from './command-io.ts';
import { formatTime } from './format.ts';
import { EXIT } from './job-report.ts';
import { askRunning, loadForStorage, refusalOf, strangerAt } from './run-job.ts';

export interface ReadOnlyFlags {
  /** undefined only tells. */
  readonly on?: boolean;
  readonly reason?: string | undefined;
  readonly file?: string | undefined;
  readonly json?: boolean | undefined;
}

/** Switches, or tells. When it returns, the new state is in force in every process of this machine's server. @returns the exit code */
export async function readOnly(flags: ReadOnlyFlags, io: CommandIo = processIo()): Promise<number> {
  return codeOf(io, async () => {
    const config = await loadForStorage(flags.file, io);
    const stranger = await strangerAt(config, flags.file);
    if (stranger !== undefined) throw new CommandFailure(`${stranger}: nothing was done`);
    const told = (await bySocket(config, flags)) ?? (await byStorage(config, flags));
    const { readOnly: status, underWay = 0 } = told;
    if (flags.json === true) io.out(`${JSON.stringify(told)}\n`);
    else io.out(`${describe(status)}\n`);
    if (flags.on === false && status.configured === true) {
      throw new CommandFailure('storage.maintenance.readonly is set in the configuration, and stays');
    }
    if (underWay === 0) return EXIT.done;
    io.err(`${underWay} requests that began before do not end: wait, or restart the server\n`);
    return EXIT.failed;
  });
}

interface Answer {
  readonly readOnly: ReadOnlyStatus;
  readonly underWay?: number;
}

async function bySocket(config: Config, { on, reason }: ReadOnlyFlags): Promise<Answer | undefined> {
  const change = on === undefined ? {} : { change: { on, ...(reason === undefined ? {} : { reason }) } };
  const conversation = await askRunning(config, { ask: 'read-only', ...change });
  if (conversation === undefined) return undefined;
  for await (const told of conversation.told()) {
    if (told.tell === 'read-only') return told;
    throw new CommandFailure(refusalOf(told));
  }
  return undefined;
}

/** No server runs here: those of other nodes, and the next one here, take it from the storage. */
async function byStorage(config: Config, { on, reason }: ReadOnlyFlags): Promise<Answer> {
  try {
    const objects = openForUpkeep(config);
    const before = await readOnlyNote(objects);
    const note =
      on === true
        ? { reason: reason ?? before?.reason ?? '', since: before?.since ?? Date.now() }
        : undefined;
    if (on !== undefined) await noteReadOnly(objects, note);
    const now = on === undefined ? before : note;
    const configured = config.storage.readOnly;
    return {
      readOnly: { on: configured || now !== undefined, ...now, ...(configured ? { configured } : {}) },
    };
  } catch (error) {
    if (error instanceof StartFailure) throw new CommandFailure(error.message);
    throw error;
  }
}

function describe({ on, reason = '', since, configured }: ReadOnlyStatus): string {
  if (!on) return 'read-only mode is off';
  const when = since === undefined ? '' : ` since ${formatTime(since)} UTC`;
  const why = reason === '' ? '' : `: ${reason}`;
  return `read-only mode is on${configured === true ? ' by the configuration' : when}${why}`;
}
