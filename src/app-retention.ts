/** From the configuration's rules to tags that go, and pulls that are noted for it. A part of the composition root. */
import { cachedNames } from './app-proxy.ts';
import type { Config } from './config/config.ts';
import type { StorageDriver } from './drivers/driver.ts';
import type { RepositoryName, Tag } from './oci/name.ts';
import type { Registry } from './oci/registry.ts';
import { NotedPulls } from './policy/noted-pulls.ts';
import { TagRules } from './policy/tag-rules.ts';
import { Objects } from './store/objects.ts';
import { PullNotes } from './store/pull-notes.ts';
import { canonicalName } from './store/repository-alias.ts';
import { RetentionRules } from './upkeep/retention-rules.ts';
import type { RetentionOptions } from './upkeep/retention.ts';

/** The rules in force. */
export function retentionRules({ retention }: Config): RetentionRules {
  return new RetentionRules(retention?.rules ?? []);
}

/** What the job is told beside what was asked for. */
export function retentionOptions(
  config: Config,
): Pick<RetentionOptions, 'rules' | 'guarded' | 'isCached' | 'collector'> {
  const { enabled: isEnabled, graceMs } = config.garbageCollector;
  return {
    rules: retentionRules(config),
    guarded: guardedTags(config),
    isCached: cachedNames(config),
    collector: { isEnabled, graceMs },
  };
}

function guardedTags({ tags }: Config): (name: RepositoryName, tag: Tag) => string | undefined {
  const rules = new TagRules(tags);
  return (name, tag) => {
    const state = rules.of(name)?.stateOf(tag);
    return state === undefined ? undefined : `it is ${state}`;
  };
}

/** The registry, of which is noted what is pulled where a rule asks for it. */
export function notingPulls(
  config: Config,
  own: Registry,
  driver: StorageDriver,
  readOnly: () => boolean,
): { readonly registry: Registry; change(changed: Config): void; stop(): void } {
  const objects = new Objects(driver);
  let notes: PullNotes | undefined;
  // Under the name that the rules look at, whatever link it was pulled through.
  const noted = new NotedPulls(own, (name, digest) => notes?.note(canonicalName(objects, name), digest));
  const stop = (): void => {
    notes?.stop();
    notes = undefined;
  };
  const change = (changed: Config): void => {
    if (!retentionRules(changed).needsPulls) stop();
    else notes ??= new PullNotes(objects, () => !readOnly());
  };
  change(config);
  return {
    registry: {
      repository: (name) => (notes === undefined ? own : noted).repository(name),
      repositories: (page) => own.repositories(page),
    },
    change,
    stop,
  };
}
