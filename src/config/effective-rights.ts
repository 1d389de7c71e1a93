/** From `acl` and `access` to the list of rules in force. */
import { isIP } from 'node:net';
import type { RuleConfig } from './auth-config.ts';
import type { Findings } from './findings.ts';
import type { File } from './schema.ts';
import type { MapNode, Path } from './tree.ts';

type Who = RuleConfig['who'];
type RuleInput = NonNullable<File['acl']>[number];

const ACTIONS = ['pull', 'push', 'delete'] as const;

/** Without a word about rights everybody who is known may do everything, as in `registry:2`. */
export const EVERY_ACCOUNT: RuleConfig = {
  who: { account: '*' },
  name: '*',
  actions: ['*'],
  ip: [],
  deny: false,
  source: 'the default (there is neither acl nor access)',
};

/** The rules in the order in which they are asked: those of `acl`, then what `access` stands for. */
export function effectiveRights(
  { acl, access }: Pick<File, 'acl' | 'access'>,
  root: MapNode,
  findings: Findings,
): readonly RuleConfig[] {
  if (!acl && !access) return [EVERY_ACCOUNT];
  const rules = (acl ?? []).map((rule, index) => ruleOf(rule, ['acl', index], root, findings));
  for (const action of ACTIONS) {
    for (const name of access?.[action] ?? []) {
      const who = whoOf(name);
      if (who === undefined) continue;
      rules.push({
        who,
        name: '*',
        // Who pushes also asks what is there already.
        actions: action === 'push' ? ['pull', 'push'] : [action],
        ip: [],
        deny: false,
        source: findings.where(root, ['access', action]) || `access.${action}`,
      });
    }
  }
  return rules;
}

/** The words of `access`. */
function whoOf(name: string): Who | undefined {
  if (name === 'off' || name === '' || name === 'false') return undefined; // YAML 1.1 reads a bare off as false
  if (name === 'anonymous') return { anonymous: true };
  if (name === 'users') return { account: '*' };
  return name.startsWith('group:') ? { group: name.slice('group:'.length) } : { account: name };
}

function ruleOf(rule: RuleInput, path: Path, root: MapNode, findings: Findings): RuleConfig {
  const { account, group, anonymous, name, actions, ip, deny } = rule;
  const given = [account, group, anonymous].filter((value) => value !== undefined && value !== null);
  if (given.length !== 1 || anonymous === false) {
    findings.problemAt(root, path, 'expected exactly one of "account", "group" and "anonymous: true"');
  }
  if (account === '')
    findings.problemAt(root, path, 'an account has a name; write "anonymous: true" for nobody in particular');
  if (actions === undefined || actions === null) {
    findings.problemAt(root, path, 'expected "actions", such as [pull, push]');
  }
  // A place that nothing is known for is never filled: a rule that refuses would never do so.
  const unknown = [...(name ?? '').matchAll(/\$\{([^{}]*)\}?/g)].find(([place]) => place !== '${account}');
  if (unknown !== undefined) {
    findings.problemAt(root, path, `expected "\${account}" in the name, found "${unknown[0].slice(0, 60)}"`);
  }
  for (const block of ip ?? []) {
    if (!isAddressBlock(block)) {
      findings.problemAt(
        root,
        path,
        `expected an address or a block such as "10.0.0.0/8", found "${block.slice(0, 60)}"`,
      );
    }
  }
  return {
    who:
      typeof account === 'string' ? { account } : typeof group === 'string' ? { group } : { anonymous: true },
    name: name ?? '*',
    actions: actions ?? [],
    ip: ip ?? [],
    deny: deny ?? false,
    source: findings.where(root, path) || `acl[${path[1] ?? 0}]`,
  };
}

function isAddressBlock(text: string): boolean {
  const [address = '', bits, ...more] = text.split('/');
  const version = isIP(address);
  if (version === 0 || more.length > 0) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
}
