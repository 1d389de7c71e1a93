/** `entrepot user add|passwd|list|remove`. A running registry takes changes up within seconds. */
import { removeHtpasswdUser, setHtpasswdUser } from '../auth/change-htpasswd.ts';
import { HtpasswdFile } from '../auth/htpasswd-file.ts';
import { isAccountName } from '../auth/identity.ts';
import { LocalAccounts } from '../auth/local-accounts.ts';
import { PasswordCheck } from '../auth/passwords.ts';
import { type AccountFile, findAccountFile, hintAtLogins } from './account-file.ts';
import { CommandFailure, type CommandIo, exitCodeOf, processIo } from './command-io.ts';
import { newPasswordHash, type NewPasswordOptions } from './hash-password.ts';

export interface UserOptions {
  /** The configuration; else the one that the environment names. */
  readonly file?: string;
  readonly name: string;
}

/** Adds an account. @returns the exit code */
export async function userAdd(
  options: UserOptions & NewPasswordOptions,
  io: CommandIo = processIo(),
): Promise<number> {
  return await exitCodeOf(io, async () => {
    const { name } = options;
    const accounts = await accountsToChange(options, io);
    const { path } = accounts;
    const exists = new CommandFailure(
      `${name} exists already in ${path}; "entrepot user passwd" changes the password`,
    );
    // Looked for twice: nobody is to type a password in vain, and none is to be replaced that came meanwhile.
    if (contentOf(accounts, io).hashes.has(name)) throw exists;
    const hash = await newPasswordHash(options, io);
    if (!(await changed(path, () => setHtpasswdUser(path, name, hash, { only: 'new' })))) throw exists;
    io.out(`added ${name} to ${path}\n`);
    hintAtLogins(accounts, io);
  });
}

/** Gives an account another password. @returns the exit code */
export async function userPasswd(
  options: UserOptions & NewPasswordOptions,
  io: CommandIo = processIo(),
): Promise<number> {
  return await exitCodeOf(io, async () => {
    const { name } = options;
    const accounts = await accountsToChange(options, io);
    const { path } = accounts;
    const content = contentOf(accounts, io);
    const missing = new CommandFailure(`there is no ${name} in ${path}; "entrepot user add" adds an account`);
    // With an ignored line there may be one whose hash is not usable: that is a reason to change it.
    if (!content.hashes.has(name) && content.warning === undefined) throw missing;
    const hash = await newPasswordHash(options, io);
    if (!(await changed(path, () => setHtpasswdUser(path, name, hash, { only: 'present' })))) throw missing;
    io.out(`changed the password of ${name} in ${path}\n`);
  });
}

/** Removes an account. @returns the exit code */
export async function userRemove(options: UserOptions, io: CommandIo = processIo()): Promise<number> {
  return await exitCodeOf(io, async () => {
    const { name } = options;
    const { path } = await accountsToChange(options, io);
    if (!(await changed(path, () => removeHtpasswdUser(path, name)))) {
      throw new CommandFailure(`there is no ${name} in ${path}`);
    }
    io.out(`removed ${name} from ${path}\n`);
  });
}

/** Lists accounts with their place and groups. @returns the exit code */
export async function userList(
  options: Pick<UserOptions, 'file'>,
  io: CommandIo = processIo({ isListing: true }),
): Promise<number> {
  return await exitCodeOf(io, async () => {
    const accounts = await findAccountFile(options.file, io);
    const content = contentOf(accounts, io);
    const { users, groups, path, configFile = 'the environment' } = accounts;
    const log = { warn: (message: string) => io.err(`warning: ${message}\n`) };
    const local = new LocalAccounts({
      users,
      groups,
      files: [{ content }],
      passwords: new PasswordCheck(),
      log,
    });
    const configured = new Set(users.map(({ name }) => name));
    const rows = [
      ...users.map(({ name }) => [name, configFile]),
      ...[...content.hashes.keys()].map((name) => [
        name,
        configured.has(name) ? `${path} (not used: the one above counts)` : path,
      ]),
    ].map(([name = '', place = '']) => [name, place, local.find(name)?.groups.join(', ') || '-']);
    if (rows.length === 0) io.err(`there are no accounts, neither in the configuration nor in ${path}\n`);
    else {
      // A stable order: the configuration's account stays before the file's of the same name.
      rows.sort(([one = ''], [other = '']) => (one < other ? -1 : one > other ? 1 : 0));
      io.out(tableOf([['NAME', 'DEFINED IN', 'GROUPS'], ...rows]));
    }
    hintAtLogins(accounts, io);
  });
}

/** The accounts, where the name is one that a command can change. */
async function accountsToChange({ file, name }: UserOptions, io: CommandIo): Promise<AccountFile> {
  if (!isAccountName(name)) {
    throw new CommandFailure(
      `${JSON.stringify(name)} is no account's name: expected 1 to 128 letters, digits and ._@+-/, with a letter, digit or _ first`,
      2,
    );
  }
  const accounts = await findAccountFile(file, io);
  if (accounts.users.some((user) => user.name === name)) {
    throw new CommandFailure(
      `${name} is defined in ${accounts.configFile ?? 'the environment'}; change it there ("entrepot hash-password" makes the hash)`,
    );
  }
  return accounts;
}

function contentOf({ path }: AccountFile, io: CommandIo): HtpasswdFile['content'] {
  const file = new HtpasswdFile(path, {
    log: {
      info: () => undefined,
      warn: (message) => io.err(`warning: ${message}\n`),
      error: (message) => {
        throw new CommandFailure(message);
      },
    },
  });
  return file.content;
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied; run it as the user that the registry runs as',
  EPERM: 'permission denied; run it as the user that the registry runs as',
  EROFS: 'it is on a read-only file system',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of the path is no folder',
};

async function changed(path: string, change: () => Promise<boolean>): Promise<boolean> {
  try {
    return await change();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const code = 'code' in error ? String(error.code) : '';
    throw new CommandFailure(`${path} cannot be changed: ${REASONS[code] ?? error.message}`);
  }
}

/** Columns side by side, two spaces apart. */
function tableOf(rows: readonly (readonly string[])[]): string {
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}
