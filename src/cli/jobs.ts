/** `entrepot jobs`: what the server does beside serving. */
import type { EndedJob, ScheduledNext } from '../admin/messages.ts';
import { CommandFailure, type CommandIo, codeOf, processIo } from './command-io.ts';
import { formatSeconds, formatTime } from './format.ts';
import { describeSummary, JobReport } from './job-report.ts';
import { askRunning, describeRun, loadForStorage, refusalOf, strangerAt, watchJob } from './run-job.ts';
import { barLine } from './progress-bar.ts';
import type { JobFlags } from './upkeep.ts';

const NO_SERVER = 'no server of this configuration runs on this machine';

/** What runs, and how the last runs ended. @returns the exit code */
export async function jobsStatus(
  { file, json }: JobFlags,
  io: CommandIo = processIo({ isListing: true }),
): Promise<number> {
  return codeOf(io, async () => {
    const config = await loadForStorage(file, io);
    const stranger = await strangerAt(config, file);
    if (stranger !== undefined) io.err(`${stranger}\n`);
    const conversation = await askRunning(config, { ask: 'status' });
    if (conversation === undefined) throw new CommandFailure(NO_SERVER);
    for await (const told of conversation.told()) {
      if (told.tell !== 'status') throw new CommandFailure(refusalOf(told));
      const { running, ended, scheduled = [] } = told;
      if (json === true) {
        io.out(`${JSON.stringify({ running, ended, scheduled })}\n`);
        return 0;
      }
      for (const run of running) {
        const progress = run.progress === undefined ? '' : `: ${barLine(run.progress, undefined)}`;
        io.out(`${describeRun(run)}${progress}\n`);
      }
      for (const run of ended) io.out(`${describeEnded(run)}\n`);
      if (running.length + ended.length === 0) io.out('nothing has run yet\n');
      const isRunning = (job: string) => running.some((run) => run.job === job);
      for (const next of scheduled) if (!isRunning(next.job)) io.out(`${describeNext(next)}\n`);
    }
    return 0;
  });
}

/** The settings that let a job run by itself. */
const SWITCHES: Readonly<Record<string, string>> = {
  uploads: 'storage.maintenance.uploadpurging.enabled',
  gc: 'garbage_collector.enabled',
};

function describeNext({ job, isEnabled, nextAt }: ScheduledNext): string {
  if (!isEnabled) return `${job} does not run by itself: ${SWITCHES[job] ?? `${job}.enabled`} is false`;
  if (nextAt === undefined) return `${job} is due`;
  return `${job} runs next at ${formatTime(nextAt)} UTC`;
}

function describeEnded(ended: EndedJob): string {
  const { job, by, startedAt, seconds, outcome } = ended;
  const when = `${job} ran ${formatTime(startedAt)} UTC by ${by}`;
  if (outcome.kind === 'done') return `${when}, done: ${describeSummary(outcome.summary, ended)}`;
  return `${when}, ${outcome.kind} after ${formatSeconds(seconds)}: ${outcome.message}`;
}

/** Shows what a job does; Ctrl-C ends the watching and not the job. @returns the exit code */
export async function jobsWatch(
  { job, file, json, quiet }: JobFlags & { readonly job: string },
  io: CommandIo = processIo({ isListing: true }),
): Promise<number> {
  return codeOf(io, async () => {
    const config = await loadForStorage(file, io);
    return watchJob(config, job, new JobReport(io, { json, quiet }));
  });
}

/** Ends a job, and waits for it. @returns the exit code */
export async function jobsCancel(
  { job, file }: JobFlags & { readonly job: string },
  io: CommandIo = processIo(),
): Promise<number> {
  return codeOf(io, async () => {
    const config = await loadForStorage(file, io);
    const conversation = await askRunning(config, { ask: 'cancel', job });
    if (conversation === undefined) throw new CommandFailure(NO_SERVER);
    for await (const told of conversation.told()) {
      if (told.tell === 'ended') {
        io.out(`${job} has ended\n`);
        return 0;
      }
      if (told.tell !== 'started' && told.tell !== 'event') throw new CommandFailure(refusalOf(told));
    }
    return 0;
  });
}
