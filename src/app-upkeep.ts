/** The table of jobs, and how one is run: by a process of the server, or by a command. A part of the composition root. */
import * as v from 'valibot';
import type { EndedJob } from './admin/messages.ts';
import type { ScheduledJob } from './admin/schedule.ts';
import { cachedNames } from './app-proxy.ts';
import { takesSparseIndexes } from './app-rules.ts';
import { retentionOptions, retentionRules } from './app-retention.ts';
import { scrubOptions } from './app-scrub.ts';
import { settingsOf } from './app-settings.ts';
import type { Config } from './config/config.ts';
import type { Logger } from './log.ts';
import type { JobEvent, JobOutcome } from './server/job-messages.ts';
import { QuotaRules } from './oci/quota.ts';
import { parseRepositoryName, type Tag } from './oci/name.ts';
import { readOnlyNote } from './store/notes.ts';
import type { Objects } from './store/objects.ts';
import {
  type Job,
  JobBusy,
  type JobContext,
  type JobItem,
  JobRefused,
  type JobSummary,
} from './upkeep/job.ts';
import { pacer, type PaceLimits } from './upkeep/pace.ts';
import { collect } from './upkeep/collect.ts';
import type { Counted } from './upkeep/recount.ts';
import { usage } from './upkeep/usage.ts';
import { uploads } from './upkeep/purge-uploads.ts';
import { retention } from './upkeep/retention.ts';
import { scrub } from './upkeep/scrub.ts';

/** Runs a job as it was asked for. @throws v.ValiError when what was asked for is not understood */
type Entry = (context: JobContext, config: Config, asked: unknown) => Promise<JobSummary>;

interface Definition {
  readonly run: Entry;
  /** Whether this run changes what users see, so that it is not to be done in read-only mode. */
  readonly changes: (config: Config, asked: unknown) => boolean;
  readonly rate: (config: Config) => PaceLimits;
}

function define<const S extends v.GenericSchema, Options>(
  asked: S,
  job: Job<Options>,
  options: (config: Config, asked: v.InferOutput<S>, context: JobContext) => Options,
  {
    rate = ({ garbageCollector: { rate: objects } }) => (objects === 0 ? {} : { objectsPerSecond: objects }),
    changes = () => false,
  }: {
    readonly rate?: (config: Config) => PaceLimits;
    readonly changes?: (config: Config, asked: v.InferOutput<S>) => boolean;
  } = {},
): Definition {
  return {
    run: (context, config, given) => job(context, options(config, v.parse(asked, given), context)),
    changes: (config, given) => changes(config, v.parse(asked, given)),
    rate,
  };
}

const positive = v.pipe(v.number(), v.minValue(0));

/** Without what was left out. */
function defined<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

const dryRun = v.optional(v.boolean(), false);

/** A job that may remove what counts, after which the quotas know what has gone. */
function countedAfter<Options>(
  job: Job<Options>,
  changes: (options: Options, summary: JobSummary) => boolean,
): Job<Options & { readonly counted: Counted | undefined }> {
  return async (context, options) => {
    const summary = await job(context, options);
    const { counted } = options;
    if (counted === undefined || !changes(options, summary)) return summary;
    // What cannot be read the job itself has told of; not that there was no room to count a quota.
    let uncounted = 0;
    const report = (item: JobItem): void => {
      if (item.what !== 'problem' || item['quota'] === undefined) return;
      uncounted += 1;
      context.report(item);
    };
    await usage({ ...context, report }, { ...counted, update: true, quotasOnly: true });
    return uncounted === 0 ? summary : { ...summary, problems: Number(summary['problems'] ?? 0) + uncounted };
  };
}

/** What has to be known to count the quotas; undefined where there are none. */
function countedOf(config: Config): Counted | undefined {
  if (config.quotas === undefined) return undefined;
  const isCached = cachedNames(config);
  return { rules: new QuotaRules(config.quotas), isOwn: (name) => !isCached(name) };
}

/** Every job by its name. What may be asked of one is plain JSON, since it comes through the admin socket. */
export const JOBS = {
  gc: define(
    v.strictObject({
      dryRun,
      removeUntagged: v.optional(v.boolean()),
      resume: v.optional(v.boolean(), false),
      graceMs: v.optional(v.pipe(v.number(), v.minValue(0))),
      mayBeEmpty: v.optional(v.boolean(), false),
    }),
    countedAfter(collect, ({ dryRun }) => !dryRun),
    (config, asked) => {
      const { removeUntagged, graceMs } = config.garbageCollector;
      const rules = retentionRules(config);
      const untaggedMs = (asked.removeUntagged ?? removeUntagged) ? 0 : undefined;
      // Who asks for it by hand means it, also where a rule would wait.
      const isAsked = asked.removeUntagged === true;
      return {
        dryRun: asked.dryRun,
        resume: asked.resume,
        mayBeEmpty: asked.mayBeEmpty,
        graceMs: asked.graceMs ?? graceMs,
        aloneGraceMs: asked.graceMs ?? 0,
        untaggedAfterMs: (name) => (isAsked ? 0 : (rules.untaggedAfterMs(name) ?? untaggedMs)),
        sparseIndexes: takesSparseIndexes(config),
        isCached: cachedNames(config),
        counted: countedOf(config),
      };
    },
  ),
  scrub: define(
    v.strictObject({
      repair: v.optional(v.boolean()),
      resume: v.optional(v.boolean(), false),
      mostBytes: v.optional(positive),
      newerThanMs: v.optional(positive),
      unreadForMs: v.optional(positive),
    }),
    // What is put aside, or linked to nothing, counts no more.
    countedAfter(
      scrub,
      ({ repair }, { repaired, problems }) => repair && Number(repaired) + Number(problems) > 0,
    ),
    (config, { repair, resume, ...asked }, context) => ({
      ...scrubOptions(config, context),
      repair: repair ?? config.scrub.repair,
      resume,
      counted: countedOf(config),
      ...defined(asked),
    }),
    {
      rate: ({ scrub: { rate } }) => (rate === 0 ? {} : { bytesPerSecond: rate }),
      changes: ({ scrub: section }, { repair }) => repair ?? section.repair,
    },
  ),
  retention: define(
    v.strictObject({
      dryRun,
      explain: v.optional(v.boolean(), false),
      repository: v.optional(v.pipe(v.string(), v.transform(parseRepositoryName))),
      tag: v.optional(
        v.pipe(
          v.string(),
          v.transform((tag) => tag as Tag),
        ),
      ),
    }),
    retention,
    (config, { dryRun, explain, ...asked }) => ({
      ...retentionOptions(config),
      dryRun,
      explain,
      ...defined(asked),
    }),
    { changes: (_config, asked) => !asked.dryRun && !asked.explain },
  ),
  uploads: define(v.strictObject({ dryRun: v.optional(v.boolean()) }), uploads, ({ storage }, asked) => ({
    ageMs: storage.uploadPurging.ageMs,
    dryRun: asked.dryRun ?? storage.uploadPurging.dryRun,
  })),
} as const satisfies Readonly<Record<string, Definition>>;

export type JobName = keyof typeof JOBS;

export function isJobName(name: string): name is JobName {
  return Object.hasOwn(JOBS, name);
}

const TELLING = v.union([v.object({ dryRun: v.literal(true) }), v.object({ explain: v.literal(true) })]);

/** Whether a run of whatever job was asked to tell something, and to do nothing. */
export function onlyTells(asked: unknown): boolean {
  return v.is(TELLING, asked);
}

/** Whether a run has told something and done nothing: it is no last run of its job. */
export function hasOnlyTold({ options, outcome }: Pick<EndedJob, 'options' | 'outcome'>): boolean {
  return onlyTells(options) || (outcome.kind === 'done' && outcome.summary['dryRun'] === true);
}

/** Whether a run of the job writes nothing but notes for others, which can be done without. */
export function onlyReads(job: JobName, { scrub: section }: Pick<Config, 'scrub'>, asked: unknown): boolean {
  if (job !== 'scrub') return onlyTells(asked);
  return !(v.is(v.object({ repair: v.boolean() }), asked) ? asked.repair : section.repair);
}

export interface RunOptions {
  readonly config: Config;
  readonly objects: Objects;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** Whether no server uses the storage; then there is no limit to its rate either. */
  readonly exclusive: boolean;
  readonly onEvent: (event: JobEvent) => void;
  /** Keeps the job waiting while there is more than can be passed on. */
  readonly whenRead?: () => Promise<void> | undefined;
}

/** How often progress is told, in milliseconds, and for how long items are gathered. */
const TELL_EVERY = 100;
const MOST_ITEMS = 500;

/** Runs a job to its end, whatever that is. Never rejects. */
export async function runJob(job: JobName, asked: unknown, options: RunOptions): Promise<JobOutcome> {
  const { config, objects, log, signal, exclusive, onEvent, whenRead } = options;
  const { run, rate, changes } = JOBS[job];
  const wait = pacer(exclusive ? {} : rate(config), signal);
  let items: JobItem[] = [];
  let toldAt = -Infinity;
  let toldPhase = '';
  const flush = (): void => {
    if (items.length === 0) return;
    onEvent({ kind: 'items', items });
    items = [];
  };
  const timer = setInterval(flush, TELL_EVERY);
  const context: JobContext = {
    objects,
    log,
    signal,
    exclusive,
    report(item) {
      items.push(item);
      if (items.length >= MOST_ITEMS) flush();
    },
    progress(phase, done, total) {
      const now = performance.now();
      if (phase === toldPhase && now - toldAt < TELL_EVERY) return;
      toldAt = now;
      toldPhase = phase;
      onEvent({ kind: 'progress', phase, done, ...(total === undefined ? {} : { total }) });
    },
    pace(count, bytes) {
      const read = whenRead?.();
      return read === undefined ? wait(count, bytes) : read.then(() => wait(count, bytes));
    },
  };
  try {
    signal.throwIfAborted();
    const refusal = changes(config, asked) ? await readOnlyReason(config, objects) : undefined;
    if (refusal !== undefined) return { kind: 'refused', message: refusal };
    const summary = await run(context, config, asked);
    return { kind: 'done', summary };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (signal.aborted) return { kind: 'stopped', message: (signal.reason as Error).message };
    if (error instanceof JobBusy) return { kind: 'busy', message };
    if (error instanceof JobRefused) return { kind: 'refused', message };
    if (error instanceof v.ValiError) return { kind: 'failed', message: `${job}: ${describeIssues(error)}` };
    log.error(`${job} failed`, { error: error instanceof Error ? (error.stack ?? message) : message });
    return { kind: 'failed', message };
  } finally {
    clearInterval(timer);
    flush();
  }
}

/** Why nothing may be changed at the moment, for who asks for it; undefined where it may. */
export async function readOnlyReason(
  { storage }: Pick<Config, 'storage'>,
  objects: Objects,
): Promise<string | undefined> {
  if (storage.readOnly) return 'storage.maintenance.readonly: the registry is read-only';
  const note = storage.driver.kind === 'inmemory' ? undefined : await readOnlyNote(objects);
  if (note === undefined) return undefined;
  const reason = note.reason === '' ? '' : ` (${note.reason})`;
  return `the registry is read-only${reason}: \`entrepot read-only off\` lets changes happen again`;
}

function describeIssues({ issues }: v.ValiError<v.GenericSchema>): string {
  return issues.map((issue) => `${v.getDotPath(issue) ?? 'options'}: ${issue.message}`).join('; ');
}

/** The jobs that run by themselves, and when. */
export function scheduledJobs(config: Config): readonly ScheduledJob[] {
  return timetables(config)
    .filter(({ isEnabled }) => isEnabled)
    .map((scheduled) => ({ ...scheduled, settings: settingsOf(scheduled.job, config) }));
}

/** Every job that has a timetable, also where it is not enabled. */
export function timetables({
  storage,
  garbageCollector,
  scrub,
  retention,
}: Config): readonly (ScheduledJob & { readonly isEnabled: boolean })[] {
  const { uploadPurging } = storage;
  return [
    { job: 'uploads', isEnabled: uploadPurging.enabled, options: {}, timetable: uploadPurging },
    {
      job: 'gc',
      isEnabled: garbageCollector.enabled,
      options: { resume: true },
      timetable: garbageCollector,
    },
    { job: 'scrub', isEnabled: scrub.enabled, options: { resume: true }, timetable: scrub },
    ...(retention === undefined
      ? []
      : [{ job: 'retention' as const, isEnabled: retention.enabled, options: {}, timetable: retention }]),
  ] satisfies readonly (ScheduledJob & { readonly job: JobName; readonly isEnabled: boolean })[];
}
