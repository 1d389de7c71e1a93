/** What the tests of the collector share. */
import type { StorageDriver } from '../../src/drivers/driver.ts';
import { ObjectNotFound } from '../../src/drivers/driver.ts';
import type { Logger } from '../../src/log.ts';
import type { RepositoryName } from '../../src/oci/name.ts';
import type { Registry } from '../../src/oci/registry.ts';
import { Objects } from '../../src/store/objects.ts';
import { collect, type CollectOptions } from '../../src/upkeep/collect.ts';
import type { JobContext, JobItem, JobSummary } from '../../src/upkeep/job.ts';
import { digestBy } from '../store/content.ts';
import { nameOf, tagOf } from '../store/subject.ts';

export const SILENT: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

export interface Run {
  readonly summary: JobSummary;
  readonly items: readonly JobItem[];
}

export type Settings = Partial<CollectOptions> & {
  readonly exclusive?: boolean;
  readonly signal?: AbortSignal;
  /** Whether manifests without a tag go. */
  readonly untagged?: boolean;
};

/** One run of the collector that waits for nobody. */
export async function collectOnce(driver: StorageDriver, settings: Settings = {}): Promise<Run> {
  const items: JobItem[] = [];
  const { exclusive = false, signal = new AbortController().signal, untagged = false, ...options } = settings;
  const context: JobContext = {
    objects: new Objects(driver),
    log: SILENT,
    signal,
    exclusive,
    progress: () => undefined,
    report: (item) => void items.push(item),
    pace: () => undefined,
  };
  let skipped = 0;
  const summary = await collect(context, {
    dryRun: false,
    graceMs: 0,
    untaggedAfterMs: () => (untagged ? 0 : undefined),
    isCached: (name: RepositoryName) => name.startsWith('proxy/'),
    // Time passes only by waiting.
    now: () => Date.now() + skipped,
    wait: (milliseconds) => {
      skipped += Math.max(0, milliseconds);
      return Promise.resolve();
    },
    ...options,
  });
  return { summary, items };
}

/** All keys but those of folders that do not matter. */
export async function keysIn(driver: StorageDriver): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of driver.list('docker/')) keys.push(key.slice('docker/registry/v2/'.length));
  return keys;
}

/** Whether there is an object at the key. */
export async function isThere(driver: StorageDriver, key: string): Promise<boolean> {
  return driver.stat(key).then(
    () => true,
    (error: unknown) => {
      if (error instanceof ObjectNotFound) return false;
      throw error;
    },
  );
}

/** Whether all of an image can be pulled. */
export async function isWhole(registry: Registry, name: string, reference: string): Promise<boolean> {
  const repository = registry.repository(nameOf(name));
  try {
    const { bytes } = await repository.manifests.get(tagOf(reference));
    const document = JSON.parse(Buffer.from(bytes).toString()) as {
      config?: { digest: string };
      layers?: { digest: string }[];
      manifests?: { digest: string }[];
    };
    for (const { digest } of [...(document.config ? [document.config] : []), ...(document.layers ?? [])]) {
      const { body } = await repository.blobs.open(digest as never);
      if (digestBy('sha256', new Uint8Array(await new Response(body).arrayBuffer())) !== digest) return false;
    }
    for (const { digest } of document.manifests ?? [])
      if (!(await isWhole(registry, name, digest))) return false;
    return true;
  } catch {
    return false;
  }
}
