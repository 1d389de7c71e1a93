/** What a scrub is told of the configuration. A part of the composition root. */
import { cachedNames, wireProxy } from './app-proxy.ts';
import { rulesOf } from './app-rules.ts';
import type { Config } from './config/config.ts';
import type { ProxyRegistry } from './proxy/proxy-registry.ts';
import { LocalRegistry } from './store/local-registry.ts';
import type { JobContext } from './upkeep/job.ts';
import type { ScrubOptions } from './upkeep/scrub.ts';

type Told = Pick<ScrubOptions, 'rules' | 'isOnDemand' | 'repairFrom' | 'uploadAgeMs'>;

/** What the job is told beside what was asked for. */
export function scrubOptions(config: Config, { objects, log }: JobContext): Told {
  const rules = rulesOf(config);
  let proxy: ProxyRegistry | undefined;
  return {
    rules,
    isOnDemand: cachedNames(config),
    // Upstreams are spoken to only when there is something to repair.
    async repairFrom(name, kind, digest) {
      proxy ??= wireProxy(config, objects.driver, new LocalRegistry(objects.driver, rules), log);
      const fetched = await proxy?.cache.refetch(name, kind === 'layers' ? 'blobs' : 'manifests', digest);
      return fetched === true;
    },
    uploadAgeMs: config.storage.uploadPurging.ageMs,
  };
}
