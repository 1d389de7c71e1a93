/** `entrepot gc`, and the form that it has in `registry:2`. */
import { parseAge } from '../config/durations.ts';
import type { JobItem, JobSummary } from '../upkeep/job.ts';
import { CommandFailure, type CommandIo, codeOf, processIo } from './command-io.ts';
import { describeItem } from './job-report.ts';
import { runJobCommand } from './run-job.ts';

/** What every command that runs a job can be told. */
export interface JobFlags {
  readonly file?: string | undefined;
  readonly json?: boolean | undefined;
  readonly quiet?: boolean | undefined;
  readonly watch?: boolean | undefined;
}

export interface GcFlags extends JobFlags {
  readonly dryRun?: boolean | undefined;
  readonly deleteUntagged?: boolean | undefined;
  readonly grace?: string | undefined;
  readonly empty?: boolean | undefined;
}

/** Collects garbage. @returns the exit code */
export async function gc(flags: GcFlags, io: CommandIo = processIo()): Promise<number> {
  return codeOf(io, async () => {
    const { file, json, quiet, watch, grace } = flags;
    return runJobCommand(
      {
        job: 'gc',
        options: collectOptions(flags, durationOf('grace', grace)),
        file,
        watch,
        style: { json, quiet },
      },
      io,
    );
  });
}

/** `registry garbage-collect`, with its flags and the lines that scripts look for. @returns the exit code */
export async function garbageCollect(flags: GcFlags, io: CommandIo = processIo()): Promise<number> {
  return codeOf(io, async () => {
    const style = { quiet: flags.quiet, item: eligible, summary: eligibleInAll };
    // With that it is as there: what is not tagged goes. Without, the configuration's `remove_untagged` does not count.
    const options = { ...collectOptions(flags), removeUntagged: flags.deleteUntagged === true };
    return runJobCommand({ job: 'gc', options, file: flags.file, style }, io);
  });
}

function collectOptions(
  { dryRun, deleteUntagged, empty }: GcFlags,
  graceMs?: number,
): Readonly<Record<string, unknown>> {
  return {
    dryRun: dryRun === true,
    ...(empty === true ? { mayBeEmpty: true } : {}),
    ...(deleteUntagged === true ? { removeUntagged: true } : {}),
    ...(graceMs === undefined ? {} : { graceMs }),
  };
}

/** @throws CommandFailure */
function durationOf(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = parseAge(text);
  if (ms === undefined || ms < 0)
    throw new CommandFailure(`--${name}: ${text} is no duration; one is such as 30m, 2h or 1d`, 2);
  return ms;
}

function eligible(item: JobItem): string | undefined {
  const { what, digest } = item;
  if (what === 'problem') return describeItem(item);
  const isTold = typeof digest === 'string' && (what === 'blob' || what === 'manifest');
  return isTold ? `${what} eligible for deletion: ${digest}` : undefined;
}

function eligibleInAll(summary: JobSummary): string {
  const count = (name: string) => Number(summary[name] ?? 0);
  return `\n${count('blobs')} blobs and ${count('manifests')} manifests eligible for deletion`;
}
