/** The accounts that commands change: those of the htpasswd file that the configuration leads to. */
import { join } from 'node:path';
import type { LocalUser } from '../auth/local-accounts.ts';
import type { Config } from '../config/config.ts';
import { STATE_FOLDER } from '../config/effective-auth.ts';
import { loadConfig } from '../config/load.ts';
import { CommandFailure, type CommandIo } from './command-io.ts';

export interface AccountFile {
  /** An absolute path. The file need not exist. */
  readonly path: string;
  /** Accounts of the configuration itself, which are not ours to change. */
  readonly users: readonly LocalUser[];
  readonly groups: Readonly<Record<string, readonly string[]>>;
  /** The configuration as it was named; undefined when there is none. */
  readonly configFile: string | undefined;
  /** Whether the registry asks for logins at all. */
  readonly isAsked: boolean;
}

/**
 * Finds the accounts of a configuration, and tells its warnings.
 * @throws ConfigError
 * @throws CommandFailure when it has no place for accounts
 */
export async function findAccountFile(file: string | undefined, io: CommandIo): Promise<AccountFile> {
  const loaded = await loadConfig({ ...(file === undefined ? {} : { file }), env: io.env });
  for (const warning of loaded.warnings) io.err(`warning: ${warning}\n`);
  const { auth } = loaded.config;
  if (auth !== undefined && auth.kind !== 'own') {
    throw new CommandFailure(
      auth.kind === 'token'
        ? `accounts are kept by another server (auth.token: ${auth.realm}); those of this registry would not be asked for`
        : 'with auth.silly every account and password is taken; those of this registry would not be asked for',
    );
  }
  const path = auth === undefined ? stateFile(loaded.config) : auth.htpasswd?.path;
  if (path === undefined) {
    throw new CommandFailure(
      'there is no place for accounts, as the storage is in memory; set auth.htpasswd.path in the configuration',
    );
  }
  return {
    path,
    users: auth?.users ?? [],
    groups: auth?.groups ?? {},
    configFile: loaded.file,
    isAsked: auth !== undefined,
  };
}

/** Where accounts are looked for once logins are asked for. */
function stateFile({ storage }: Config): string | undefined {
  const { driver } = storage;
  return driver.kind === 'filesystem' ? join(driver.rootDirectory, STATE_FOLDER, 'htpasswd') : undefined;
}

/** Says that accounts change nothing yet, where that is so. */
export function hintAtLogins({ isAsked, configFile }: AccountFile, io: CommandIo): void {
  if (isAsked) return;
  const where = configFile === undefined ? 'a configuration file, and serve it' : configFile;
  io.err(
    `The registry does not ask for logins yet: everybody may do everything. To let only accounts push, add this line to ${where}:\n` +
      '  access: {pull: anonymous, push: users}\n',
  );
}
