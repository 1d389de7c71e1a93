import { abandonedUploads } from '../store/abandoned-uploads.ts';
import type { Job } from './job.ts';

export interface PurgeSettings {
  /** Uploads that were begun, and last written to, longer ago than this are removed; in milliseconds. */
  readonly ageMs: number;
  /** Only tell what would be removed. */
  readonly dryRun: boolean;
}

/** Removes abandoned uploads (`storage.maintenance.uploadpurging`). Several processes may do so side by side. */
export const uploads: Job<PurgeSettings> = async (
  { objects, log, signal, progress, report, pace },
  settings,
) => {
  let count = 0;
  for await (const prefix of abandonedUploads(objects, Date.now() - settings.ageMs, signal)) {
    await pace(1);
    if (!settings.dryRun) await objects.driver.delete([prefix]);
    progress('removing', (count += 1));
    report({ what: 'upload', upload: prefix });
    log.info(settings.dryRun ? 'would remove an abandoned upload' : 'removed an abandoned upload', {
      upload: prefix,
    });
  }
  return { uploads: count, dryRun: settings.dryRun };
};
