/** Which guard a variable means whose words are joined, parted or left out otherwise than those of the setting. */
import { KNOWN, type Known } from './known-keys.ts';
import { slips } from './suggestions.ts';
import { isSet, type Node } from './tree.ts';

/** Words that other servers have for ours. */
const ALSO_CALLED: ReadonlyMap<string, string> = new Map([
  ['ssl', 'tls'],
  ['cert', 'certificate'],
  ['certs', 'certificates'],
  ['crt', 'certificate'],
  ['authentication', 'auth'],
]);

/** Our own word for one that other servers have; any other word as it is, in lower case. */
export function ownWord(word: string): string {
  const lower = word.toLowerCase();
  return ALSO_CALLED.get(lower) ?? lower;
}

/** The number of a list's item. */
const ITEM = '#';

/** More slips than this make another name, however long it is. */
const MAX_SLIPS = 3;

/** So many letters for each slip: half as many as where the section is known. */
const LETTERS_A_SLIP = 8;

/** One way in which the name of a setting may be typed. */
interface Form {
  readonly letters: string;
  readonly path: readonly string[];
  readonly isGuard: boolean;
  /** Whether a single value can stand there. */
  readonly takesText: boolean;
  /** With a section left out in the middle, what is only near may as well be another program's. */
  readonly isExact: boolean;
}

/** Finds the guards that a variable's words, with those of its section before them, and its value were meant for. */
export type JoinedGuards = (words: readonly string[], value: Node) => readonly string[];

/**
 * The guards that lie nearest to the words, whatever is a section and whatever a word in them (`READ_ONLY`, `TLSAUTO`), two of
 * them also the other way round (`IMMUTABLE_TAGS`), and without the first sections (`TOKEN_REALM`) but for a last word alone, which may be anything's (`TOKEN`).
 * A value that asks for nothing means none.
 * @param isGuard whether a setting of this dotted name guards something
 * @returns gives dotted names; none where no guard is near, or another setting is nearer
 */
export function joinedGuards(isGuard: (name: string) => boolean): JoinedGuards {
  // Made when a variable is lost: most starts need none.
  let forms: readonly Form[] | undefined;
  return (words, value) => guardsAmong((forms ??= formsOf(isGuard)), words, value);
}

function guardsAmong(forms: readonly Form[], words: readonly string[], value: Node): readonly string[] {
  if (!isSet(value)) return [];
  const numbers = words.filter(isNumber);
  const typed = lettersOf(words.map((word) => (isNumber(word) ? ITEM : ownWord(word))));
  const allowed = Math.min(MAX_SLIPS, Math.floor(typed.length / LETTERS_A_SLIP));
  // A number is none of the letters that slip; few slip at once, and what begins otherwise is often a word of its own (`OAUTH`).
  const alike = forms
    .filter(
      ({ letters }) =>
        itemsIn(letters) === itemsIn(typed) &&
        letters[0] === typed[0] &&
        Math.abs(letters.length - typed.length) <= allowed,
    )
    .map((form) => ({ ...form, slipped: slips(form.letters, typed) }))
    .filter(({ isExact, slipped }) => slipped <= (isExact ? 0 : allowed));
  for (let most = 0; most <= allowed; most++) {
    const near = alike.filter(({ slipped }) => slipped <= most);
    if (near.some((form) => !form.isGuard)) return [];
    const fitting = near.filter(({ takesText }) => takesText || value.kind !== 'scalar');
    if (fitting.length > 0) return [...new Set(fitting.map(({ path }) => named(path, numbers)))];
  }
  return [];
}

function isNumber(word: string): boolean {
  return /^\d+$/.test(word);
}

function lettersOf(words: readonly string[]): string {
  return words.join('').replaceAll('_', '').toLowerCase();
}

function itemsIn(letters: string): number {
  return letters.split(ITEM).length;
}

/** The dotted name, with the numbers that were typed. */
function named(path: readonly string[], numbers: readonly string[]): string {
  const rest = [...numbers];
  return path.map((step) => (step === ITEM ? (rest.shift() ?? '0') : step)).join('.');
}

function formsOf(isGuard: (name: string) => boolean): readonly Form[] {
  return settingsBelow(KNOWN, []).flatMap(({ path, known }) => {
    const common = {
      path,
      isGuard: isGuard(path.join('.')),
      takesText:
        known.kind === 'value' ||
        (known.kind === 'list' && known.single) ||
        // As `readonly: true`, which is refused but says what is meant.
        path.join('.') === 'storage.maintenance.readonly',
    };
    const whole = path.map((_, start) => ({ ...common, steps: path.slice(start), isExact: false }));
    const [top, , ...rest] = path;
    const parted =
      common.isGuard && top !== undefined ? [{ ...common, steps: [top, ...rest], isExact: true }] : [];
    const turned =
      common.isGuard && path.length === 2
        ? [{ ...common, steps: path.toReversed(), isExact: true, takesText: true }]
        : [];
    return [...whole, ...parted, ...turned]
      .filter(({ steps }) => steps[0] !== ITEM && steps.filter((step) => step !== ITEM).length > 1)
      .map(({ steps, ...form }) => ({ ...form, letters: lettersOf(steps) }));
  });
}

interface Setting {
  readonly path: readonly string[];
  readonly known: Known;
}

/** What can be named below a section or a list. The names of a map are the operator's. */
function settingsBelow(known: Known, path: readonly string[]): readonly Setting[] {
  const children: readonly (readonly [string, Known])[] =
    known.kind === 'section' ? [...known.keys] : known.kind === 'list' ? [[ITEM, known.item]] : [];
  return children.flatMap(([step, child]) => {
    const here = [...path, step];
    return [{ path: here, known: child }, ...settingsBelow(child, here)];
  });
}
