/** The command lines of upkeep. */
import type { Command } from 'commander';
import type { GcFlags, JobFlags } from './upkeep.ts';

/** The argument that names the configuration. */
export const FILE = [
  '[file]',
  'configuration file; else the one that REGISTRY_CONFIGURATION_PATH names',
] as const;

/** The option that may be used for it. */
export const CONFIG = ['--config <file>', 'configuration file'] as const;

/** Told of a command's exit code. */
export type Told = (exitCode: number) => void;

/** Options of a command, with the configuration's. */
export type WithConfig<T> = T & { readonly config?: string };

/** The file, which may also be given by `--config`. */
export function named<T extends object>(
  file: string | undefined,
  { config, ...options }: WithConfig<T>,
): T & JobFlags {
  return { ...(options as unknown as T), file: config ?? file };
}

/** What all commands that run a job take. */
export function jobCommand(
  parent: Command,
  name: string,
  description: string,
  options: { readonly isDefault?: boolean } = {},
): Command {
  return parent
    .command(name, options)
    .description(description)
    .argument(...FILE)
    .option(...CONFIG)
    .option('--json', 'what is done, and the summary, as lines of JSON')
    .option('-q, --quiet', 'tell nothing but errors');
}

/** `gc`, `garbage-collect`, `jobs` and `read-only`. */
export function addUpkeepCommands(program: Command, told: Told): void {
  jobCommand(program, 'gc', 'remove what nothing refers to any more, also while the registry is used')
    .option('-d, --dry-run', 'only tell what would be removed')
    .option('-m, --delete-untagged', 'also manifests that no tag leads to')
    .option('--grace <time>', 'leave alone what was pushed or asked for within that time, such as 2h or 1d')
    .option('--empty', 'also if there is no repository at all: then all bytes go')
    .option('--watch', 'if it runs already, show what it does')
    .action(async (file: string | undefined, options: WithConfig<GcFlags>) => {
      const { gc } = await import('./upkeep.ts');
      told(await gc(named(file, options)));
    });
  program
    .command('garbage-collect')
    .description('the command line of registry:2 for gc')
    .argument(...FILE)
    .option('-d, --dry-run', 'do everything except remove the blobs')
    .option('-m, --delete-untagged', 'delete manifests that are not currently referenced via tag')
    .option('-q, --quiet', 'silence output')
    .action(async (file: string | undefined, options: GcFlags) => {
      const { garbageCollect } = await import('./upkeep.ts');
      told(await garbageCollect({ ...options, file }));
    });
  addJobsCommands(program, told);
  addReadOnlyCommands(program, told);
}

function addJobsCommands(program: Command, told: Told): void {
  const jobs = program.command('jobs').description('the upkeep of the server that runs');
  jobs
    .command('status', { isDefault: true })
    .description('what runs, and how the last runs ended')
    .argument(...FILE)
    .option(...CONFIG)
    .option('--json', 'as a line of JSON')
    .action(async (file: string | undefined, options: WithConfig<JobFlags>) => {
      const { jobsStatus } = await import('./jobs.ts');
      told(await jobsStatus(named(file, options)));
    });
  jobs
    .command('watch')
    .description('show what a job does; Ctrl-C ends the watching, not the job')
    .argument('<job>', 'such as gc')
    .argument(...FILE)
    .option(...CONFIG)
    .option('--json', 'what is done, and the summary, as lines of JSON')
    .option('-q, --quiet', 'tell nothing but errors')
    .action(async (job: string, file: string | undefined, options: WithConfig<JobFlags>) => {
      const { jobsWatch } = await import('./jobs.ts');
      told(await jobsWatch({ ...named(file, options), job }));
    });
  jobs
    .command('cancel')
    .description('end a job; its next run goes on')
    .argument('<job>', 'such as gc')
    .argument(...FILE)
    .option(...CONFIG)
    .action(async (job: string, file: string | undefined, options: WithConfig<object>) => {
      const { jobsCancel } = await import('./jobs.ts');
      told(await jobsCancel({ ...named(file, options), job }));
    });
}

function addReadOnlyCommands(program: Command, told: Told): void {
  const command = program.command('read-only').description('refuse changes while the registry runs');
  const add = (name: 'on' | 'off' | 'status', description: string): Command =>
    command
      .command(name)
      .description(description)
      .argument(...FILE)
      .option(...CONFIG)
      .option('--json', 'as a line of JSON')
      .action(async (file: string | undefined, options: WithConfig<{ reason?: string; json?: boolean }>) => {
        const { readOnly } = await import('./read-only.ts');
        told(
          await readOnly({ ...named(file, options), ...(name === 'status' ? {} : { on: name === 'on' }) }),
        );
      });
  add('on', 'refuse changes; what is under way has 30 s to end').option('--reason <text>', 'told to clients');
  add('off', 'let changes happen again');
  add('status', 'tell whether changes are refused');
}
