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
import { canonicalName } from './store/repository-alias.ts';
import type { JobContext, JobItem } from './upkeep/job.ts';
import { pacer } from './upkeep/pace.ts';
import { type Counted, recountAccount, recountAccountNext } from './upkeep/recount.ts';
import { usage } from './upkeep/usage.ts';

/** How often everything is counted anew, in milliseconds; and for the first time after the start. */
const RECOUNT_EVERY = 6 * 3_600_000;
const FIRST_RECOUNT = 10_000;
/** How long a push waits for an account's first count, in milliseconds, before it goes on unlimited. */
const FIRST_COUNT_WAIT = 10_000;
const LOOK_AGAIN = 50;
/** Links that are looked at in a second at most: requests are served meanwhile. */
const OBJECTS_PER_SECOND = 20_000;

/** A registry that is held to quotas. */
export interface HeldRegistry {
  readonly registry: Registry;
  /** Returns when the accounts have been counted anew for which a deletion has asked for it; never rejects. */
  readonly settled: () => Promise<void>;
  readonly stop: () => void;
}

/**
 * Puts quotas around the registry, which comes back as it is where there are none.
 * @param readOnly whether nothing may be written at the moment
 */
export function holdToQuotas(
  { quotas = [] }: Pick<Config, 'quotas'>,
  driver: StorageDriver,
  own: Registry,
  { isOwn, readOnly }: { readonly isOwn: Counted['isOwn']; readonly readOnly: () => boolean },
  log: Logger,
): HeldRegistry {
  if (quotas.length === 0) return { registry: own, settled: () => Promise.resolve(), stop: () => undefined };
  const rules = new QuotaRules(quotas);
  const objects = new Objects(driver);
  const controller = new AbortController();
  const counted = { rules, isOwn };
  const context = quietContext(objects, log, controller.signal);
  const first = new FirstCounts(context, counted);
  const again = new Recounts(context, counted, readOnly);
  const tools = {
    ledger: new StoredUsageLedger(objects),
    count: (uncounted: readonly Quota[]) => first.count(uncounted),
    recount: (changed: readonly Quota[]) => again.ask(changed),
    log,
  };
  const registry = new QuotaRegistry(own, (asked) => {
    // Content counts where upkeep finds it, whatever link it was pushed through.
    const name = canonicalName(objects, asked);
    const mine = rules.of(name);
    return mine.length === 0 ? undefined : new Allowance(tools, name, mine);
  });
  return {
    registry,
    settled: () => again.settled(),
    stop: () => controller.abort(new Error('the registry is stopping')),
  };
}

/** The same for a server, which also counts everything now and then. */
export function wireQuotas(
  config: Pick<Config, 'quotas'>,
  driver: StorageDriver,
  own: Registry,
  options: Parameters<typeof holdToQuotas>[3],
  log: Logger,
): HeldRegistry {
  const held = holdToQuotas(config, driver, own, options, log);
  if (config.quotas === undefined || config.quotas.length === 0) return held;
  const controller = new AbortController();
  const context = quietContext(new Objects(driver), log, controller.signal);
  const counted = { rules: new QuotaRules(config.quotas), isOwn: options.isOwn };
  const stopCounting = recountNowAndThen(context, counted, options.readOnly);
  return {
    ...held,
    stop() {
      stopCounting();
      controller.abort(new Error('the registry is stopping'));
      held.stop();
    },
  };
}

function quietContext(objects: Objects, log: Logger, signal: AbortSignal): JobContext {
  const pace = pacer({ objectsPerSecond: OBJECTS_PER_SECOND }, signal);
  const report = ({ what, repository, quota, why }: JobItem): void => {
    if (what !== 'problem') return;
    if (quota === undefined)
      log.warn('a quota could not be counted as a whole', {
        repository: String(repository),
        why: String(why),
      });
    else log.warn('a quota could not be counted', { quota: String(quota), why: String(why) });
  };
  return { objects, log, signal, exclusive: false, progress: () => undefined, report, pace };
}

/** Counts accounts anew for which a deletion asks: each once at a time, and once more where it is asked for meanwhile. */
class Recounts {
  readonly #context: JobContext;
  readonly #counted: Counted;
  readonly #readOnly: () => boolean;
  readonly #asked = new Map<string, Quota>();
  #running: Promise<void> | undefined;

  constructor(context: JobContext, counted: Counted, readOnly: () => boolean) {
    this.#context = context;
    this.#counted = counted;
    this.#readOnly = readOnly;
  }

  ask(quotas: readonly Quota[]): void {
    for (const quota of quotas) this.#asked.set(quota.account, quota);
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  async settled(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    for (const [account, quota] of this.#asked) {
      // A map goes on with what is added while it is walked through.
      this.#asked.delete(account);
      if (this.#context.signal.aborted || this.#readOnly()) continue;
      try {
        await recountAccountNext(this.#context, this.#counted, quota);
      } catch (error) {
        if (!this.#context.signal.aborted)
          this.#context.log.error('a quota could not be counted', { quota: account, error: String(error) });
      }
    }
  }
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
