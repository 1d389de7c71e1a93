/** Health and metrics, on an address of their own (`http.debug`). A part of the composition root. */
import packageJson from '../package.json' with { type: 'json' };
import type { EndedJob } from './admin/messages.ts';
import { HEALTH_PATH } from './config/addresses.ts';
import type { Config } from './config/config.ts';
import type { LastRuns } from './app-last-runs.ts';
import type { ObservedJob, ObservedRun } from './observe/metrics.ts';
import { AddressUnavailable } from './server/address.ts';
import type { Listener } from './server/listener.ts';
import { type JobSummary, problemsIn } from './upkeep/job.ts';
import { StartFailure } from './start-failure.ts';

/** What a server does beside serving. */
export interface Upkeep {
  readonly isReadOnly: boolean;
  /** Names of the jobs that run. */
  readonly running: readonly string[];
}

/** What the server can say at the moment. */
export interface DebugState {
  /** Why it does not serve; undefined while it does. */
  readonly away: () => string | undefined;
  readonly upkeep: () => Upkeep;
  readonly lastRuns: () => Promise<readonly LastRuns[]>;
}

/** Seconds that a connection may be silent. */
const IDLE_SECONDS = 60;

/**
 * Listens where `http.debug.addr` says; whoever gets there is told. As in `registry:2`, `/debug/health` answers 200 while
 * it serves and 503 otherwise.
 * @returns undefined where it is not set
 * @throws StartFailure
 */
export async function listenForDebug(
  { http: { debug } }: Config,
  state: DebugState,
): Promise<Listener | undefined> {
  if (debug === undefined) return undefined;
  const { listen } = await import('./server/runtime.ts');
  const handler = async (request: Request): Promise<Response> => {
    const { method } = request;
    const pathname = pathOf(request);
    if (pathname !== HEALTH_PATH && pathname !== debug.metrics) return plain(404);
    if (method !== 'GET' && method !== 'HEAD') return plain(405, { Allow: 'GET, HEAD' });
    if (pathname === HEALTH_PATH) {
      const away = state.away();
      return Response.json(away === undefined ? {} : { server: away }, {
        status: away === undefined ? 200 : 503,
      });
    }
    const { metricsOf } = await import('./observe/metrics.ts');
    const { isReadOnly, running } = state.upkeep();
    const jobs = (await state.lastRuns()).map((run) => observed(run, running));
    const { text, type } = await metricsOf({ version: packageJson.version, isReadOnly, jobs });
    return new Response(text, { headers: { 'Content-Type': type } });
  };
  try {
    return await listen({ address: debug.addr, reusePort: false, idleSeconds: IDLE_SECONDS, handler });
  } catch (error) {
    if (!(error instanceof AddressUnavailable)) throw error;
    throw new StartFailure(`http.debug.addr: ${error.message}`, { cause: error });
  }
}

/** Whatever host was asked for: Bun gives it as it came, and not every one makes a URL. */
function pathOf({ url }: Request): string {
  return url.replace(/^\w+:\/\/[^/?#]*/, '').replace(/[?#].*$/s, '');
}

function plain(status: number, headers: Readonly<Record<string, string>> = {}): Response {
  return new Response(null, { status, headers: { 'Content-Length': '0', ...headers } });
}

function observed({ job, last, done }: LastRuns, running: readonly string[]): ObservedJob {
  return {
    job,
    isRunning: running.includes(job),
    last: last === undefined ? undefined : runOf(last),
    done: done?.outcome.kind === 'done' ? { ...runOf(done), ...countsOf(done.outcome.summary) } : undefined,
  };
}

function runOf({ startedAt, seconds, outcome }: EndedJob): ObservedRun {
  return { endedAt: startedAt + seconds * 1000, seconds, isFailure: outcome.kind === 'failed' };
}

/** `seconds` and `problems` are told by themselves, and what is no number is no metric. */
function countsOf(summary: JobSummary) {
  const counts = Object.entries(summary).filter(
    (entry): entry is [string, number] =>
      typeof entry[1] === 'number' && entry[0] !== 'seconds' && entry[0] !== 'problems',
  );
  return { counts: Object.fromEntries(counts), problems: problemsIn(summary) };
}
