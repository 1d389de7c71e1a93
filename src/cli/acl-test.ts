import { isIP } from 'node:net';
import type { Action } from '../auth/access.ts';
import { Acl, type Rule } from '../auth/acl.ts';
import { HtpasswdFile } from '../auth/htpasswd-file.ts';
import { isAccountName } from '../auth/identity.ts';
import { LocalAccounts } from '../auth/local-accounts.ts';
import { PasswordCheck } from '../auth/passwords.ts';
import type { AuthConfig, OwnAuthConfig } from '../config/auth-config.ts';
import { loadConfig } from '../config/load.ts';
import { isRepositoryName, type RepositoryName } from '../oci/name.ts';
import { canonicalNames } from '../app-proxy.ts';
import { CommandFailure, type CommandIo, exitCodeOf, processIo } from './command-io.ts';

export interface AclTestOptions {
  readonly file?: string;
  /** Left out or empty for the anonymous account. */
  readonly account?: string;
  /** Beside those that the configuration tells, for accounts of a directory or issuer. */
  readonly group?: readonly string[];
  readonly repo: string;
  readonly action: string;
  /** The address that the request comes from. Left out no rule about addresses matches. */
  readonly ip?: string;
}

/** Who asks for what, checked. */
interface Question {
  readonly account: string;
  readonly action: Action;
  readonly repository: RepositoryName;
  readonly ip: string;
  /** The beginning of the answer. */
  readonly text: string;
}

interface Answer {
  /** undefined when it cannot be told from the configuration. */
  readonly allowed: boolean | undefined;
  readonly reason: string;
}

/**
 * `entrepot acl test`: what is decided, and by which rule.
 * @returns 0 when it is allowed and 1 when not; 2 when neither can be told: for a wrong question or configuration
 */
export async function aclTest(
  options: AclTestOptions,
  io: CommandIo = processIo({ isListing: true }),
): Promise<number> {
  let allowed: boolean | undefined;
  await exitCodeOf(io, async () => {
    const typed = questionOf(options);
    const { file } = options;
    const { config } = await loadConfig({ ...(file === undefined ? {} : { file }), env: io.env });
    const repository = canonicalNames(config)(typed.repository);
    const question = { ...typed, repository };
    const { text, account, action } = question;
    if (repository !== typed.repository)
      io.err(`${typed.repository} is ${repository}: rules are asked for that name\n`);
    const { auth, storage } = config;
    if (auth?.kind === 'own') {
      const groups = [...new Set([...groupsOf(auth, account, io), ...(options.group ?? [])])];
      const answer = decide(auth, question, groups, io);
      ({ allowed } = answer);
      const member = groups.length === 0 ? '' : ` (groups: ${groups.join(', ')})`;
      io.out(`${text}${member}${fromOf(question)}: ${answer.reason}\n`);
    } else {
      const answer = withoutRules(auth, account);
      ({ allowed } = answer);
      io.out(`${text}${fromOf(question)}: ${answer.reason}\n`);
    }
    if (allowed !== true) return;
    if (storage.readOnly && action !== 'pull')
      io.err('warning: the registry is read-only at present (storage.maintenance.readonly)\n');
    else if (!storage.deleteEnabled && action === 'delete')
      io.err('warning: nobody can delete as long as storage.delete.enabled is not true\n');
  });
  return allowed === undefined ? 2 : allowed ? 0 : 1;
}

/** @throws CommandFailure */
function questionOf({ account = '', repo, action: asked, ip = '' }: AclTestOptions): Question {
  const action = actionOf(asked);
  const wrong = (option: string, value: string, what: string) =>
    new CommandFailure(`--${option}: ${JSON.stringify(value)} is no ${what}`, 2);
  if (account !== '' && !isAccountName(account)) throw wrong('account', account, 'account’s name');
  if (!isRepositoryName(repo)) throw wrong('repo', repo, 'repository’s name');
  if (ip !== '' && isIP(ip) === 0) throw wrong('ip', ip, 'address');
  const who = account === '' ? 'anonymous' : account;
  return { account, action, repository: repo, ip, text: `${action} ${WHERE[action]} ${repo} by ${who}` };
}

const WHERE = { pull: 'from', push: 'to', delete: 'in' } as const satisfies Record<Action, string>;

function fromOf({ ip }: Question): string {
  return ip === '' ? '' : ` from ${ip}`;
}

function decide(
  { acl }: OwnAuthConfig,
  { account, action, repository, ip }: Question,
  groups: readonly string[],
  io: CommandIo,
): Answer {
  if (ip === '' && acl.some((rule) => rule.ip.length > 0)) {
    io.err('warning: without --ip the rules about addresses are passed over\n');
  }
  const { allowed, rule } = new Acl(acl).decide({ account, groups, remoteAddress: ip }, action, repository);
  if (rule !== undefined)
    return { allowed, reason: `${allowed ? 'allowed' : 'refused'} by ${describe(rule)}` };
  const none = acl.length === 0 ? 'there are no rules' : 'no rule allows it';
  return { allowed, reason: `refused: ${none}` };
}

/** What holds where there is no list of rules. */
function withoutRules(auth: Exclude<AuthConfig, OwnAuthConfig> | undefined, account: string): Answer {
  if (auth === undefined) {
    return {
      allowed: true,
      reason: 'allowed: there are no rules and no logins, so everybody may do everything',
    };
  }
  if (auth.kind === 'token') {
    const server = auth.realm === '' ? auth.autoRedirectPath : auth.realm;
    return {
      allowed: undefined,
      reason: `there are no rules here: the token server at ${server} decides (auth.token)`,
    };
  }
  return account === ''
    ? { allowed: false, reason: 'refused: there are no rules, but a login is needed (auth.silly)' }
    : { allowed: true, reason: 'allowed: there are no rules, and any login will do (auth.silly)' };
}

function actionOf(text: string): Action {
  const action = (['pull', 'push', 'delete'] as const).find((name) => name === text);
  if (action === undefined)
    throw new CommandFailure(`--action: expected pull, push or delete, found ${JSON.stringify(text)}`, 2);
  return action;
}

/** As a login would find them. An account that is not kept here is told, as it may be a slip of the finger. */
function groupsOf(auth: OwnAuthConfig, account: string, io: CommandIo): readonly string[] {
  if (account === '') return [];
  const warn = (message: string) => io.err(`warning: ${message}\n`);
  const log = { info: () => undefined, warn, error: warn };
  const files = auth.htpasswd === undefined ? [] : [new HtpasswdFile(auth.htpasswd.path, { log })];
  const { users, groups } = auth;
  const accounts = new LocalAccounts({ users, groups, files, passwords: new PasswordCheck(), log });
  const found = accounts.find(account);
  if (found !== undefined) return found.groups;
  if (auth.ldap === undefined && auth.oidc.length === 0 && auth.certificates.length === 0) {
    warn(`there is no account ${account}; the rules are asked as if there were`);
  }
  return Object.entries(groups)
    .filter(([, members]) => members.includes(account))
    .map(([group]) => group);
}

function describe({ who, name, actions, ip, deny, source }: Rule): string {
  const subject =
    'anonymous' in who ? 'anonymous' : 'group' in who ? `group ${who.group}` : `account ${who.account}`;
  const parts = [subject, `name ${name}`, `actions ${actions.join(', ')}`];
  if (ip.length > 0) parts.push(`ip ${ip.join(', ')}`);
  if (deny) parts.push('deny');
  return `${source} (${parts.join(', ')})`;
}
