/** A registry that is held to quotas, over a storage that others of its kind share. */
import type { StorageDriver } from '../../src/drivers/driver.ts';
import type { RepositoryName } from '../../src/oci/name.ts';
import { type QuotaRule, QuotaRules } from '../../src/oci/quota.ts';
import type { Registry } from '../../src/oci/registry.ts';
import { Allowance } from '../../src/policy/allowance.ts';
import { QuotaRegistry } from '../../src/policy/quota-registry.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { Objects } from '../../src/store/objects.ts';
import { readBook } from '../../src/store/usage-books.ts';
import { StoredUsageLedger } from '../../src/store/usage-ledger.ts';
import type { JobContext } from '../../src/upkeep/job.ts';
import { countAccount, recountAccount, recountAccountNext } from '../../src/upkeep/recount.ts';
import { RULES } from '../store/subject.ts';

export const quiet = { debug() {}, info() {}, warn() {}, error() {} };

/** What each account has, as the ledger says. */
export interface Account {
  readonly bytes: number;
  readonly repositories: number;
}

export interface QuotaCase {
  readonly driver: StorageDriver;
  readonly objects: Objects;
  /** The registry without quotas: what is done through it, the ledger does not see. */
  readonly inner: Registry;
  readonly registry: Registry;
  /** That of another process. */
  another(driver?: StorageDriver): Registry;
  /** What the ledger says, and how much is set aside. */
  book(account: string): Promise<Account & { readonly reserved: number }>;
  /** What is truly there. */
  truth(account: string): Promise<Account>;
  recount(account: string): Promise<void>;
  /** Counts the accounts for which a deletion has asked for it. @returns how many */
  settled(): Promise<number>;
}

export function quotaCase(driver: StorageDriver, rules: readonly QuotaRule[]): QuotaCase {
  const objects = new Objects(driver);
  const quotaRules = new QuotaRules(rules);
  const counted = { rules: quotaRules, isOwn: () => true };
  const context = contextOf(objects);
  const find = (account: string) => {
    const quota = quotaRules.find(account);
    if (quota === undefined) throw new Error(`no rule has the account ${account}`);
    return quota;
  };
  const asked = new Set<string>();
  const another = (over = driver) => {
    const own = new Objects(over);
    const tools = {
      ledger: new StoredUsageLedger(own),
      log: quiet,
      count: async (quotas: readonly { readonly account: string }[]) => {
        for (const { account } of quotas) {
          while ((await readBook(own, account)).countedAt === 0) {
            await recountAccount(contextOf(own), counted, find(account));
          }
        }
      },
      recount: (quotas: readonly { readonly account: string }[]) => {
        for (const { account } of quotas) asked.add(account);
      },
    };
    return new QuotaRegistry(new LocalRegistry(over, RULES), (name: RepositoryName) => {
      const quotas = quotaRules.of(name);
      return quotas.length === 0 ? undefined : new Allowance(tools, name, quotas);
    });
  };
  return {
    driver,
    objects,
    inner: new LocalRegistry(driver, RULES),
    registry: another(),
    another,
    async book(account) {
      const { bytes, repositories, reserved } = await readBook(objects, account);
      return { bytes, repositories, reserved: reserved.size };
    },
    async truth(account) {
      const { bytes, repositories } = await countAccount(context, counted, find(account));
      return { bytes, repositories };
    },
    async settled() {
      const accounts = [...asked];
      asked.clear();
      for (const account of accounts) await recountAccountNext(context, counted, find(account));
      return accounts.length;
    },
    async recount(account) {
      await recountAccountNext(context, counted, find(account));
    },
  };
}

export function contextOf(objects: Objects): JobContext {
  return {
    objects,
    log: quiet,
    signal: new AbortController().signal,
    exclusive: false,
    progress: () => undefined,
    report: () => undefined,
    pace: () => undefined,
  };
}
