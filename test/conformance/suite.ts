import { randomBytes } from 'node:crypto';
import { Failure, Unsupported } from './check.ts';
import { Client } from './client.ts';
import { Context } from './context.ts';
import { Observations } from './observations.ts';
import { describeExchange } from './report.ts';
import type { Result } from './report.ts';
import type { Level, Scenario, Step } from './scenario.ts';
import { allScenarios } from './all-scenarios.ts';

export interface ConformanceOptions {
  /** The registry's origin, e.g. `http://127.0.0.1:5000`. */
  readonly url: string;
  /** Defaults to `1.1`. */
  readonly level?: Level;
  /** The repository to test in; a new one under `conformance/` when absent. Content is pushed below it, too. */
  readonly repository?: string;
  /** The repository that blobs are mounted from. */
  readonly otherRepository?: string;
  readonly username?: string;
  readonly password?: string;
  /** Runs only tests whose name has this in it, and the steps that they build on. */
  readonly filter?: string;
  /** Leaves out the tests of this project's own choices. */
  readonly specificationOnly?: boolean;
  /** Adds the data set `sparse`, which the specification's suite has off by default. */
  readonly sparse?: boolean;
  /** Told of each result as it comes. */
  readonly onResult?: (result: Result) => void;
}

/**
 * Runs the conformance suite against a registry, one test after the other, and returns a result a test.
 * What it pushes it deletes only where a test is about deleting.
 * @throws Error when the options are wrong or the registry cannot be reached at all
 */
export async function runConformance(options: ConformanceOptions): Promise<Result[]> {
  const level = options.level ?? '1.1';
  const client = new Client(options);
  const base = options.repository ?? `conformance/r${randomBytes(4).toString('hex')}`;
  const otherRepository = options.otherRepository ?? `${base}-other`;
  const context = new Context({ client, level, repository: base, otherRepository });
  const observations = new Observations();
  client.observe((exchange) => observations.see(exchange));
  await client.request('GET', '/v2/').catch((cause: unknown) => {
    throw new Error(`the registry at ${options.url} cannot be reached`, { cause });
  });
  const results: Result[] = [];
  for (const scenario of allScenarios(observations, { sparse: options.sparse ?? false })) {
    for await (const result of runScenario(scenario, context, options)) {
      results.push(result);
      options.onResult?.(result);
    }
  }
  return results;
}

/** Runs a scenario's steps in order; steps that only others need are run and not reported. */
async function* runScenario(
  scenario: Scenario,
  context: Context,
  options: ConformanceOptions,
): AsyncGenerator<Result> {
  const steps = scenario.steps.filter((step) => applies(scenario, step, context.level, options));
  const wanted = steps.map((step) => fullName(scenario, step).includes(options.filter ?? ''));
  const last = wanted.lastIndexOf(true);
  const done = new Map<string, Result>();
  for (const [index, step] of steps.slice(0, last + 1).entries()) {
    const result = await runStep(scenario, step, context, done);
    done.set(step.name, result);
    if (wanted[index] === true) yield result;
  }
}

function applies(scenario: Scenario, step: Step, level: Level, options: ConformanceOptions): boolean {
  const only = step.level ?? scenario.level;
  if (only !== undefined && only !== level) return false;
  return options.specificationOnly !== true || (step.basis ?? scenario.basis) !== 'ours';
}

function fullName(scenario: Scenario, step: Step): string {
  return `${scenario.name}/${step.name}`;
}

async function runStep(
  scenario: Scenario,
  step: Step,
  context: Context,
  done: ReadonlyMap<string, Result>,
): Promise<Result> {
  const result = {
    name: fullName(scenario, step),
    level: context.level,
    basis: step.basis ?? scenario.basis,
  };
  const before = step.needs === undefined ? undefined : done.get(step.needs);
  if (before?.status === 'skip') return { ...result, status: 'skip', reason: before.reason };
  try {
    await step.run(context);
    return { ...result, status: 'pass' };
  } catch (error) {
    if (error instanceof Unsupported) return { ...result, status: 'skip', reason: error.message };
    return { ...result, status: 'fail', failure: describeFailure(error) };
  }
}

function describeFailure(error: unknown): { request: string; expected: string; came: string } {
  if (error instanceof Failure && error.exchange !== undefined)
    return { expected: error.expected, ...describeExchange(error.exchange) };
  if (error instanceof Failure) return { request: '', expected: error.expected, came: 'something else' };
  const came = error instanceof Error ? error.message : String(error);
  return { request: '', expected: 'the exchange to succeed', came };
}
