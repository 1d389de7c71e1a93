import { join } from 'node:path';
import { run } from './command.ts';
import { projectRoot } from './options.ts';

/** A load of small requests by wrk. */
export interface Load {
  readonly origin: string;
  /** Paths asked for by GET, in turn. (Not HEAD: wrk would wait for the body that its length announces.) */
  readonly targets: readonly string[];
  readonly connections: number;
  readonly seconds: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Answers outside 200-399 are part of the load; else they make it fail. */
  readonly refusalsExpected?: boolean;
}

export interface LoadResult {
  readonly requests: number;
  readonly seconds: number;
  /** Requests a second. */
  readonly rate: number;
  /** Latencies in seconds. */
  readonly mean: number;
  readonly p50: number;
  readonly p99: number;
}

const script = join(projectRoot, 'bench', 'harness', 'wrk.lua');

/** Runs the load to its end. @throws Error when a request fails or is refused. */
export async function load(plan: Load): Promise<LoadResult> {
  const [first] = plan.targets;
  if (first === undefined) throw new Error('a load needs a target');
  const threads = Math.min(2, plan.connections);
  const { stdout } = await run('wrk', [
    `-t${threads}`,
    `-c${plan.connections}`,
    `-d${plan.seconds}s`,
    '--timeout=30s',
    ...Object.entries(plan.headers ?? {}).flatMap(([name, value]) => ['-H', `${name}: ${value}`]),
    `--script=${script}`,
    plan.origin + first,
    '--',
    ...plan.targets,
  ]);
  const line = stdout.trim().split('\n').at(-1) ?? '';
  const counts = JSON.parse(line) as Record<string, number>;
  const of = (key: string): number => counts[key] ?? 0;
  const refused = plan.refusalsExpected === true ? 0 : of('refused');
  if (of('failed') > 0 || refused > 0 || of('requests') === 0) {
    throw new Error(
      `${plan.origin}${first}: of ${of('requests')} requests ${of('failed')} failed, ${of('refused')} were refused`,
    );
  }
  return {
    requests: of('requests'),
    seconds: of('seconds'),
    rate: of('requests') / of('seconds'),
    mean: of('mean'),
    p50: of('p50'),
    p99: of('p99'),
  };
}
