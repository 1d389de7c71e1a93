/** By which settings a job goes, so that a command and the server that it asks can tell whether they mean the same. A part of the composition root. */
import { createHash } from 'node:crypto';
import type { Config } from './config/config.ts';

/** What the result rests on, by what the file calls it: not when a job runs by itself. */
function settings({ garbageCollector, retention, scrub, storage, tags, quotas }: Config) {
  const { ageMs, dryRun } = storage.uploadPurging;
  return {
    storage: storage.driver,
    'garbage_collector.grace': garbageCollector.graceMs,
    'garbage_collector.remove_untagged': garbageCollector.removeUntagged,
    retention: retention?.rules ?? [],
    tags: [tags.immutable, tags.protected],
    'scrub.repair': scrub.repair,
    'storage.maintenance.uploadpurging': [ageMs, dryRun],
    quotas: quotas ?? [],
  };
}

type Setting = keyof ReturnType<typeof settings>;

/** What each job goes by beside the storage, and the option that says otherwise; `usage` and `delete` are no jobs, but ask as they do. */
const GOES_BY: Readonly<Record<string, readonly (readonly [Setting, string?])[]>> = {
  gc: [
    ['garbage_collector.grace', 'graceMs'],
    ['garbage_collector.remove_untagged', 'removeUntagged'],
    ['retention'],
  ],
  retention: [['retention'], ['tags']],
  scrub: [['scrub.repair', 'repair']],
  uploads: [['storage.maintenance.uploadpurging']],
  usage: [['quotas']],
  delete: [['tags']],
};

/** Fingerprints of what a run goes by, by the names of the settings. @param asked what is asked of it */
export function settingsOf(
  job: string,
  config: Config,
  asked: Readonly<Record<string, unknown>> = {},
): Readonly<Record<string, string>> {
  const all = settings(config);
  const names = (GOES_BY[job] ?? []).filter(
    ([, option]) => option === undefined || asked[option] === undefined,
  );
  return Object.fromEntries(
    (['storage', ...names.map(([name]) => name)] as const).map((name) => [name, fingerprint(all[name])]),
  );
}

/** Which of the settings are others in this configuration. */
export function otherSettings(config: Config, asked: Readonly<Record<string, string>>): readonly string[] {
  const all: Readonly<Record<string, unknown>> = settings(config);
  return Object.keys(asked).filter((name) => fingerprint(all[name]) !== asked[name]);
}

function fingerprint(setting: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(setting) ?? '')
    .digest('hex');
}
