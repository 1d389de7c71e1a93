import type { StorageFailure } from '../drivers/driver.ts';
import { abandonedUploads, touchUpload } from '../store/abandoned-uploads.ts';
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
  let problems = 0;
  const onUnreadable = ({ message }: StorageFailure): void => {
    problems += 1;
    report({ what: 'problem', why: message });
    log.warn('uploads: a folder cannot be read', { reason: message });
  };
  const before = Date.now() - settings.ageMs;
  // It is removed when it has been left alone for so long from now on.
  const onFuture = async (prefix: string): Promise<void> => {
    if (!settings.dryRun) await touchUpload(objects, prefix);
  };
  for await (const prefix of abandonedUploads(objects, before, { signal, onUnreadable, onFuture })) {
    await pace(1);
    if (!settings.dryRun) await objects.driver.delete([prefix]);
    progress('removing', (count += 1));
    report({ what: 'upload', upload: prefix });
    log.info(settings.dryRun ? 'would remove an abandoned upload' : 'removed an abandoned upload', {
      upload: prefix,
    });
  }
  return { uploads: count, dryRun: settings.dryRun, ...(problems === 0 ? {} : { problems }) };
};
