import { isIP } from 'node:net';
import type { Action } from '../auth/access.ts';
import { Acl, type Rule } from '../auth/acl.ts';
import { HtpasswdFile } from '../auth/htpasswd-file.ts';
import { LocalAccounts } from '../auth/local-accounts.ts';
import { PasswordCheck } from '../auth/passwords.ts';
import type { OwnAuthConfig } from '../config/auth-config.ts';
import { loadConfig } from '../config/load.ts';
import { isRepositoryName } from '../oci/name.ts';
import { CommandFailure, type CommandIo, exitCodeOf, processIo } from './command-io.ts';

export interface AclTestOptions {
  readonly file?: string;
  /** Left out for the anonymous account. */
  readonly account?: string;
  /** Beside those that the configuration tells, for accounts of a directory or issuer. */
  readonly group?: readonly string[];
  readonly repo: string;
  readonly action: string;
  /** The address that the request comes from. */
  readonly ip?: string;
}

/** `entrepot acl test`: what is decided, and by which rule. @returns 0 when it is allowed, 1 when not, 2 for a wrong question */
export async function aclTest(options: AclTestOptions, io: CommandIo = processIo()): Promise<number> {
  let allowed = false;
  const code = await exitCodeOf(io, async () => {
    const { account = '', repo, ip = '127.0.0.1' } = options;
    const action = actionOf(options.action);
    if (!isRepositoryName(repo)) throw new CommandFailure(`--repo: "${repo}" is no repository’s name`, 2);
    if (isIP(ip) === 0) throw new CommandFailure(`--ip: "${ip}" is no address`, 2);
    const { file } = options;
    const { config } = await loadConfig({ ...(file === undefined ? {} : { file }), env: io.env });
    const { auth } = config;
    if (auth?.kind !== 'own') {
      allowed = auth === undefined;
      io.out(
        auth === undefined
          ? 'allowed: no login is asked for, everybody may do everything\n'
          : `there are no rules: auth.${auth.kind} decides\n`,
      );
      return;
    }
    const groups = [...groupsOf(auth, account, io), ...(options.group ?? [])];
    const decision = new Acl(auth.acl).decide({ account, groups, remoteAddress: ip }, action, repo);
    ({ allowed } = decision);
    const who = account === '' ? 'nobody in particular' : account;
    const member = groups.length === 0 ? '' : ` (${groups.join(', ')})`;
    const by = decision.rule === undefined ? 'no rule allows it' : describe(decision.rule);
    io.out(`${allowed ? 'allowed' : 'refused'}: ${action} ${repo} by ${who}${member} from ${ip}: ${by}\n`);
  });
  return code === 0 && !allowed ? 1 : code;
}

function actionOf(text: string): Action {
  const action = (['pull', 'push', 'delete'] as const).find((name) => name === text);
  if (action === undefined)
    throw new CommandFailure(`--action: expected pull, push or delete, found "${text}"`, 2);
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
  const [kind, value] = Object.entries(who)[0] ?? [];
  const subject = kind === 'anonymous' ? 'anonymous' : `${kind} ${String(value)}`;
  const from = ip.length === 0 ? '' : `, from ${ip.join(', ')}`;
  return `${source} (${deny ? 'deny: ' : ''}${subject}, name ${name}, actions ${actions.join(', ')}${from})`;
}
