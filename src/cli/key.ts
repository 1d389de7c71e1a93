/** `entrepot key`: API keys, and the keys that tokens are signed with. */
import { join } from 'node:path';
import { STATE } from '../app-access.ts';
import type { Action } from '../auth/access.ts';
import { createApiKey, listApiKeys, revokeApiKey } from '../auth/api-keys.ts';
import { isAccountName, type Limit } from '../auth/identity.ts';
import { removeStateFile, stateFiles } from '../auth/state-files.ts';
import { addKey } from '../auth/token-keys.ts';
import type { OwnAuthConfig } from '../config/auth-config.ts';
import type { Config } from '../config/config.ts';
import { parseDuration } from '../config/durations.ts';
import { loadConfig } from '../config/load.ts';
import type { LogFields } from '../log.ts';
import { auditTo } from '../observe/audit.ts';
import { logLine } from '../observe/log-lines.ts';
import { CommandFailure, type CommandIo, exitCodeOf, processIo } from './command-io.ts';

const DAY_MS = 24 * 3_600_000;

export interface KeyAddOptions {
  readonly file?: string;
  readonly account: string;
  /** What it is for. */
  readonly name: string;
  /** Each `NAMES:ACTIONS`, such as `team/*:pull,push`; none for all that the account may. */
  readonly scope?: readonly string[];
  /** Such as `90d` or `12h`; `never` for no end. */
  readonly expires: string;
}

/** Makes an API key and prints it, once. @returns the exit code */
export async function keyAdd(options: KeyAddOptions, io: CommandIo = processIo()): Promise<number> {
  return exitCodeOf(io, async () => {
    const { account, name, scope = [] } = options;
    if (!isAccountName(account)) throw new CommandFailure(`--account: "${account}" is no account’s name`, 2);
    const expires = endOf(options.expires);
    const limits = scope.map(limitOf);
    const config = await loadedConfig(options.file, io);
    const folder = stateFolder(ownAuth(config), STATE.keys);
    const { id, secret } = createApiKey(folder, {
      name,
      account,
      ...(expires === undefined ? {} : { expires }),
      ...(limits.length === 0 ? {} : { limits }),
    });
    io.err(
      `API key ${id} for ${account}, ${expires === undefined ? 'without an end' : `good until ${expires}`}.\n`,
    );
    io.err(`It is shown once. Log in with it as the password: docker login -u ${account} HOST\n`);
    record(config, io, account, `API key ${id} made: ${name}`);
    io.out(`${secret}\n`);
  });
}

/** @returns the exit code */
export async function keyList(
  { file }: { readonly file?: string },
  io: CommandIo = processIo({ isListing: true }),
): Promise<number> {
  return exitCodeOf(io, async () => {
    const keys = listApiKeys(stateFolder(ownAuth(await loadedConfig(file, io)), STATE.keys));
    for (const { id, name, account, created, expires, limits } of keys) {
      const scopes = limits?.map((limit) => `${limit.name}:${limit.actions.join(',')}`).join(' ') ?? 'all';
      const over = expires !== undefined && Date.parse(expires) <= Date.now() ? ' (over)' : '';
      io.out(`${[id, account, name, created, `${expires ?? 'never'}${over}`, scopes].join('\t')}\n`);
    }
    if (keys.length === 0) io.err('There are no API keys.\n');
  });
}

/** @returns the exit code: 1 when there is no such key */
export async function keyRevoke(
  { file, id }: { readonly file?: string; readonly id: string },
  io: CommandIo = processIo(),
): Promise<number> {
  return exitCodeOf(io, async () => {
    const config = await loadedConfig(file, io);
    if (!revokeApiKey(stateFolder(ownAuth(config), STATE.keys), id)) {
      throw new CommandFailure(`there is no API key ${id}; "entrepot key list" shows them`);
    }
    io.err(`API key ${id} is revoked. Tokens that were given for it end within minutes.\n`);
    record(config, io, '', `API key ${id} revoked`);
  });
}

/**
 * Makes a new key that tokens are signed with from now on. Older ones verify what they signed; those that were replaced a
 * day ago or more are removed. @returns the exit code
 */
export async function keyRotate(
  { file }: { readonly file?: string },
  io: CommandIo = processIo(),
): Promise<number> {
  return exitCodeOf(io, async () => {
    const config = await loadedConfig(file, io);
    const auth = ownAuth(config);
    if (auth?.signingMethod === 'HS256' || auth?.privateKey !== undefined) {
      throw new CommandFailure(
        'the signing key is set in the configuration (auth.private_key or auth.hmac_secret): change it there',
      );
    }
    const folder = stateFolder(auth, STATE.signing);
    const before = stateFiles(folder);
    const kid = addKey(folder, auth?.signingMethod ?? 'RS256');
    io.err(`Tokens are signed with ${kid} from now on; those that were given out stay good.\n`);
    record(config, io, '', `signing key ${kid} made`);
    // The next one's age is how long a key is not signed with any more.
    for (const [index, name] of before.entries()) {
      const replaced = Number(before[index + 1]?.split('-')[0] ?? Date.now());
      if (Date.now() - replaced < DAY_MS) continue;
      removeStateFile(join(folder, name));
      io.err(`Removed ${name}, which was replaced more than a day ago.\n`);
    }
  });
}

async function loadedConfig(file: string | undefined, io: CommandIo): Promise<Config> {
  const { config, warnings } = await loadConfig({ ...(file === undefined ? {} : { file }), env: io.env });
  for (const warning of warnings) io.err(`warning: ${warning}\n`);
  return config;
}

function ownAuth({ auth }: Config): OwnAuthConfig | undefined {
  if (auth === undefined || auth.kind === 'own') return auth;
  throw new CommandFailure(
    `auth.${auth.kind} decides who is let in; keys of this registry would not be looked at`,
  );
}

/** A line of the audit log, on this command's standard error. */
function record({ log }: Config, io: CommandIo, account: string, detail: string): void {
  const write = (message: string, fields: LogFields = {}) =>
    io.err(logLine(log.formatter, 'info', message, fields));
  const logger = { debug: write, info: write, warn: write, error: write };
  auditTo(logger)({ event: 'key', account, remoteAddress: '', result: 'done', detail });
}

function endOf(text: string): string | undefined {
  if (text === 'never') return undefined;
  const days = /^(\d{1,5})d$/.exec(text)?.[1];
  const ms = days === undefined ? parseDuration(text) : Number(days) * DAY_MS;
  if (ms === undefined || ms <= 0) {
    throw new CommandFailure(`--expires: expected a time such as 90d or 12h, or never, found "${text}"`, 2);
  }
  return new Date(Date.now() + ms).toISOString();
}

function limitOf(text: string): Limit {
  const colon = text.lastIndexOf(':');
  const name = text.slice(0, Math.max(0, colon));
  const words = text.slice(colon + 1).split(',');
  const all: readonly Action[] = ['pull', 'push', 'delete'];
  const actions = words.includes('*') ? all : all.filter((action) => words.includes(action));
  if (name === '' || (!words.includes('*') && actions.length !== words.length)) {
    throw new CommandFailure(
      `--scope: expected names and actions such as "team/*:pull,push", found "${text}"`,
      2,
    );
  }
  return { name, actions };
}

/** A folder of the state directory. @throws CommandFailure when there is no place for one */
function stateFolder(auth: OwnAuthConfig | undefined, folder: string): string {
  if (auth?.stateDirectory !== undefined) return join(auth.stateDirectory, folder);
  throw new CommandFailure(
    auth === undefined
      ? 'the registry asks for no login: set "users", "acl" or "access" in the configuration first'
      : 'there is no place for keys, as the storage is in memory; set auth.state in the configuration',
  );
}
