/**
 * The kinds of single values that settings have, as valibot schemas over a `ScalarNode`. A wrong value's message
 * says what was expected and what was found.
 */
import * as v from 'valibot';
import type { Json } from './config.ts';
import { nanoseconds, parseAge, parseDuration } from './durations.ts';
import { printable } from './findings.ts';
import { ScalarNode } from './tree.ts';

/** A duration, and whether it was a bare number: nanoseconds to us, but mostly meant as seconds. */
export interface DurationValue {
  readonly ms: number;
  readonly unitless: boolean;
}

/** A schema for one scalar. `read` gives undefined for what does not fit; `secret` keeps the value out of messages. */
function scalar<T>(expected: string, read: (node: ScalarNode) => T | undefined, secret = false) {
  return v.pipe(
    v.unknown(),
    v.rawTransform<unknown, T>(({ dataset, addIssue, NEVER }) => {
      const input = dataset.value;
      const result = input instanceof ScalarNode ? read(input) : undefined;
      if (result !== undefined) return result;
      addIssue({ message: `expected ${expected}, found ${describe(input, secret)}` });
      return NEVER;
    }),
  );
}

/** Text. Numbers and words like `yes` count as they are typed. */
export function text(expected = 'a string') {
  return scalar(expected, (node) => node.text);
}

/** Text that no message may show. */
export function secretText() {
  return scalar('a string', (node) => node.text, true);
}

/** Text that must fit; `read` gives its meaning, or undefined. */
export function textThat<T>(expected: string, read: (text: string) => T | undefined) {
  return scalar(expected, (node) => read(node.text));
}

/** Text that must fit, and that no message may show. */
export function secretTextThat<T>(expected: string, read: (text: string) => T | undefined) {
  return scalar(expected, (node) => read(node.text), true);
}

/** One of several words, in any case. The empty one goes without saying. */
export function oneOf<const T extends string>(...words: readonly T[]) {
  return scalar(orList(words.filter((word) => word !== '').map((word) => `"${word}"`)), ({ text: typed }) => {
    const lower = typed.toLowerCase();
    return words.find((word) => word === lower);
  });
}

/** A boolean: `true`, `yes`, `on` and their opposites; `true` and `false` also in quotes. */
export function flag() {
  return scalar('true or false', ({ value, text: typed }) => {
    if (typeof value === 'boolean') return value;
    if (typed.toLowerCase() === 'true') return true;
    return typed.toLowerCase() === 'false' ? false : undefined;
  });
}

/** A whole number within bounds; decimal digits also in quotes. */
export function integer(min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER) {
  const bounds = min === Number.MIN_SAFE_INTEGER ? '' : ` of at least ${min}`;
  const limit = max === Number.MAX_SAFE_INTEGER ? '' : ` and at most ${max}`;
  return scalar(`a whole number${bounds}${limit}`, ({ value, text: typed }) => {
    const number = typeof value === 'string' && /^[+-]?\d{1,16}$/.test(typed) ? Number(typed) : value;
    return Number.isSafeInteger(number) && typeof number === 'number' && number >= min && number <= max
      ? number
      : undefined;
  });
}

/** A duration of at least `minMs` milliseconds. */
export function duration(minMs = 0) {
  return durationBy(parseDuration, minMs, '"30s" or "1h30m"');
}

/** The same for what upkeep waits, which may be whole days or weeks too. */
export function longDuration(minMs = 0) {
  return durationBy(parseAge, minMs, '"1h30m" or "7d"');
}

function durationBy(parse: (text: string) => number | undefined, minMs: number, examples: string) {
  const bound = minMs > 0 ? ' above 0' : '';
  return scalar(`a duration${bound} such as ${examples}`, (node): DurationValue | undefined => {
    // Read from the text: YAML 1.1 takes 1:30 for the number 90.
    const unitless = !node.quoted && /^[+-]?\d+$/.test(node.text);
    const ms = unitless ? nanoseconds(Number(node.text)) : parse(node.text);
    return ms === undefined || ms < minMs ? undefined : { ms, unitless: unitless && ms !== 0 };
  });
}

/** A list of such; a single value counts as a list of one. */
export function listOf<const T extends v.GenericSchema<unknown, unknown>>(item: T) {
  return v.pipe(
    v.unknown(),
    v.transform((input): unknown[] => (Array.isArray(input) ? input : [input])),
    v.array(item),
  );
}

/**
 * A list of such, of one at least: an empty one, or a key without a value, is mostly what is left when the last item was
 * taken out, and where it narrows something down nobody can tell whether nothing or everything is meant. So it is
 * `v.optional` and never `v.nullish`.
 */
export function filledListOf<const T extends v.GenericSchema<unknown, unknown>>(item: T) {
  return v.pipe(
    v.unknown(),
    v.transform((input): unknown => input ?? []),
    listOf(item),
    v.minLength(1, 'the list is empty: name one at least, or leave it out with what it belongs to'),
  );
}

/** Whatever JSON can hold. */
export function anything() {
  return v.pipe(
    v.any(),
    v.transform((input: unknown) => toJson(input)),
  );
}

function toJson(input: unknown): Json {
  if (Array.isArray(input)) return input.map(toJson);
  if (input instanceof ScalarNode) return input.value;
  if (typeof input !== 'object' || input === null) return null;
  return Object.fromEntries(Object.entries(input).map(([key, value]) => [key, toJson(value)]));
}

function describe(input: unknown, secret: boolean): string {
  if (input === null || input === undefined) return 'nothing';
  if (Array.isArray(input)) return 'a list';
  if (!(input instanceof ScalarNode)) return 'a map';
  if (secret) return 'another value';
  if (typeof input.value === 'string') return `"${printable(input.text)}"`;
  return printable(input.text);
}

function orList(words: readonly string[]): string {
  const last = words.at(-1) ?? '';
  return words.length < 2 ? last : `${words.slice(0, -1).join(', ')} or ${last}`;
}
