/** Counts a quota's account anew, from what the repositories link to: whatever a crash or a deletion has left wrong is right after it. */
import type { Quota, QuotaRules } from '../oci/quota.ts';
import type { Digest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import { listRepositories } from '../store/catalog.ts';
import { blobKey } from '../store/layout.ts';
import { linkedContent } from '../store/linked-content.ts';
import { withLease } from '../store/locks.ts';
import { countingKey } from '../store/usage-books.ts';
import { AccountCounting } from '../store/usage-counting.ts';
import { DigestSet } from './digest-set.ts';
import type { JobContext } from './job.ts';

/** Repositories that are listed at a time. */
const PAGE = 100;

/** What an account holds. */
export interface AccountUsage {
  readonly quota: Quota;
  /** Bytes as stored: content that several of its repositories have counts once. */
  readonly bytes: number;
  /** Those that have a manifest: what a refused push leaves in a new one is no repository to its users. */
  readonly repositories: number;
}

/** What is to be known of the registry to count. */
export interface Counted {
  readonly rules: QuotaRules;
  /** Whether a repository is ours and no cached one. */
  readonly isOwn: (name: RepositoryName) => boolean;
}

type Context = Pick<JobContext, 'objects' | 'signal' | 'pace' | 'progress'>;

/** Repositories in order: all, or those with a first component. */
export async function* repositoriesOf(
  { objects, signal }: Pick<JobContext, 'objects' | 'signal'>,
  namespace?: string,
): AsyncIterable<RepositoryName> {
  let last = namespace === undefined ? undefined : justBefore(namespace);
  for (;;) {
    const page = await listRepositories(objects, {
      limit: PAGE,
      signal,
      ...(last === undefined ? {} : { last }),
    });
    for (const name of page.items) {
      if (namespace !== undefined && name !== namespace && !name.startsWith(`${namespace}/`)) return;
      yield name;
    }
    last = page.items.at(-1);
    if (!page.more || last === undefined) return;
  }
}

/** Something that comes after every name that comes before this one: names have no character beyond `z`. */
function justBefore(name: string): string {
  return `${name.slice(0, -1)}${String.fromCodePoint((name.codePointAt(name.length - 1) ?? 1) - 1)}\u007F`;
}

type Note = (
  what:
    | { readonly name: RepositoryName; readonly counts: boolean }
    | { readonly digest: Digest; readonly size: number },
) => Promise<void> | undefined;

/** Counts without changing anything. @throws the signal's reason */
export async function countAccount(context: Context, counted: Counted, quota: Quota): Promise<AccountUsage> {
  return count(context, counted, quota, new DigestSet(), () => undefined);
}

/**
 * Counts, and makes the ledger agree with it. Beside pushes, in whatever process; one at a time for an account.
 * @returns undefined where it is being counted by somebody else
 * @throws the signal's reason; the account is as it was then
 */
export async function recountAccount(
  context: Context,
  counted: Counted,
  quota: Quota,
  now?: number,
): Promise<AccountUsage | undefined> {
  const { objects } = context;
  const counting = await withLease(objects, countingKey(quota.account), async (lost) => {
    const signal = AbortSignal.any([context.signal, lost]);
    const account = new AccountCounting(objects, quota, now);
    const seen = new DigestSet();
    const isSeen = (digest: Digest) => seen.has(digest);
    await account.begin();
    const walked = await count({ ...context, signal }, counted, quota, seen, (what) =>
      'name' in what
        ? account.noteRepository(what.name, what.counts)
        : account.noteContent(what.digest, what.size),
    );
    await account.sweep(isSeen, signal);
    return { quota, ...(await account.end(walked, isSeen)) };
  });
  return counting?.result;
}

async function count(
  context: Context,
  { rules, isOwn }: Counted,
  quota: Quota,
  seen: DigestSet,
  note: Note,
): Promise<AccountUsage> {
  const { objects, signal, pace, progress } = context;
  let bytes = 0;
  let repositories = 0;
  let looked = 0;
  for await (const name of repositoriesOf(context, quota.namespace)) {
    if (!isOwn(name) || !rules.of(name).some(({ account }) => account === quota.account)) continue;
    looked += 1;
    progress(`counting ${quota.account}`, looked);
    await note({ name, counts: false });
    let counts = false;
    for await (const { digest, kind } of linkedContent(objects, name)) {
      signal.throwIfAborted();
      if (kind === 'revisions' && !counts) {
        counts = true;
        repositories += 1;
        await note({ name, counts });
      }
      await pace(1);
      if (seen.has(digest)) continue;
      const size = await objects.size(blobKey(digest));
      if (size === undefined) continue;
      seen.add(digest);
      bytes += size;
      await note({ digest, size });
    }
  }
  return { quota, bytes, repositories };
}
