/** The command line. Each command loads only what it needs when it is run. */
import { Command, CommanderError } from 'commander';
import packageJson from '../../package.json' with { type: 'json' };

/** Runs a command line (without the interpreter and script). @returns the exit code */
export async function run(args: readonly string[]): Promise<number> {
  let code = 0;
  const program = new Command('entrepot')
    .description('A container registry that stores your images and caches everyone else’s.')
    .version(packageJson.version, '-v, --version')
    .showSuggestionAfterError()
    .exitOverride();
  program
    .command('serve')
    .description('serve a registry (the command line of registry:2)')
    .argument('[file]', 'configuration file, in the form of registry:2’s config.yml')
    .action(async (file: string | undefined) => {
      const { serve } = await import('./serve.ts');
      code = await serve(file);
    });
  program
    .command('config')
    .description('check a configuration and print what is in effect, without secrets')
    .argument('[file]', 'configuration file')
    .action(async (file: string | undefined) => {
      const { showConfig } = await import('./show-config.ts');
      code = await showConfig(file);
    });
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    throw error;
  }
  return code;
}
