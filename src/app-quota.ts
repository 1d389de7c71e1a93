/** From the configuration's quotas to a registry that is held to them. A part of the composition root. */
import type { Config } from './config/config.ts';
import type { StorageDriver } from './drivers/driver.ts';
import type { Logger } from './log.ts';
import { type Quota, QuotaRules } from './oci/quota.ts';
import type { Registry } from './oci/registry.ts';
import { Allowance } from './policy/allowance.ts';
import { QuotaRegistry } from './policy/quota-registry.ts';
import { readBook } from './store/usage-books.ts';
import { StoredUsageLedger } from './store/usage-ledger.ts';
import { Objects } from './store/objects.ts';
import type { JobContext } from './upkeep/job.ts';
import { pacer } from './upkeep/pace.ts';
import { type Counted, recountAccount } from './upkeep/recount.ts';
import { usage } from './upkeep/usage.ts';

/** How often everything is counted anew, in milliseconds; and for the first time after the start. */
const RECOUNT_EVERY = 6 * 3_600_000;
const FIRST_RECOUNT = 10_000;
/** How long a push waits for an account's first count, in milliseconds, before it goes on unlimited. */
const FIRST_COUNT_WAIT = 10_000;
const LOOK_AGAIN = 50;
/** Links that are looked at in a second at most: requests are served meanwhile. */
const OBJECTS_PER_SECOND = 20_000;

/** Puts quotas around the registry, which comes back as it is where there are none. */
export function wireQuotas(
  { quotas = [] }: Pick<Config, 'quotas'>,
  driver: StorageDriver,
  own: Registry,
  { isOwn, readOnly }: { readonly isOwn: Counted['isOwn']; readonly readOnly: () => boolean },
  log: Logger,
): { readonly registry: Registry; readonly stop: () => void } {
  if (quotas.length === 0) return { registry: own, stop: () => undefined };
  const rules = new QuotaRules(quotas);
  const objects = new Objects(driver);
  const controller = new AbortController();
  const counted = { rules, isOwn };
  const context = quietContext(objects, log, controller.signal);
  const first = new FirstCounts(context, counted);
  const tools = {
    ledger: new StoredUsageLedger(objects),
    count: (uncounted: readonly Quota[]) => first.count(uncounted),
    log,
  };
  const registry = new QuotaRegistry(own, (name) => {
    const mine = rules.of(name);
    return mine.length === 0 ? undefined : new Allowance(tools, name, mine);
  });
  const stopCounting = recountNowAndThen(context, counted, readOnly);
  return {
    registry,
    stop() {
      stopCounting();
      controller.abort(new Error('the registry is stopping'));
    },
  };
}

function quietContext(objects: Objects, log: Logger, signal: AbortSignal): JobContext {
  const pace = pacer({ objectsPerSecond: OBJECTS_PER_SECOND }, signal);
  return { objects, log, signal, exclusive: false, progress: () => undefined, report: () => undefined, pace };
}

/** Counts accounts for the first time, when the first push to them comes: each of them once, by one process. */
class FirstCounts {
  readonly #context: JobContext;
  readonly #counted: Counted;
  readonly #running = new Map<string, Promise<void>>();

  constructor(context: JobContext, counted: Counted) {
    this.#context = context;
    this.#counted = counted;
  }

  /** Returns when they are counted, or when that takes too long. */
  async count(quotas: readonly Quota[]): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, FIRST_COUNT_WAIT);
    });
    await Promise.race([Promise.all(quotas.map((quota) => this.#countOnce(quota))), late]);
    clearTimeout(timer);
  }

  #countOnce(quota: Quota): Promise<void> {
    const { account } = quota;
    const running = this.#running.get(account);
    if (running !== undefined) return running;
    const count = this.#count(quota)
      .catch((error: unknown) => {
        if (this.#context.signal.aborted) return;
        this.#context.log.error('a quota could not be counted', { quota: account, error: String(error) });
      })
      .finally(() => this.#running.delete(account));
    this.#running.set(account, count);
    return count;
  }

  async #count(quota: Quota): Promise<void> {
    const { objects, signal } = this.#context;
    while ((await readBook(objects, quota.account)).countedAt === 0) {
      if ((await recountAccount(this.#context, this.#counted, quota)) !== undefined) return;
      // Another process is at it.
      signal.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN));
    }
  }
}

/** Counts everything soon after the start, as the machine may have gone down, and then at an interval. */
function recountNowAndThen(context: JobContext, counted: Counted, readOnly: () => boolean): () => void {
  const startedAt = Date.now();
  let running = false;
  // Each worker comes to this; what one of them has counted the others leave.
  const round = async (since: number): Promise<void> => {
    if (running || readOnly()) return;
    running = true;
    try {
      await usage(context, { ...counted, update: true, quotasOnly: true, since });
    } catch (error) {
      if (!context.signal.aborted)
        context.log.error('the quotas could not be counted', { error: String(error) });
    } finally {
      running = false;
    }
  };
  const first = setTimeout(() => void round(startedAt), FIRST_RECOUNT).unref();
  const timer = setInterval(() => void round(Date.now() - RECOUNT_EVERY / 2), RECOUNT_EVERY).unref();
  return () => {
    clearTimeout(first);
    clearInterval(timer);
  };
}
