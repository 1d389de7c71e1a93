/** What the sections of upkeep mean: defaults, and durations in milliseconds. */
import type { GarbageCollectorConfig, TimetableConfig, WindowConfig } from './config.ts';
import type { Findings } from './findings.ts';
import type { DurationValue } from './scalars.ts';
import type { File } from './schema.ts';
import type { MapNode, Path } from './tree.ts';

const HOUR_MS = 3_600_000;

/** Enough that a push is never waited for, and a fraction of what one processor can do. */
const DEFAULT_RATE = 5_000;

/** A duration in milliseconds; warns of a number without a unit, which counts nanoseconds. */
export function millisecondsOf(
  value: DurationValue | null | undefined,
  path: Path,
  root: MapNode,
  findings: Findings,
): number | undefined {
  if (value?.unitless === true) {
    const text = 'a number without a unit counts nanoseconds, as in registry:2; write "60s" for a minute';
    findings.warningAt(root, path, text);
  }
  return value?.ms;
}

/** `interval` and `window` of a section of upkeep. */
export function effectiveTimetable(
  {
    interval,
    window,
  }: { interval?: DurationValue | null | undefined; window?: WindowConfig | null | undefined },
  path: Path,
  defaultMs: number,
  root: MapNode,
  findings: Findings,
): TimetableConfig {
  return {
    intervalMs: millisecondsOf(interval, [...path, 'interval'], root, findings) ?? defaultMs,
    ...(window === null || window === undefined ? {} : { window }),
  };
}

/** `garbage_collector`. An operator's file has to ask for it: `registry:2` never removes anything by itself. */
export function effectiveCollector(
  section: NonNullable<File['garbage_collector']>,
  enabled: boolean,
  root: MapNode,
  findings: Findings,
): GarbageCollectorConfig {
  const path = ['garbage_collector'];
  return {
    enabled: section.enabled ?? enabled,
    ...effectiveTimetable(section, path, 24 * HOUR_MS, root, findings),
    removeUntagged: section.remove_untagged ?? false,
    graceMs: millisecondsOf(section.grace, [...path, 'grace'], root, findings) ?? 24 * HOUR_MS,
    rate: section.rate ?? DEFAULT_RATE,
  };
}
