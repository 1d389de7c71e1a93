/**
 * Durations as Go writes them (`time.ParseDuration`), because `registry:2`'s files are written that way:
 * a sequence of decimal numbers, each with a unit: `168h`, `1h30m`, `1.5s`, `500ms`.
 */

/** Milliseconds in each unit; `µs` is written with either of the two signs that look alike. */
const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  '\u00b5s': 1e-3,
  '\u03bcs': 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

const WHOLE = /^[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+$/;
const PART = /(\d+\.?\d*|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)/g;

/** Longest duration that Go can hold (2^63 ns, about 292 years), in milliseconds. */
const MAX_MS = 2 ** 63 / 1e6;

/**
 * Reads a duration; what is less than a millisecond counts as a whole one, so that only nothing is 0.
 * @returns milliseconds, an integer; undefined when it is no duration
 */
export function parseDuration(text: string): number | undefined {
  if (/^[+-]?0$/.test(text)) return 0;
  // Bounded first: the pattern is linear, but there is no reason to read a megabyte of hours.
  if (text.length > 100 || !WHOLE.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(PART)) total += Number(amount) * (UNIT_MS[unit ?? ''] ?? 0);
  return inRange(text.startsWith('-') ? -total : total);
}

/** Reads a duration of upkeep, which may also be whole days or weeks: `14d`, `2w`. @returns milliseconds, an integer; undefined when it is none */
export function parseAge(text: string): number | undefined {
  const [, count, unit] = /^(\d{1,5})([dw])$/.exec(text.trim()) ?? [];
  if (count === undefined) return parseDuration(text.trim());
  return Number(count) * (unit === 'w' ? 7 : 1) * 86_400_000;
}

/**
 * A number without a unit, which `registry:2` takes as nanoseconds.
 * @returns milliseconds, an integer; undefined when it is out of range
 */
export function nanoseconds(amount: number): number | undefined {
  return inRange(amount / 1e6);
}

function inRange(ms: number): number | undefined {
  if (!(Math.abs(ms) < MAX_MS)) return undefined;
  // Without the last digit first: 1.1s is 1100 ms, not 1100.0000000000002 and so 1101.
  const exact = Number(ms.toPrecision(15));
  return exact < 0 ? Math.floor(exact) : Math.ceil(exact);
}

/** Writes whole milliseconds as a duration in its largest units: `168h`, `1h30m`, `1s500ms`, `0s`. */
export function formatDuration(ms: number): string {
  if (ms === 0) return '0s';
  let rest = Math.abs(ms);
  let text = ms < 0 ? '-' : '';
  for (const unit of ['h', 'm', 's', 'ms']) {
    const size = UNIT_MS[unit] ?? 1;
    const count = Math.floor(rest / size);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * size;
  }
  return text;
}
