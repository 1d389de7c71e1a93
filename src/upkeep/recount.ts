/** Counts a quota's account anew, from what the repositories link to: whatever a crash or a deletion has left wrong is right after it. */
import type { Quota, QuotaRules } from '../oci/quota.ts';
import type { Digest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { StorageFailure } from '../drivers/driver.ts';
import { allRepositories } from '../store/catalog.ts';
import { blobKey } from '../store/layout.ts';
import { linkedContent } from '../store/linked-content.ts';
import { withLease } from '../store/locks.ts';
import { countingKey, readBook } from '../store/usage-books.ts';
import { AccountCounting } from '../store/usage-counting.ts';
import { DigestSet } from './digest-set.ts';
import type { JobContext } from './job.ts';
import { unlessUnreadable } from './unreadable.ts';

/** Milliseconds after which it is looked again whether another process has counted an account. */
const LOOK_AGAIN = 100;

/** What an account holds. */
export interface AccountUsage {
  readonly quota: Quota;
  /** Bytes as stored: content that several of its repositories have counts once. */
  readonly bytes: number;
  /** Those that have a manifest: what a refused push leaves in a new one is no repository to its users. */
  readonly repositories: number;
  /** Whether some of it could not be read: then it is at least so much. */
  readonly isPartial: boolean;
}

/** What is to be known of the registry to count. */
export interface Counted {
  readonly rules: QuotaRules;
  /** Whether a repository is ours and no cached one. */
  readonly isOwn: (name: RepositoryName) => boolean;
}

type Context = Pick<JobContext, 'objects' | 'signal' | 'pace' | 'progress' | 'report'>;

/** Told of a repository, or a folder of some or (without a name) of all, that cannot be read and is passed over. */
export type OnUnreadable = (name: RepositoryName | undefined, error: StorageFailure) => void;

/** Repositories in order: all, or those with a first component; those too of which everything lies in the trash. */
export async function* repositoriesOf(
  { objects, signal }: Pick<JobContext, 'objects' | 'signal'>,
  onUnreadable: OnUnreadable,
  namespace?: string,
): AsyncIterable<RepositoryName> {
  const isIn = (name: string) =>
    namespace === undefined || name === namespace || name.startsWith(`${namespace}/`);
  const last = namespace === undefined ? undefined : justBefore(namespace);
  const walk = allRepositories(objects, {
    last,
    signal,
    onUnreadable: (name, error) => {
      if (name === undefined || isIn(name)) onUnreadable(name, error);
    },
  });
  for await (const name of walk) {
    if (!isIn(name)) return;
    yield name;
  }
}

/** Something that comes after every name that comes before this one: names have no character beyond `z`. */
function justBefore(name: string): string {
  return `${name.slice(0, -1)}${String.fromCodePoint((name.codePointAt(name.length - 1) ?? 1) - 1)}\u007F`;
}

/** Reports of each folder that cannot be read, once. */
export class UnreadableFolders {
  readonly #names = new Set<RepositoryName | undefined>();
  readonly #report: JobContext['report'];

  constructor(report: JobContext['report']) {
    this.#report = report;
  }

  get size(): number {
    return this.#names.size;
  }

  readonly found: OnUnreadable = (repository, error) => {
    if (this.#names.has(repository)) return;
    this.#names.add(repository);
    const why = `${error.message}: what is in it is not counted before that is mended`;
    this.#report({ what: 'problem', ...(repository === undefined ? {} : { repository }), why });
  };
}

/** What is told of what a walk sees. */
interface Sink {
  repository(name: RepositoryName): Promise<void> | undefined;
  /** Of a repository that has a manifest, perhaps several times. */
  counted(name: RepositoryName): Promise<void> | undefined;
  isSeen(digest: Digest): boolean;
  content(name: RepositoryName, digest: Digest, size: number): Promise<void> | undefined;
}

/** Counts without changing anything. What cannot be read counts as far as the ledger knew of it. @throws the signal's reason */
export async function countAccount(
  context: Context,
  counted: Counted,
  quota: Quota,
  unreadable = new UnreadableFolders(context.report),
): Promise<AccountUsage> {
  const seen = new DigestSet();
  let bytes = 0;
  const repositories = new Set<RepositoryName>();
  const isWhole = await walk(context, counted, quota, unreadable, {
    repository: () => undefined,
    counted: (name) => void repositories.add(name),
    isSeen: (digest) => seen.has(digest),
    content: (_name, digest, size) => {
      if (seen.add(digest)) bytes += size;
      return undefined;
    },
  });
  const known = isWhole ? { bytes: 0, repositories: 0 } : await readBook(context.objects, quota.account);
  return {
    quota,
    bytes: Math.max(bytes, known.bytes),
    repositories: Math.max(repositories.size, known.repositories),
    isPartial: !isWhole,
  };
}

/**
 * Counts, and makes the ledger agree with it. Beside pushes, in whatever process; one at a time for an account. Where some of
 * it cannot be read, what was known of that stays.
 * @returns undefined where it is being counted by somebody else
 * @throws the signal's reason; the account is as it was then
 */
export async function recountAccount(
  context: Context,
  counted: Counted,
  quota: Quota,
  unreadable = new UnreadableFolders(context.report),
): Promise<AccountUsage | undefined> {
  const { objects } = context;
  const counting = await withLease(objects, countingKey(quota.account), async (lost) => {
    const signal = AbortSignal.any([context.signal, lost]);
    const account = new AccountCounting(objects, quota, () => new DigestSet());
    await account.begin();
    const isWhole = await walk({ ...context, signal }, counted, quota, unreadable, {
      repository: (name) => account.noteRepository(name),
      counted: (name) => account.noteCounted(name),
      isSeen: (digest) => account.isSeen(digest),
      content: (...content) => account.noteContent(...content),
    });
    const totals = await account.end(isWhole, signal);
    return totals && { quota, ...totals, isPartial: !isWhole };
  });
  return counting?.result;
}

/** The same, when whoever else counts it has come to an end: what was done before the call is counted. */
export async function recountAccountNext(
  context: Context,
  ...asked: [counted: Counted, quota: Quota, unreadable?: UnreadableFolders]
): Promise<AccountUsage> {
  for (;;) {
    const usage = await recountAccount(context, ...asked);
    if (usage !== undefined) return usage;
    context.signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN));
  }
}

/** @returns whether all could be read */
async function walk(
  context: Context,
  { rules, isOwn }: Counted,
  quota: Quota,
  unreadable: UnreadableFolders,
  sink: Sink,
): Promise<boolean> {
  const { signal, pace, progress } = context;
  const objects = context.objects.strict();
  let looked = 0;
  let isWhole = true;
  const onUnreadable: OnUnreadable = (name, error) => {
    isWhole = false;
    unreadable.found(name, error);
  };
  for await (const name of repositoriesOf(context, onUnreadable, quota.namespace)) {
    if (!isOwn(name) || !rules.of(name).some(({ account }) => account === quota.account)) continue;
    looked += 1;
    progress(`counting ${quota.account}`, looked);
    await sink.repository(name);
    await unlessUnreadable(
      async () => {
        let counts = false;
        for await (const { digest, kind } of linkedContent(objects, name)) {
          signal.throwIfAborted();
          if (kind === 'revisions' && !counts) {
            counts = true;
            await sink.counted(name);
          }
          await pace(1);
          if (sink.isSeen(digest)) continue;
          const size = await objects.size(blobKey(digest));
          if (size !== undefined) await sink.content(name, digest, size);
        }
      },
      (failure) => onUnreadable(name, failure),
    );
  }
  return isWhole;
}
