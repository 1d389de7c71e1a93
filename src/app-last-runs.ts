/** How the runs of upkeep ended, whoever did them: kept in the storage, so that a server that is started anew knows. A part of the composition root. */
import * as v from 'valibot';
import type { EndedJob } from './admin/messages.ts';
import { JOBS, type JobName } from './app-upkeep.ts';
import { StorageFailure } from './drivers/driver.ts';
import { noteRunEnd, runEnd } from './store/notes.ts';
import type { Objects } from './store/objects.ts';

const noted = v.object({
  job: v.string(),
  by: v.picklist(['command', 'schedule']),
  startedAt: v.number(),
  seconds: v.number(),
  options: v.unknown(),
  outcome: v.variant('kind', [
    v.object({
      kind: v.literal('done'),
      summary: v.record(v.string(), v.union([v.string(), v.number(), v.boolean()])),
    }),
    v.object({ kind: v.picklist(['stopped', 'busy', 'failed']), message: v.string() }),
  ]),
}) satisfies v.GenericSchema<unknown, EndedJob>;

/** The last run of a job, and the last that did all there was to do. */
export interface LastRuns {
  readonly job: JobName;
  readonly last?: EndedJob | undefined;
  readonly done?: EndedJob | undefined;
}

/**
 * Notes how a run ended. One that another node did instead, or that was refused, is none. A storage that has no room for it, or may not be
 * written to, goes without.
 */
export async function rememberRun(objects: Objects, ended: EndedJob): Promise<void> {
  if (ended.outcome.kind === 'busy' || ended.outcome.kind === 'refused') return;
  try {
    await noteRunEnd(objects, ended.job, { ...ended }, isWhole(ended));
  } catch (error) {
    if (!(error instanceof StorageFailure)) throw error;
  }
}

/** A scrub may be asked to end before it has seen all. */
function isWhole({ outcome }: EndedJob): boolean {
  return outcome.kind === 'done' && outcome.summary['complete'] !== false;
}

/** What is noted of all jobs; of one that cannot be read, nothing. */
export async function lastRuns(objects: Objects): Promise<readonly LastRuns[]> {
  const names = Object.keys(JOBS) as JobName[];
  const read = async (job: JobName, which: 'last' | 'done'): Promise<EndedJob | undefined> => {
    try {
      const { success, output } = v.safeParse(noted, await runEnd(objects, job, which));
      return success ? output : undefined;
    } catch (error) {
      if (error instanceof StorageFailure) return undefined;
      throw error;
    }
  };
  return Promise.all(
    names.map(async (job) => ({ job, last: await read(job, 'last'), done: await read(job, 'done') })),
  );
}
