/**
 * Patterns in which `*` stands for any run of characters, `/` included. All other characters stand for themselves. The
 * time to match is that of the text times the number of stars, whatever the pattern (no regular expression is made).
 */
export type Glob = (text: string) => boolean;

/** Compiles a pattern. */
export function glob(pattern: string): Glob {
  if (pattern === '*') return () => true;
  const [first = '', ...rest] = pattern.split('*');
  const last = rest.pop();
  if (last === undefined) return (text) => text === first;
  if (rest.length === 0) {
    return (text) =>
      text.length >= first.length + last.length && text.startsWith(first) && text.endsWith(last);
  }
  return (text) => matchParts(text, first, rest, last);
}

/** Each part is looked for behind the one before it: the earliest place leaves the most for those that follow. */
function matchParts(text: string, first: string, middle: readonly string[], last: string): boolean {
  if (!text.startsWith(first)) return false;
  let at = first.length;
  for (const part of middle) {
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return text.length - last.length >= at && text.endsWith(last);
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
