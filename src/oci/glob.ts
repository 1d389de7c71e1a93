/**
 * Patterns in which `*` stands for any run of characters, `/` included. All other characters stand for themselves. No
 * regular expression is made, and no place in the text is tried twice, whatever the pattern.
 */
export type Glob = (text: string) => boolean;

/** Compiles a pattern. */
export function glob(pattern: string): Glob {
  return globOfParts(pattern.split('*'));
}

/** Compiles a pattern from what stands between its stars: the parts' own `*` are plain characters. */
export function globOfParts(parts: readonly string[]): Glob {
  const [first = '', ...rest] = parts;
  const last = rest.pop();
  if (last === undefined) return (text) => text === first;
  const middle = rest.filter((part) => part !== '');
  if (middle.length > 0) return (text) => matchParts(text, first, middle, last);
  if (last === '') return first === '' ? () => true : (text) => text.startsWith(first);
  const shortest = first.length + last.length;
  return (text) => text.length >= shortest && text.startsWith(first) && text.endsWith(last);
}

/** Each part is looked for behind the one before it: the earliest place leaves the most for those that follow. */
function matchParts(text: string, first: string, middle: readonly string[], last: string): boolean {
  if (!text.startsWith(first) || !text.endsWith(last)) return false;
  let at = first.length;
  for (const part of middle) {
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return text.length - last.length >= at;
}

/** Puts values into `${name}` places. @returns undefined when one has no value */
export function fill(template: string, value: (name: string) => string | undefined): string | undefined {
  let missing = false;
  const text = template.replaceAll(/\$\{([^{}]*)\}/g, (_, name: string) => {
    const found = value(name);
    missing ||= found === undefined;
    return found ?? '';
  });
  return missing ? undefined : text;
}
