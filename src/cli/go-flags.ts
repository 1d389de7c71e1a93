/** Boolean options as Go's programs take them, for the command lines of `registry:2`: `--dry-run=true`, `-m=false`. */

/** The boolean options of `registry serve`, `registry garbage-collect` and `registry` itself, by their letters. */
const BOOLEANS = new Map([
  ['d', 'dry-run'],
  ['m', 'delete-untagged'],
  ['q', 'quiet'],
  ['h', 'help'],
  ['v', 'version'],
]);
const NAMES = new Set(BOOLEANS.values());

/** The words of Go's `strconv.ParseBool`. */
const MEANING = new Map([
  ...['1', 't', 'T', 'TRUE', 'true', 'True'].map((word) => [word, true] as const),
  ...['0', 'f', 'F', 'FALSE', 'false', 'False'].map((word) => [word, false] as const),
]);

/**
 * Rewrites such options as those without a value: one that is true stays without it, one that is false goes, with those
 * before it. What has another value, or is no command of `registry:2`, is left as it is: it is refused later.
 */
export function withoutGoValues(args: readonly string[]): readonly string[] {
  const command = args.find((arg) => !arg.startsWith('-'));
  if (command !== undefined && command !== 'garbage-collect' && command !== 'serve') return args;
  let result: string[] = [];
  for (const [index, arg] of args.entries()) {
    if (arg === '--') return [...result, ...args.slice(index)];
    const names = namesOf(arg);
    const value = arg.includes('=') ? MEANING.get(arg.slice(arg.indexOf('=') + 1)) : undefined;
    if (names === undefined || value === undefined) {
      result.push(arg);
      continue;
    }
    // Of several letters in one word, as in `-dm=false`, the value is the last one's.
    const last = names.at(-1) ?? '';
    const on = names.slice(0, value ? undefined : -1).map((name) => `--${name}`);
    if (!value) result = result.flatMap((before) => without(before, last));
    result.push(...on.filter((name) => value || name !== `--${last}`));
  }
  return result;
}

/** The names of the boolean options that an argument stands for; undefined where it is something else. */
function namesOf(arg: string): readonly string[] | undefined {
  const [, dashes, text = ''] = /^(--?)([a-z-]+)(?:=.*)?$/.exec(arg) ?? [];
  if (dashes === '--') return NAMES.has(text) ? [text] : undefined;
  if (dashes === undefined) return undefined;
  const names = text.split('').map((letter) => BOOLEANS.get(letter));
  return names.every((name) => name !== undefined) ? names : undefined;
}

/** The argument without an option that a later one switches off. */
function without(arg: string, name: string): readonly string[] {
  const names = arg.includes('=') ? undefined : namesOf(arg);
  return names?.includes(name) === true
    ? names.filter((one) => one !== name).map((one) => `--${one}`)
    : [arg];
}
