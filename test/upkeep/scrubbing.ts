/** A storage that is scrubbed, and what the scrub tells. */
import type { StorageDriver } from '../../src/drivers/driver.ts';
import type { Digest } from '../../src/oci/digest.ts';
import type { RepositoryName } from '../../src/oci/name.ts';
import { blobKey } from '../../src/store/layout.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { Objects } from '../../src/store/objects.ts';
import type { JobContext, JobItem, JobSummary } from '../../src/upkeep/job.ts';
import { pacer } from '../../src/upkeep/pace.ts';
import { scrub, type ScrubOptions } from '../../src/upkeep/scrub.ts';
import { RULES } from '../store/subject.ts';

export interface Scrubbed {
  readonly items: readonly JobItem[];
  /** `<what>` of each, with what was done: `dangling link: removed`. */
  readonly told: readonly string[];
  readonly summary: JobSummary;
}

const HOUR = 3600_000;

/** A context that waits for nothing and keeps what it is told. */
export function contextOf(
  driver: StorageDriver,
  more: Partial<JobContext> = {},
): JobContext & { items: JobItem[] } {
  const items: JobItem[] = [];
  const ignore = () => undefined;
  return {
    objects: new Objects(driver),
    log: { debug: ignore, info: ignore, warn: ignore, error: ignore },
    signal: new AbortController().signal,
    exclusive: false,
    progress: ignore,
    report: (item) => void items.push(item),
    pace: pacer({}, new AbortController().signal),
    items,
    ...more,
  };
}

/** Scrubs as beside a server. */
export async function scrubbed(
  driver: StorageDriver,
  options: Partial<ScrubOptions> = {},
  more: Partial<JobContext> = {},
): Promise<Scrubbed> {
  const context = contextOf(driver, more);
  const all = { repair: false, uploadAgeMs: HOUR, settleMs: 1, rules: RULES, ...options };
  const summary = await scrub(context, all);
  return { items: context.items, told: toldOf(context.items), summary };
}

export function toldOf(items: readonly JobItem[]): string[] {
  return items.map(({ what, done }) => (done === undefined ? what : `${what}: ${String(done)}`)).sort();
}

export function openRegistry(driver: StorageDriver): LocalRegistry {
  return new LocalRegistry(driver, RULES);
}

export const APP = 'lib/app' as RepositoryName;

/** Replaces what is stored under a digest, as a failing disk does. */
export async function damage(
  driver: StorageDriver,
  digest: Digest,
  change: (bytes: Buffer) => Uint8Array,
): Promise<void> {
  const key = blobKey(digest);
  const bytes = Buffer.from((await new Objects(driver).bytes(key)) ?? []);
  await driver.write(key, change(bytes));
}

/** All keys with their bytes, but for what the scrub itself remembers. */
export async function snapshot(driver: StorageDriver): Promise<Map<string, string>> {
  const objects = new Objects(driver);
  const all = new Map<string, string>();
  for (const prefix of ['', 'docker/registry/v2/_entrepot/quarantine/']) {
    for await (const { key } of driver.list(prefix)) {
      if (!key.includes('/_entrepot/scrub/'))
        all.set(key, Buffer.from((await objects.bytes(key)) ?? []).toString('base64'));
    }
  }
  return all;
}
