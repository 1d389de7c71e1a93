/** The command lines of the scrub and of retention. */
import type { Command } from 'commander';
import type { RetentionFlags, ScrubFlags } from './check-storage.ts';
import { CONFIG, FILE, jobCommand, named, type Told, type WithConfig } from './upkeep-commands.ts';

/** `scrub` and `retention`. */
export function addStorageCommands(program: Command, told: Told): void {
  jobCommand(
    program,
    'scrub',
    'read all that is stored, and tell what is wrong; also while the registry is used',
  )
    .option(
      '--repair',
      'put aside what is damaged, fetch it again where that can be, remove what leads to nothing',
    )
    .option('--resume', 'go on where the last scrub was stopped')
    .option('--max-bytes <size>', 'end after so much was read, such as 500GB')
    .option('--newer-than <time>', 'read only what was stored within that time, such as 24h')
    .option('--unread-for <time>', 'leave out what was read within that time, such as 30d')
    .option('--watch', 'if it runs already, show what it does')
    .action(async (file: string | undefined, options: WithConfig<ScrubFlags>) => {
      const { scrub } = await import('./check-storage.ts');
      told(await scrub(named(file, options)));
    });
  const retention = program.command('retention').description('delete the tags that no rule keeps');
  const run = jobCommand(retention, 'run', 'delete them now', { isDefault: true })
    .option('-d, --dry-run', 'only tell what would be deleted')
    .option('--watch', 'if it runs already, show what it does')
    .action(async (file: string | undefined, options: WithConfig<RetentionFlags>) => {
      const { retention } = await import('./check-storage.ts');
      told(await retention(named(file, options)));
    });
  // What is done without a word has options, which the help of the word alone would tell.
  retention.addHelpText('after', () => `\nWithout a command:\n\n${run.helpInformation()}`);
  retention
    .command('explain')
    .description('tell of each tag of a repository which rule keeps it or lets it go, and why')
    .argument('[repository[:tag]]', 'such as ci/app, or ci/app:pr-17; all without it')
    .argument(...FILE)
    .option(...CONFIG)
    .option('--json', 'as lines of JSON')
    .action(
      async (
        reference: string | undefined,
        file: string | undefined,
        options: WithConfig<{ json?: boolean }>,
      ) => {
        const { retentionExplain } = await import('./check-storage.ts');
        told(await retentionExplain({ ...named(file, options), ...(reference && { reference }) }));
      },
    );
}
