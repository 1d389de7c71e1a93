import type { Logger } from '../log.ts';
import { abandonedUploads } from '../store/abandoned-uploads.ts';
import type { Objects } from '../store/objects.ts';

export interface PurgeSettings {
  /** Uploads that were begun, and last written to, longer ago than this are removed; in milliseconds. */
  readonly age: number;
  /** Time between two rounds, in milliseconds. */
  readonly interval: number;
  /** Only tell what would be removed. */
  readonly dryRun: boolean;
}

/**
 * Removes abandoned uploads, at once and then at every interval (`storage.maintenance.uploadpurging`). Several
 * processes may do so side by side.
 * @returns a function that stops it
 */
export function purgeUploads(objects: Objects, settings: PurgeSettings, log: Logger): () => void {
  const controller = new AbortController();
  const round = () => {
    purge(objects, settings, log, controller.signal).catch((error: unknown) => {
      if (!controller.signal.aborted) log.error('purging uploads failed', { error: String(error) });
    });
  };
  // `registry:2` waits up to an hour before its first round, so that a restart loop does not scan all the time.
  const first = setTimeout(round, Math.min(settings.interval, 60_000 * (1 + 59 * Math.random()))).unref();
  const timer = setInterval(round, settings.interval).unref();
  return () => {
    clearTimeout(first);
    clearInterval(timer);
    controller.abort();
  };
}

/** One round. @returns the keys' prefixes of the uploads that were (or would be) removed */
export async function purge(
  objects: Objects,
  { age, dryRun }: Pick<PurgeSettings, 'age' | 'dryRun'>,
  log: Logger,
  signal?: AbortSignal,
): Promise<string[]> {
  const removed: string[] = [];
  for await (const prefix of abandonedUploads(objects, Date.now() - age, signal)) {
    if (!dryRun) await objects.driver.delete([prefix]);
    removed.push(prefix);
    log.info(dryRun ? 'would remove an abandoned upload' : 'removed an abandoned upload', { upload: prefix });
  }
  return removed;
}
