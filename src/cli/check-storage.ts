/** `entrepot scrub` and `entrepot retention`. */
import { parseAge } from '../config/durations.ts';
import { parseSize } from '../config/proxy-schema.ts';
import { isRepositoryName, isTag } from '../oci/name.ts';
import type { JobItem, JobSummary } from '../upkeep/job.ts';
import { CommandFailure, type CommandIo, codeOf, processIo } from './command-io.ts';
import { runJobCommand } from './run-job.ts';
import type { JobFlags } from './upkeep.ts';

export interface ScrubFlags extends JobFlags {
  readonly repair?: boolean | undefined;
  readonly resume?: boolean | undefined;
  readonly maxBytes?: string | undefined;
  readonly newerThan?: string | undefined;
  readonly unreadFor?: string | undefined;
}

/** Checks the storage. @returns the exit code */
export async function scrub(flags: ScrubFlags, io: CommandIo = processIo()): Promise<number> {
  return codeOf(io, async () => {
    const { file, json, quiet, watch, repair = false, resume = false } = flags;
    const options = {
      repair,
      resume,
      ...read('max-bytes', 'mostBytes', flags.maxBytes, parseSize, 'no size; one is such as 500GB'),
      ...read('newer-than', 'newerThanMs', flags.newerThan, parseAge, NO_TIME),
      ...read('unread-for', 'unreadForMs', flags.unreadFor, parseAge, NO_TIME),
    };
    return runJobCommand({ job: 'scrub', options, file, watch, style: { json, quiet } }, io);
  });
}

const NO_TIME = 'no time; one is such as 36h or 14d';

/** An option's value under its name in the job. @throws CommandFailure */
function read(
  flag: string,
  name: string,
  text: string | undefined,
  parse: (text: string) => number | undefined,
  wrong: string,
): Readonly<Record<string, number>> {
  if (text === undefined) return {};
  const value = parse(text);
  if (value === undefined || value < 0) throw new CommandFailure(`--${flag}: ${text} is ${wrong}`, 2);
  return { [name]: value };
}

export interface RetentionFlags extends JobFlags {
  readonly dryRun?: boolean | undefined;
}

/** Deletes the tags that no rule keeps. @returns the exit code */
export async function retention(flags: RetentionFlags, io: CommandIo = processIo()): Promise<number> {
  return codeOf(io, async () => {
    const { file, json, quiet, watch, dryRun = false } = flags;
    return runJobCommand({ job: 'retention', options: { dryRun }, file, watch, style: { json, quiet } }, io);
  });
}

/** Tells of each tag, or of those of a repository, what becomes of it. @returns the exit code */
export async function retentionExplain(
  { reference, file, json }: JobFlags & { readonly reference?: string },
  io: CommandIo = processIo({ isListing: true }),
): Promise<number> {
  return codeOf(io, async () => {
    const options = { dryRun: true, explain: true, ...(reference === undefined ? {} : referred(reference)) };
    const item = (one: JobItem) => explained(one, reference === undefined);
    const summary = ({ tags, untagged = 0 }: JobSummary) =>
      Number(tags) + Number(untagged) === 0 ? 'there is no tag' : '';
    return runJobCommand({ job: 'retention', options, file, style: { json, item, summary } }, io);
  });
}

/** @throws CommandFailure */
function referred(reference: string): { readonly repository: string; readonly tag?: string } {
  const [repository = '', tag, ...more] = reference.split(':');
  if (isRepositoryName(repository) && more.length === 0 && (tag === undefined || isTag(tag)))
    return { repository, ...(tag === undefined ? {} : { tag }) };
  throw new CommandFailure(
    `${reference}: expected a repository such as "ci/app", or a tag such as "ci/app:v1"`,
    2,
  );
}

/** `pr-17 goes: rule 2: … (pushed 2026-05-17 09:30)`. */
function explained(
  { what, repository, tag, digest, stays, goes, why, pushed }: JobItem,
  isNamed: boolean,
): string {
  const time = String(pushed).slice(0, 16).replace('T', ' ');
  if (what === 'untagged') {
    const manifest = isNamed ? `${String(repository)}@${String(digest)}` : String(digest);
    return `${manifest} ${goes === true ? 'goes' : 'stays for now'}: ${String(why)} (pushed ${time} UTC)`;
  }
  const name = isNamed ? `${String(repository)}:${String(tag)}` : String(tag);
  return `${name} ${stays === true ? 'stays' : 'goes'}: ${String(why)} (pushed ${time} UTC)`;
}
