/** What the sections `retention` and `scrub` mean: defaults, and durations in milliseconds. */
import type {
  GarbageCollectorConfig,
  RetentionConfig,
  RetentionKeepConfig,
  RetentionRuleConfig,
  ScrubConfig,
} from './config.ts';
import { effectiveTimetable } from './effective-upkeep.ts';
import type { Findings } from './findings.ts';
import { warnOfUnitless } from './proxy-schema.ts';
import type { File } from './schema.ts';
import type { MapNode, Path } from './tree.ts';

const DAY_MS = 86_400_000;
/** Bytes in a second: what an old disk gives away without anybody noticing. */
const DEFAULT_RATE = 50_000_000;

export function effectiveScrub(
  section: NonNullable<File['scrub']>,
  root: MapNode,
  findings: Findings,
): ScrubConfig {
  warnOfUnitless(root, ['scrub', 'rate'], findings);
  return {
    enabled: section.enabled ?? false,
    ...effectiveTimetable(section, ['scrub'], 7 * DAY_MS, root, findings),
    rate: section.rate ?? DEFAULT_RATE,
    repair: section.repair ?? false,
  };
}

type Section = NonNullable<File['retention']>;
type Rule = NonNullable<Section['rules']>[number];
type Keep = NonNullable<Rule['keep']>[number];

/** Warns of rules that need the collector where it does not run by itself. */
export function effectiveRetention(
  section: Section,
  collector: Pick<GarbageCollectorConfig, 'enabled'>,
  root: MapNode,
  findings: Findings,
): RetentionConfig {
  const rules = section.rules ?? [];
  for (const [index, { untagged }] of rules.entries()) {
    if (collector.enabled || typeof untagged !== 'number') continue;
    const text =
      'the garbage collector does this, and it does not run: set garbage_collector.enabled, or run `entrepot gc`';
    findings.warningAt(root, ['retention', 'rules', index, 'untagged'], text);
  }
  const problem = (path: Path, text: string) => findings.problemAt(root, path, text);
  return {
    enabled: section.enabled ?? rules.length > 0,
    ...effectiveTimetable(section, ['retention'], DAY_MS, root, findings),
    rules: rules.map((rule, index) => effectiveRule(rule, ['retention', 'rules', index], problem)),
  };
}

function effectiveRule(
  { repositories, except, delete: named, keep, untagged }: Rule,
  path: Path,
  problem: (path: Path, text: string) => void,
): RetentionRuleConfig {
  return {
    repositories,
    ...(except ? { except } : {}),
    ...(named ? { delete: named } : {}),
    keep: (keep ?? []).map((one, index) => effectiveKeep(one, [...path, 'keep', index], problem)),
    ...(typeof untagged === 'number' ? { untaggedAfterMs: untagged } : {}),
  };
}

function effectiveKeep(
  { tags, except, newest, by, pushed_within: pushed, pulled_within: pulled }: Keep,
  path: Path,
  problem: (path: Path, text: string) => void,
): RetentionKeepConfig {
  const values = [tags, except, newest, pushed, pulled];
  if (values.every((value) => value === null || value === undefined)) {
    problem(path, 'says nothing: name "tags", "newest", "pushed_within" or "pulled_within"');
  }
  if (by && (newest === null || newest === undefined)) problem([...path, 'by'], 'needs "newest"');
  return {
    ...(tags ? { tags } : {}),
    ...(except ? { except } : {}),
    ...(typeof newest === 'number' ? { newest } : {}),
    ...(by ? { by } : {}),
    ...(typeof pushed === 'number' ? { pushedWithinMs: pushed } : {}),
    ...(typeof pulled === 'number' ? { pulledWithinMs: pulled } : {}),
  };
}
