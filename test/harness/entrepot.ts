import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { nodeBinary } from './node-binary.ts';
import { type RegistryOptions, type RunningRegistry, startRegistry } from './running-registry.ts';

export type { RunningRegistry } from './running-registry.ts';

const PROJECT = join(import.meta.dirname, '..', '..');

/** The four forms in which the same code is run. */
export const RUNTIMES = ['source', 'executable', 'node20', 'node24'] as const;
export type Runtime = (typeof RUNTIMES)[number];

export interface EntrepotOptions extends RegistryOptions {
  /** What `defaultRuntime` says unless given. */
  readonly runtime?: Runtime;
  /** The number of worker processes (`http.workers`); one a core unless given. */
  readonly workers?: number;
  /** Further arguments after the configuration file. */
  readonly args?: readonly string[];
}

/** The runtime that `ENTREPOT_TEST_RUNTIME` names; source where it is not set. @throws Error for another word */
export function defaultRuntime(): Runtime {
  const wanted = process.env['ENTREPOT_TEST_RUNTIME'];
  if (wanted === undefined || wanted === '') return 'source';
  const runtime = RUNTIMES.find((name) => name === wanted);
  if (runtime !== undefined) return runtime;
  throw new Error(`ENTREPOT_TEST_RUNTIME is "${wanted}"; it can be ${RUNTIMES.join(', ')}`);
}

/**
 * The command that runs Entrepot in that form, to which its own arguments are added.
 * @throws Error when `npm run build` has not been run for a built form
 */
export async function entrepotCommand(
  runtime: Runtime = defaultRuntime(),
): Promise<{ command: string; args: readonly string[] }> {
  if (runtime === 'source') {
    return { command: join(PROJECT, 'node_modules/.bin/bun'), args: [join(PROJECT, 'src/main.ts')] };
  }
  if (runtime === 'executable') return { command: built('dist/entrepot'), args: [] };
  return { command: await nodeBinary(runtime === 'node20' ? 20 : 24), args: [built('dist/node/main.js')] };
}

function built(path: string): string {
  const file = join(PROJECT, path);
  if (existsSync(file)) return file;
  throw new Error(`there is no ${path}: run \`npm run build\` first`);
}

/**
 * Starts Entrepot on a free port of 127.0.0.1 and waits until it answers.
 * @throws Error with its logs when it does not answer within two minutes
 */
export async function startEntrepot(options: EntrepotOptions = {}): Promise<RunningRegistry> {
  const { command, args } = await entrepotCommand(options.runtime ?? defaultRuntime());
  const workers = options.workers === undefined ? {} : { REGISTRY_HTTP_WORKERS: String(options.workers) };
  return await startRegistry('entrepot', { ...options, env: { ...workers, ...options.env } }, (file) => ({
    command,
    args: [...args, 'serve', file, ...(options.args ?? [])],
  }));
}
