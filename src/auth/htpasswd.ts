/** The text of an htpasswd file: `name:hash` lines, of which those with bcrypt hashes count, as in `registry:2`. */
import { costOf } from './bcrypt.ts';
import { isAccountName } from './identity.ts';

/** What a file says. */
export interface Htpasswd {
  /** Stored passwords by account. */
  readonly hashes: ReadonlyMap<string, string>;
  /** The highest bcrypt cost among them; 0 when there are none. */
  readonly highestCost: number;
  /** Lines that do not count, with the reason; one text for all, without any of their content. */
  readonly warning: string | undefined;
}

export const EMPTY_HTPASSWD: Htpasswd = { hashes: new Map(), highestCost: 0, warning: undefined };

/** Line numbers that a warning names. */
const MOST_NAMED = 10;

interface Line {
  readonly name: string;
  readonly hash: string;
}

/** The entry of a line; undefined for blank ones, comments, and what is neither. */
function entryOf(line: string): Line | 'nothing' | undefined {
  const text = line.trim();
  if (text === '' || text.startsWith('#')) return 'nothing';
  const colon = text.indexOf(':');
  if (colon < 0) return undefined;
  // What follows a second colon is a remark, to Apache.
  return { name: text.slice(0, colon), hash: text.slice(colon + 1).split(':')[0] ?? '' };
}

/**
 * Reads a file's text. Of several lines for one account the last counts, even if only to say that there is no usable
 * password any more.
 */
export function parseHtpasswd(text: string): Htpasswd {
  const hashes = new Map<string, string>();
  const ignored: number[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const entry = entryOf(line);
    if (entry === 'nothing') continue;
    if (entry !== undefined && isAccountName(entry.name) && costOf(entry.hash) !== undefined) {
      hashes.set(entry.name, entry.hash);
      continue;
    }
    if (entry !== undefined) hashes.delete(entry.name);
    ignored.push(index + 1);
  }
  const costs = [...hashes.values()].map((hash) => costOf(hash) ?? 0);
  return { hashes, highestCost: costs.reduce((a, b) => Math.max(a, b), 0), warning: warningOf(ignored) };
}

function warningOf(lines: readonly number[]): string | undefined {
  if (lines.length === 0) return undefined;
  const named = lines.slice(0, MOST_NAMED).join(', ') + (lines.length > MOST_NAMED ? ', …' : '');
  const what = lines.length === 1 ? `line ${named} is` : `lines ${named} are`;
  return `${what} ignored: expected NAME:HASH with a bcrypt hash ("htpasswd -B" or "entrepot hash-password" makes one)`;
}

/**
 * The text with one line for the account, where its last one was or else at the end. Everything else stays as it is.
 */
export function withAccount(text: string, name: string, hash: string): string {
  const lines = text.split('\n');
  const last = lines.findLastIndex((line) => isOf(line, name));
  const entry = `${name}:${hash}`;
  if (last >= 0) {
    return lines
      .map((line, index) => (index === last ? entry + (line.endsWith('\r') ? '\r' : '') : line))
      .filter((line, index) => index === last || !isOf(line, name))
      .join('\n');
  }
  const end = text.includes('\r\n') ? '\r\n' : '\n';
  return `${text}${text === '' || text.endsWith('\n') ? '' : end}${entry}${end}`;
}

/** The text without the account's lines. */
export function withoutAccount(text: string, name: string): string {
  return text
    .split('\n')
    .filter((line) => !isOf(line, name))
    .join('\n');
}

/** Whether any line, usable or not, is the account's. */
export function mentions(text: string, name: string): boolean {
  return text.split('\n').some((line) => isOf(line, name));
}

function isOf(line: string, name: string): boolean {
  const entry = entryOf(line);
  return typeof entry === 'object' && entry.name === name;
}
