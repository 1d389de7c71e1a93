/** Who may do what: a list of rules of which the first that speaks of somebody's action decides. */
import type { Action } from './access.ts';
import { glob, globOfParts } from '../oci/glob.ts';
import type { Limit } from './identity.ts';
import { type IpAddress, ipRange, parseAddress } from './ip-range.ts';

/** A rule as it was written. */
export interface Rule {
  /** `account` is a glob over the names of accounts; `anonymous` means everybody, logged in or not. */
  readonly who: { readonly account: string } | { readonly group: string } | { readonly anonymous: true };
  /** A glob over repository names, in which `${account}` stands for the account's name. */
  readonly name: string;
  readonly actions: readonly (Action | '*')[];
  /** Addresses or blocks that the request must come from; empty for any. */
  readonly ip: readonly string[];
  /** Whether it refuses. */
  readonly deny: boolean;
  /** Where it was written, for messages. */
  readonly source: string;
}

/** Whose action it is. */
export interface Subject {
  /** `''` for the anonymous account. */
  readonly account: string;
  readonly groups: readonly string[];
  readonly remoteAddress: string;
  /** What the subject is narrowed to, beside the rules. */
  readonly limits?: readonly Limit[] | undefined;
}

export interface Decision {
  readonly allowed: boolean;
  /** The rule that decided; undefined when none speaks of it, or when the subject's limits leave it out. */
  readonly rule: Rule | undefined;
  readonly limited: boolean;
}

const REFUSED: Decision = { allowed: false, rule: undefined, limited: false };
const LIMITED: Decision = { allowed: false, rule: undefined, limited: true };

/** A rule as it is asked. The action is no part of it: each action has its list. */
interface CompiledRule {
  readonly isWho: (subject: Subject) => boolean;
  /** undefined for any address. */
  readonly comesFrom: ((address: IpAddress | undefined) => boolean) | undefined;
  readonly names: Names;
  /** Made once, as it is the same in every decision. */
  readonly decision: Decision;
}

interface Names {
  readonly match: (repository: string, account: string) => boolean;
  /** Whether they are all names there are. */
  readonly all: boolean;
  /** Whether there can be one for the account. */
  readonly any: (account: string) => boolean;
}

const ACTIONS = ['pull', 'push', 'delete'] as const satisfies readonly Action[];

/** The rules in force. It never changes; another list is another `Acl`. */
export class Acl {
  readonly #rules: Readonly<Record<Action, readonly CompiledRule[]>>;

  /** @throws Error for an address block that cannot be read */
  constructor(rules: readonly Rule[]) {
    const lists: Record<Action, CompiledRule[]> = { pull: [], push: [], delete: [] };
    for (const rule of rules) {
      const compiled = compile(rule);
      for (const action of ACTIONS) {
        if (rule.actions.includes('*') || rule.actions.includes(action)) lists[action].push(compiled);
      }
    }
    this.#rules = lists;
  }

  /** Whether the subject may do it, and by which rule. */
  decide(subject: Subject, action: Action, repository: string): Decision {
    const { account, remoteAddress, limits } = subject;
    if (limits !== undefined && !isWithin(limits, action, repository)) return LIMITED;
    let address: IpAddress | undefined;
    let isParsed = false;
    for (const { isWho, comesFrom, names, decision } of this.#rules[action]) {
      if (!isWho(subject) || !names.match(repository, account)) continue;
      if (comesFrom === undefined) return decision;
      // Read for the first rule that asks: most lists have none.
      if (!isParsed) address = parseAddress(remoteAddress);
      isParsed = true;
      if (comesFrom(address)) return decision;
    }
    return REFUSED;
  }

  /**
   * Whether there may be a repository that the subject can pull from. true does not promise one, as a refusal of some
   * names is not weighed against those that are allowed behind it.
   */
  mayPullAnything(subject: Subject): boolean {
    const { account, limits } = subject;
    if (limits?.some(({ actions }) => actions.includes('pull')) === false) return false;
    const address = parseAddress(subject.remoteAddress);
    for (const { isWho, comesFrom, names, decision } of this.#rules.pull) {
      if (!isWho(subject) || comesFrom?.(address) === false) continue;
      if (decision.allowed && names.any(account)) return true;
      if (!decision.allowed && names.all) return false;
    }
    return false;
  }
}

/** Whether limits, as API keys have them, leave the action in. */
export function isWithin(limits: readonly Limit[], action: Action, repository: string): boolean {
  return limits.some(({ name, actions }) => actions.includes(action) && glob(name)(repository));
}

function compile(rule: Rule): CompiledRule {
  const { who, name, ip, deny } = rule;
  return {
    isWho: compileWho(who),
    comesFrom: ip.length === 0 ? undefined : ipRange(ip),
    names: compileNames(name),
    decision: { allowed: !deny, rule, limited: false },
  };
}

function compileWho(who: Rule['who']): (subject: Subject) => boolean {
  if ('group' in who) {
    const { group } = who;
    return ({ groups }) => groups.includes(group);
  }
  if ('anonymous' in who) return () => true;
  const matches = glob(who.account);
  return ({ account }) => account !== '' && matches(account);
}

const ACCOUNT = '${account}';

function compileNames(pattern: string): Names {
  if (!pattern.includes('${')) {
    return { match: glob(pattern), all: /^\*+$/.test(pattern), any: () => true };
  }
  // A place for anything else is filled with nothing, so that the rule is about no name.
  if (pattern.replaceAll(ACCOUNT, '').includes('${')) {
    return { match: () => false, all: false, any: () => false };
  }
  // Cut at the pattern's stars before the name comes in: in it a star would be a plain character.
  const parts = pattern.split('*').map((part) => part.split(ACCOUNT));
  const start = parts[0]?.[0] ?? '';
  return {
    match: (repository, account) =>
      account !== '' &&
      repository.startsWith(start) &&
      globOfParts(parts.map((part) => part.join(account)))(repository),
    all: false,
    any: (account) => account !== '',
  };
}
