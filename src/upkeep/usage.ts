/** `entrepot usage`: what each namespace takes up and each quota holds. As a job of the server it also puts the quotas' counts right. */
import { isFull } from '../drivers/driver.ts';
import type { Digest } from '../oci/digest.ts';
import type { Glob } from '../oci/glob.ts';
import { isRepositoryName, type RepositoryName } from '../oci/name.ts';
import type { Quota, QuotaRules } from '../oci/quota.ts';
import { blobKey, REPOSITORIES } from '../store/layout.ts';
import { linkedContent } from '../store/linked-content.ts';
import { tagsOf } from '../store/tags.ts';
import { readBook } from '../store/usage-books.ts';
import { forgetAccounts, storedAccounts } from '../store/usage-counting.ts';
import { isFuture } from '../silence.ts';
import { DigestSet } from './digest-set.ts';
import type { Job, JobContext } from './job.ts';
import {
  type AccountUsage,
  countAccount,
  type Counted,
  recountAccount,
  recountAccountNext,
  repositoriesOf,
  UnreadableFolders,
} from './recount.ts';
import { unlessUnreadable } from './unreadable.ts';

export interface UsageOptions extends Counted {
  /** Only these repositories, a line for each. Left out, there is a line for each namespace. */
  readonly pattern?: Glob;
  /** Whether the ledger that pushes are held to is made to agree. Else nothing is written. */
  readonly update: boolean;
  /** Accounts that were counted since then (milliseconds since 1970) are left as they are. With `update`. */
  readonly since?: number;
  /** Whether only quotas are counted, and no namespaces. */
  readonly quotasOnly?: boolean;
}

/** Repositories of one namespace, or one repository. */
interface Group {
  readonly name: string;
  repositories: number;
  tags: number;
  /** Bytes as stored: content that several of its repositories have counts once. */
  bytes: number;
  /** Of those, what other groups have too. */
  shared: number;
  /** Quotas that hold exactly this group's repositories. */
  quotas: readonly Quota[];
}

/**
 * See `UsageOptions`. Reports lines `namespace` or `repository`, largest first, `quota`, and `problem` for what cannot be read,
 * or for want of room not be counted.
 */
export const usage: Job<UsageOptions> = async (given, options) => {
  const context = { ...given, objects: given.objects.strict() };
  const unreadable = new UnreadableFolders(context.report);
  const { groups, total } =
    options.quotasOnly === true ? { groups: [], total: 0 } : await countGroups(context, options, unreadable);
  groups.sort((one, other) => other.bytes - one.bytes || (one.name < other.name ? -1 : 1));
  for (const { name, repositories, tags, bytes, shared, quotas } of groups) {
    const limits = quotas.flatMap((quota) => quota.bytes ?? []);
    const limit = limits.length === 0 ? {} : { limit: Math.min(...limits) };
    context.report(
      options.pattern === undefined
        ? { what: 'namespace', namespace: name, repositories, tags, bytes, shared, ...limit }
        : { what: 'repository', repository: name, tags, bytes, shared, ...limit },
    );
  }
  const { accounts, uncounted } =
    options.pattern === undefined
      ? await countAccounts(context, options, unreadable)
      : { accounts: [], uncounted: 0 };
  for (const { quota, bytes, repositories, isPartial } of accounts) {
    context.report({
      what: 'quota',
      quota: quota.account,
      repositories,
      bytes,
      ...(quota.maxRepositories === undefined ? {} : { maxrepositories: quota.maxRepositories }),
      ...(quota.bytes === undefined ? {} : { limit: quota.bytes }),
      ...(isPartial ? { partial: true } : {}),
    });
  }
  return {
    repositories: groups.reduce((sum, group) => sum + group.repositories, 0),
    tags: groups.reduce((sum, group) => sum + group.tags, 0),
    bytes: total,
    quotas: accounts.length,
    ...(unreadable.size + uncounted === 0 ? {} : { problems: unreadable.size + uncounted }),
  };
};

/** @returns what was counted, and the bytes of all together */
async function countGroups(
  context: JobContext,
  { isOwn, pattern, rules }: UsageOptions,
  unreadable: UnreadableFolders,
): Promise<{ readonly groups: Group[]; readonly total: number }> {
  const { objects, progress } = context;
  const groups: Group[] = [];
  let total = 0;
  const all = new DigestSet();
  const several = new DigestSet();
  let done = 0;
  for await (const [group, name, own] of grouped(context, unreadable, isOwn, pattern)) {
    if (group.repositories === 0) groups.push(group);
    const quotas = rules.of(name).filter(({ namespace }) => namespace === name.split('/', 1)[0]);
    const isKept = ({ account }: Quota) => quotas.some((quota) => quota.account === account);
    group.quotas = group.repositories === 0 ? quotas : group.quotas.filter(isKept);
    group.repositories += 1;
    await unlessUnreadable(
      async () => {
        for await (const _ of tagsOf(objects, name)) {
          context.signal.throwIfAborted();
          await context.pace(1);
          group.tags += 1;
        }
        for await (const [digest, size] of contentOf(context, name, own)) {
          group.bytes += size;
          if (all.add(digest)) total += size;
          else several.add(digest);
        }
      },
      (failure) => unreadable.found(name, failure),
    );
    done += 1;
    progress('counting repositories', done);
  }
  if (pattern !== undefined) for (const group of groups) group.quotas = only(group);
  if (several.size > 0) await addShared(context, { isOwn, pattern, unreadable }, groups, several);
  return { groups, total };
}

/** Of a repository's quotas, those that hold nothing else. */
function only({ name, quotas }: Group): readonly Quota[] {
  return quotas.filter(({ account }) => account === name);
}

/** The second walk, which knows what is in several groups. */
async function addShared(
  context: JobContext,
  {
    isOwn,
    pattern,
    unreadable,
  }: {
    readonly isOwn: Counted['isOwn'];
    readonly pattern: Glob | undefined;
    readonly unreadable: UnreadableFolders;
  },
  groups: readonly Group[],
  several: DigestSet,
): Promise<void> {
  const byName = new Map(groups.map((group) => [group.name, group]));
  let done = 0;
  for await (const [{ name: group }, name, own] of grouped(context, unreadable, isOwn, pattern)) {
    await unlessUnreadable(
      async () => {
        for await (const [, size] of contentOf(context, name, own, (digest) => several.has(digest))) {
          const counted = byName.get(group);
          if (counted !== undefined) counted.shared += size;
        }
      },
      (failure) => unreadable.found(name, failure),
    );
    done += 1;
    context.progress('looking for what is shared', done);
  }
}

/** Repositories with their group and what was seen in it. Those of a group come one after the other. */
async function* grouped(
  context: JobContext,
  unreadable: UnreadableFolders,
  isOwn: Counted['isOwn'],
  pattern: Glob | undefined,
): AsyncIterable<readonly [Group, RepositoryName, DigestSet]> {
  let group: Group | undefined;
  let own = new DigestSet();
  for await (const name of repositoriesOf(context, unreadable.found)) {
    if (!isOwn(name) || pattern?.(name) === false) continue;
    const key = pattern === undefined ? (name.split('/', 1)[0] ?? name) : name;
    if (group?.name !== key) {
      group = { name: key, repositories: 0, tags: 0, bytes: 0, shared: 0, quotas: [] };
      own = new DigestSet();
    }
    yield [group, name, own];
  }
}

/** What a repository links to, that was not seen yet and is wanted, with its size in bytes. */
async function* contentOf(
  { objects, signal, pace }: JobContext,
  name: RepositoryName,
  seen: DigestSet,
  isWanted: (digest: Digest) => boolean = () => true,
): AsyncIterable<readonly [Digest, number]> {
  for await (const { digest } of linkedContent(objects, name)) {
    signal.throwIfAborted();
    await pace(1);
    if (!isWanted(digest) || !seen.add(digest)) continue;
    const size = await objects.size(blobKey(digest));
    if (size !== undefined) yield [digest, size];
  }
}

async function countAccounts(
  context: JobContext,
  options: UsageOptions,
  unreadable: UnreadableFolders,
): Promise<{ readonly accounts: readonly AccountUsage[]; readonly uncounted: number }> {
  const { objects } = context;
  const { rules, update, since = 0 } = options;
  if (update) await forgetAccounts(objects, (account) => rules.find(account) !== undefined);
  const always = new Set(rules.accounts([]).map(({ account }) => account));
  const counted: AccountUsage[] = [];
  let uncounted = 0;
  for (const quota of await accountsOf(context, rules, unreadable)) {
    if (update && since > 0) {
      const { countedAt } = await readBook(objects, quota.account);
      // One of the future tells nothing: it was written by a clock that was wrong.
      if (countedAt >= since && !isFuture(countedAt)) continue;
    }
    // Who wants it right now has it counted after whoever is at it.
    const count = update ? (since > 0 ? recountAccount : recountAccountNext) : countAccount;
    let account: AccountUsage | undefined;
    try {
      account = await count(context, options, quota, unreadable);
    } catch (error) {
      if (!isFull(error)) throw error;
      uncounted += 1;
      const why = `${error.message}: it is counted when there is room`;
      context.report({ what: 'problem', quota: quota.account, why });
      continue;
    }
    // Of those for a namespace there may be some that no repository is of.
    if (account !== undefined && (account.repositories + account.bytes > 0 || always.has(quota.account)))
      counted.push(account);
  }
  return { accounts: counted.sort((one, other) => other.bytes - one.bytes), uncounted };
}

/** The accounts of what is there, and those that are kept a book of: what they counted may be gone. */
async function accountsOf(
  { objects }: JobContext,
  rules: QuotaRules,
  unreadable: UnreadableFolders,
): Promise<readonly Quota[]> {
  const accounts = new Map<string, Quota>();
  await unlessUnreadable(
    async () => {
      const namespaces = (await objects.names(REPOSITORIES)).filter(isRepositoryName);
      for (const quota of rules.accounts(namespaces)) accounts.set(quota.account, quota);
    },
    (failure) => unreadable.found(undefined, failure),
  );
  for (const account of await storedAccounts(objects)) {
    const quota = rules.find(account);
    if (quota !== undefined) accounts.set(account, quota);
  }
  return [...accounts.values()];
}
