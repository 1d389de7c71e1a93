/** The command line. Each command loads only what it needs when it is run. */
import { Command, CommanderError } from 'commander';
import { addStorageCommands } from './check-storage-commands.ts';
import { addUpkeepCommands, CONFIG, FILE, named, type Told, type WithConfig } from './upkeep-commands.ts';
import { withoutGoValues } from './go-flags.ts';
import { endOutput, standardOutput } from './output.ts';
import type { DeleteFlags } from './delete.ts';
import packageJson from '../../package.json' with { type: 'json' };

/** Milliseconds. */
const HANGS_AT_MOST = 2_000;

/** Options that a file may be left out of, in the form that the commands take. */
function withFile<T extends object>(file: string | undefined, options: T): T & { readonly file?: string } {
  return file === undefined ? options : { file, ...options };
}

/** For options that can be given several times: one that took all words after it would take the file too. */
function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

function addUserCommands(program: Command, told: Told): void {
  const user = program.command('user').description('accounts that are kept beside the registry’s data');
  const password = (command: Command) =>
    command
      .option('--password-stdin', 'read the password from standard input')
      .option('--password <text>', 'the password itself; everybody on this machine can see it')
      .option('--cost <number>', 'bcrypt’s cost');
  password(user.command('add').description('add an account; asks for its password'))
    .argument('<name>')
    .argument(...FILE)
    .action(async (name: string, file: string | undefined, options: object) => {
      const { userAdd } = await import('./user.ts');
      told(await userAdd(withFile(file, { name, ...options })));
    });
  password(user.command('passwd').description('change an account’s password'))
    .argument('<name>')
    .argument(...FILE)
    .action(async (name: string, file: string | undefined, options: object) => {
      const { userPasswd } = await import('./user.ts');
      told(await userPasswd(withFile(file, { name, ...options })));
    });
  user
    .command('list')
    .description('list accounts, where they are kept, and their groups')
    .argument(...FILE)
    .action(async (file: string | undefined) => {
      const { userList } = await import('./user.ts');
      told(await userList(withFile(file, {})));
    });
  user
    .command('remove')
    .description('remove an account; its logins and API keys end at once')
    .argument('<name>')
    .argument(...FILE)
    .action(async (name: string, file: string | undefined) => {
      const { userRemove } = await import('./user.ts');
      told(await userRemove(withFile(file, { name })));
    });
  password(program.command('hash-password').description('print the bcrypt hash of a password')).action(
    async (options: object) => {
      const { printPasswordHash } = await import('./hash-password.ts');
      told(await printPasswordHash(options));
    },
  );
}

function addKeyCommands(program: Command, told: Told): void {
  const key = program.command('key').description('API keys, and the keys that tokens are signed with');
  key
    .command('add')
    .description('make an API key for a program; it is shown once')
    .requiredOption('--account <name>', 'whose rights it has')
    .requiredOption('--name <text>', 'what it is for')
    .option(
      '--scope <names:actions>',
      'what it is narrowed to, such as "team/*:pull,push"; repeatable',
      collect,
    )
    .option('--expires <time>', 'such as 90d or 12h, or never', '90d')
    .argument(...FILE)
    .action(
      async (
        file: string | undefined,
        options: { account: string; name: string; scope?: string[]; expires: string },
      ) => {
        const { keyAdd } = await import('./key.ts');
        told(await keyAdd(withFile(file, options)));
      },
    );
  key
    .command('list')
    .description('list API keys: id, account, name, made, good until, scopes')
    .argument(...FILE)
    .action(async (file: string | undefined) => {
      const { keyList } = await import('./key.ts');
      told(await keyList(withFile(file, {})));
    });
  key
    .command('revoke')
    .description('end an API key at once')
    .argument('<id>')
    .argument(...FILE)
    .action(async (id: string, file: string | undefined) => {
      const { keyRevoke } = await import('./key.ts');
      told(await keyRevoke(withFile(file, { id })));
    });
  key
    .command('rotate')
    .description('sign tokens with a new key, without logging anybody out')
    .argument(...FILE)
    .action(async (file: string | undefined) => {
      const { keyRotate } = await import('./key.ts');
      told(await keyRotate(withFile(file, {})));
    });
}

function addRightsCommands(program: Command, told: Told): void {
  program
    .command('acl')
    .description('the rules of who may do what')
    .command('test')
    .description('tell whether something is allowed, and which rule decides')
    .option('--account <name>', 'who; left out for nobody in particular')
    .option('--group <name>', 'a group beside those that the configuration tells; repeatable', collect)
    .requiredOption('--repo <name>', 'the repository')
    .requiredOption('--action <action>', 'pull, push or delete')
    .option('--ip <address>', 'where the request comes from')
    .argument(...FILE)
    .action(
      async (
        file: string | undefined,
        options: { account?: string; group?: string[]; repo: string; action: string; ip?: string },
      ) => {
        const { aclTest } = await import('./acl-test.ts');
        told(await aclTest(withFile(file, options)));
      },
    );
}

function addCacheCommands(program: Command, told: Told): void {
  const cache = program.command('cache').description('what is kept of other registries');
  cache
    .command('list')
    .description('list what is kept, a line a repository')
    .argument(...FILE)
    .action(async (file: string | undefined) => {
      const { cacheList } = await import('./cache.ts');
      told(await cacheList(withFile(file, {})));
    });
  cache
    .command('purge')
    .description('let an image go, or a repository, or everything')
    .argument('[image]', 'such as docker.io/library/busybox:1.36; left out with --all')
    .argument(...FILE)
    .option('--all', 'everything that is kept')
    .action(async (image: string | undefined, file: string | undefined, options: { all?: boolean }) => {
      const { cachePurge } = await import('./cache.ts');
      // With --all there is no image, so the one word is the file.
      const [reference, path] =
        options.all === true && file === undefined ? [undefined, image] : [image, file];
      told(
        await cachePurge(withFile(path, { ...options, ...(reference === undefined ? {} : { reference }) })),
      );
    });
  cache
    .command('warm')
    .description('fetch a whole image ahead')
    .argument('<image>', 'such as docker.io/library/busybox:1.36')
    .argument(...FILE)
    .option('--platform <os/architecture>', 'only the images of that platform, such as linux/arm64')
    .action(async (reference: string, file: string | undefined, options: { platform?: string }) => {
      const { cacheWarm } = await import('./cache.ts');
      told(await cacheWarm(withFile(file, { reference, ...options })));
    });
}

function addDeleteCommand(program: Command, told: Told): void {
  program
    .command('delete')
    .description('delete a tag, a manifest, tags by a pattern, or a whole repository')
    .argument('<what>', 'REPOSITORY, REPOSITORY:TAG, "REPOSITORY:PATTERN*" or REPOSITORY@DIGEST')
    .argument(...FILE)
    .option('--dry-run', 'only tell what would be deleted, and what would stay')
    .option('--yes', 'do not ask')
    .option(...CONFIG)
    .option('--json', 'one JSON object a line')
    .action(async (what: string, file: string | undefined, options: WithConfig<DeleteFlags>) => {
      const { deleteContent } = await import('./delete.ts');
      told(await deleteContent({ what, ...named(file, options) }));
    });
}

function addUsageCommand(program: Command, told: Told): void {
  program
    .command('usage')
    .description('what each namespace takes up, and what the quotas hold')
    .argument(...FILE)
    .option(...CONFIG)
    .option('--repositories <pattern>', 'only these, a line for each, such as "team/*"')
    .option('--json', 'one JSON object a line')
    .action(
      async (file: string | undefined, options: WithConfig<{ repositories?: string; json?: boolean }>) => {
        const { printUsage } = await import('./usage.ts');
        told(await printUsage(named(file, options)));
      },
    );
}

function addTrustCommand(program: Command, told: Told): void {
  program
    .command('trust')
    .description('make this machine trust a registry that makes its own certificates')
    .argument('<host[:port]>', 'such as registry.local:5000')
    .option('--fingerprint <sha256>', 'of its authority, as its log says; asked for without it')
    .option('--print', 'only tell what would be done')
    .option('--remove', 'undo it')
    .action(async (host: string, options: { fingerprint?: string; print?: boolean; remove?: boolean }) => {
      const { trust } = await import('./trust.ts');
      told(await trust({ host, ...options }));
    });
}

function addDiscoverCommand(program: Command, told: Told): void {
  program
    .command('discover')
    .description('list the registries that announce themselves on this network')
    .option('--timeout <seconds>', 'how long to listen', '2')
    .option('--json', 'for programs')
    .action(async (options: { timeout: string; json?: boolean }) => {
      const { discover } = await import('./discover.ts');
      told(await discover(options));
    });
}

/** Runs a command line (without the interpreter and script). @returns the exit code */
export async function run(args: readonly string[]): Promise<number> {
  let code = 0;
  const program = new Command('entrepot')
    .description('A container registry that stores your images and caches everyone else’s.')
    .version(packageJson.version, '-v, --version')
    .showSuggestionAfterError()
    .configureOutput({ writeOut: (text) => standardOutput().out.write(text) })
    .exitOverride();
  program
    .command('serve')
    .description('serve a registry (the command line of registry:2)')
    .argument('[file]', 'configuration file, in the form of registry:2’s config.yml')
    .option('--lan', 'without a file: TLS by an authority of our own, registry.local, an admin account')
    .action(async (file: string | undefined, { lan = false }: { lan?: boolean }) => {
      const { serve } = await import('./serve.ts');
      code = await serve(file, { lan });
      // What still hangs, such as a read of a network folder, keeps no server that has ended.
      setTimeout(() => process.exit(code), HANGS_AT_MOST).unref();
    });
  program
    .command('config')
    .description('check a configuration and print what is in effect, without secrets')
    .argument('[file]', 'configuration file')
    .action(async (file: string | undefined) => {
      const { showConfig } = await import('./show-config.ts');
      code = await showConfig(file);
    });
  const told = (exitCode: number) => {
    code = exitCode;
  };
  addUserCommands(program, told);
  addKeyCommands(program, told);
  addRightsCommands(program, told);
  addCacheCommands(program, told);
  addDeleteCommand(program, told);
  addUpkeepCommands(program, told);
  addUsageCommand(program, told);
  addStorageCommands(program, told);
  addTrustCommand(program, told);
  addDiscoverCommand(program, told);
  try {
    await program.parseAsync(withoutGoValues(args), { from: 'user' });
  } catch (error) {
    // 1 says that something was refused; what could not be understood is told from it.
    if (error instanceof CommanderError) return endOutput(error.exitCode === 0 ? 0 : 2);
    throw error;
  }
  return endOutput(code);
}
