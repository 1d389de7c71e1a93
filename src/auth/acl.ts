/** Who may do what: a list of rules of which the first that speaks of somebody's action decides. */
import type { Action } from './access.ts';
import { fill, type Glob, glob } from './glob.ts';
import type { Limit } from './identity.ts';
import { ipRange } from './ip-range.ts';

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

interface CompiledRule {
  readonly rule: Rule;
  readonly isFor: (subject: Subject) => boolean;
  readonly covers: (action: Action) => boolean;
  readonly names: (subject: Subject) => Glob;
  /** Made once, as it is the same in every decision. */
  readonly decision: Decision;
}

const NOTHING: Glob = () => false;

/** The rules in force. It never changes; another list is another `Acl`. */
export class Acl {
  readonly #rules: readonly CompiledRule[];

  /** @throws Error for an address block that cannot be read */
  constructor(rules: readonly Rule[]) {
    this.#rules = rules.map(compile);
  }

  /** Whether the subject may do it, and by which rule. */
  decide(subject: Subject, action: Action, repository: string): Decision {
    if (subject.limits !== undefined && !isWithin(subject.limits, action, repository)) return LIMITED;
    for (const { isFor, covers, names, decision } of this.#rules) {
      if (covers(action) && isFor(subject) && names(subject)(repository)) return decision;
    }
    return REFUSED;
  }

  /** Whether there may be a repository that the subject can pull from. */
  mayPullAnything(subject: Subject): boolean {
    return this.#rules.some(({ rule, isFor, covers }) => !rule.deny && covers('pull') && isFor(subject));
  }
}

/** Whether limits, as API keys have them, leave the action in. */
export function isWithin(limits: readonly Limit[], action: Action, repository: string): boolean {
  return limits.some(({ name, actions }) => actions.includes(action) && glob(name)(repository));
}

function compile(rule: Rule): CompiledRule {
  const { actions, ip } = rule;
  const isWho = compileWho(rule.who);
  const comesFrom = ip.length === 0 ? undefined : ipRange(ip);
  return {
    rule,
    isFor: (subject) => isWho(subject) && (comesFrom === undefined || comesFrom(subject.remoteAddress)),
    covers: (action) => actions.includes('*') || actions.includes(action),
    names: compileNames(rule.name),
    decision: { allowed: !rule.deny, rule, limited: false },
  };
}

function compileWho(who: Rule['who']): (subject: Subject) => boolean {
  if ('group' in who) return ({ groups }) => groups.includes(who.group);
  if ('anonymous' in who) return () => true;
  const matches = glob(who.account);
  return ({ account }) => account !== '' && matches(account);
}

/** The account's own characters stand for themselves: it cannot be a pattern, as no account has a `*` in its name. */
function compileNames(pattern: string): (subject: Subject) => Glob {
  if (!pattern.includes('${')) {
    const matches = glob(pattern);
    return () => matches;
  }
  return ({ account }) => {
    const filled = fill(pattern, (name) => (name === 'account' && account !== '' ? account : undefined));
    return filled === undefined ? NOTHING : glob(filled);
  };
}
