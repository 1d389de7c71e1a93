/**
 * Quotas: how much the repositories that a pattern names may hold together. A rule is what the configuration says; an
 * account is what is counted: the rule's pattern, or one for each first component of repositories' names.
 */
import type { Digest } from './digest.ts';
import { type Glob, glob } from './glob.ts';
import { isRepositoryName, type RepositoryName } from './name.ts';

/** Stands at the begin of a rule's pattern, before `/`, `*` or nothing, for the first component of a repository's name: one account for each. */
export const NAMESPACE = '{namespace}';

export interface QuotaRule {
  /** A pattern of repositories (`glob.ts`), which may begin with `{namespace}`. */
  readonly repositories: string;
  /** Most bytes, as stored: what several repositories of the account share counts once. */
  readonly bytes?: number;
  readonly maxRepositories?: number;
}

/** What goes for a repository: an account and its limits. */
export interface Quota extends Pick<QuotaRule, 'bytes' | 'maxRepositories'> {
  /** The rule's pattern with the namespace put in. Rules of one pattern share an account. */
  readonly account: string;
  /** The first component that all names of the account have; undefined where they may have several. */
  readonly namespace: string | undefined;
}

interface Rule extends QuotaRule {
  /** Of a pattern without a namespace. */
  readonly fixed: { readonly matches: Glob; readonly quota: Quota } | undefined;
}

/** The rules of a configuration. */
export class QuotaRules {
  readonly #rules: readonly Rule[];

  constructor(rules: readonly QuotaRule[]) {
    this.#rules = rules.map((rule) => ({
      ...rule,
      fixed: rule.repositories.startsWith(NAMESPACE)
        ? undefined
        : { matches: glob(rule.repositories), quota: quotaOf(rule, rule.repositories) },
    }));
  }

  /** Every quota that a repository counts for, in the order of the rules, each account once with its lowest limits. */
  of(name: RepositoryName): readonly Quota[] {
    const quotas: Quota[] = [];
    for (const rule of this.#rules) {
      const quota = rule.fixed === undefined ? expanded(rule, name) : rule.fixed.quota;
      if (quota === undefined || rule.fixed?.matches(name) === false) continue;
      const same = quotas.findIndex(({ account }) => account === quota.account);
      if (same === -1) quotas.push(quota);
      else quotas[same] = stricter(quotas[same] ?? quota, quota);
    }
    return quotas;
  }

  /** The accounts there can be, where the registry has repositories with these first components. */
  accounts(namespaces: Iterable<string>): readonly Quota[] {
    const accounts = new Map<string, Quota>();
    for (const { fixed } of this.#rules) if (fixed !== undefined) add(accounts, fixed.quota);
    const templates = this.#rules.filter(({ fixed }) => fixed === undefined);
    if (templates.length === 0) return [...accounts.values()];
    for (const namespace of namespaces) {
      for (const rule of templates) add(accounts, inNamespace(rule, namespace));
    }
    return [...accounts.values()];
  }

  /** The account of that name; undefined where no rule has it. */
  find(account: string): Quota | undefined {
    const found = new Map<string, Quota>();
    for (const rule of this.#rules) {
      const namespace = rule.fixed === undefined ? namespaceIn(account, rule.repositories) : undefined;
      if (namespace !== undefined) add(found, inNamespace(rule, namespace));
      else if (rule.fixed?.quota.account === account) add(found, rule.fixed.quota);
    }
    return found.get(account);
  }
}

function add(accounts: Map<string, Quota>, quota: Quota): void {
  const before = accounts.get(quota.account);
  accounts.set(quota.account, before === undefined ? quota : stricter(before, quota));
}

/** What stands for `{namespace}` in an account's name. */
function namespaceIn(account: string, template: string): string | undefined {
  const rest = template.slice(NAMESPACE.length);
  if (!account.endsWith(rest)) return undefined;
  const namespace = account.slice(0, account.length - rest.length);
  return !namespace.includes('/') && isRepositoryName(namespace) ? namespace : undefined;
}

function expanded(rule: QuotaRule, name: RepositoryName): Quota | undefined {
  const quota = inNamespace(rule, name.split('/', 1)[0] ?? name);
  return glob(quota.account)(name) ? quota : undefined;
}

function inNamespace(rule: QuotaRule, namespace: string): Quota {
  return {
    ...quotaOf(
      rule,
      rule.repositories.replace(NAMESPACE, () => namespace),
    ),
    namespace,
  };
}

function quotaOf({ bytes, maxRepositories }: QuotaRule, account: string): Quota {
  return {
    account,
    namespace: /^([^*/]+)(?:\/|$)/.exec(account)?.[1],
    ...(bytes === undefined ? {} : { bytes }),
    ...(maxRepositories === undefined ? {} : { maxRepositories }),
  };
}

function stricter(one: Quota, other: Quota): Quota {
  const bytes = least(one.bytes, other.bytes);
  const maxRepositories = least(one.maxRepositories, other.maxRepositories);
  return {
    ...one,
    ...(bytes === undefined ? {} : { bytes }),
    ...(maxRepositories === undefined ? {} : { maxRepositories }),
  };
}

function least(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? (one ?? other) : Math.min(one, other);
}

/** What a push is about to add. */
export interface Claim {
  /** Its name among all that are under way: an upload's, or a random one. A later claim of the name replaces the earlier. */
  readonly key: string;
  readonly repository: RepositoryName;
  /** Bytes that it needs in all. */
  readonly bytes: number;
  /** Bytes in all that it would rather have set aside, so that it need not ask so often; at least `bytes`. */
  readonly ahead?: number;
  /** What it will be, where that is known: content that an account has costs it nothing. */
  readonly digest?: Digest;
  /** Whether it is a manifest: with its first one a repository counts. */
  readonly isManifest?: boolean;
}

/** Why a claim cannot be met. */
export interface Shortage {
  readonly quota: Quota;
  readonly of: 'bytes' | 'repositories';
  readonly limit: number;
  /** Bytes or repositories that are there or on their way, without the claim's own. */
  readonly used: number;
}

export interface Grant {
  /** Bytes in all that the claim can have. */
  readonly bytes: number;
  /** Set when it can have none. */
  readonly shortage?: Shortage;
  /** Accounts that were never counted: as long as they are not, their limits do not hold. */
  readonly uncounted: readonly Quota[];
}

/** What the accounts hold, among all processes that share the storage. */
export interface UsageLedger {
  /** Looks whether there is room, and sets it aside for the claim until it is settled or released, or nobody is heard of it for an hour. */
  reserve(quotas: readonly Quota[], claim: Claim): Promise<Grant>;
  /** Whether there is room for a byte, and for the repository if it has no manifest yet. Sets nothing aside. */
  look(quotas: readonly Quota[], repository: RepositoryName): Promise<Grant>;
  /** Counts what is stored and linked by now, unless the accounts have it; what was set aside is free again. */
  settle(
    quotas: readonly Quota[],
    stored: {
      readonly key: string;
      readonly repository: RepositoryName;
      readonly digest: Digest;
      readonly size: number;
      readonly isManifest?: boolean;
    },
  ): Promise<void>;
  /** Frees what was set aside under these names. */
  release(quotas: readonly Quota[], keys: readonly string[]): Promise<void>;
  /**
   * Takes note that a repository may have no link to these any more: content that no repository of an account links to, and
   * a repository without a manifest, count no more. @returns accounts of so many repositories that they have to be counted anew
   */
  unlinked(
    quotas: readonly Quota[],
    repository: RepositoryName,
    digests: readonly Digest[],
  ): Promise<readonly Quota[]>;
  /** Size in bytes of content that is stored for whatever repository; undefined when it is not. */
  storedSize(digest: Digest): Promise<number | undefined>;
}
