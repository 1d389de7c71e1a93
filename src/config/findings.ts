import { type Node, type Path, type Place, placeOf } from './tree.ts';

/**
 * A configuration that cannot be used. The message has one complete line for each thing that is wrong, and is
 * all that an operator needs to see.
 */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  /** The lines of the message. */
  readonly problems: readonly string[];
  /** What was found besides, and would not have kept the registry from starting. */
  readonly warnings: readonly string[];
  constructor(problems: readonly string[], warnings: readonly string[] = [], cause?: unknown) {
    super(problems.join('\n'), cause === undefined ? undefined : { cause });
    this.problems = problems;
    this.warnings = warnings;
  }
}

interface Finding {
  readonly place: Place | undefined;
  readonly text: string;
}

/** Collects everything that is wrong or odd, so that an operator mends a file once and not line by line. */
export class Findings {
  readonly #file: string | undefined;
  readonly #problems: Finding[] = [];
  readonly #warnings: Finding[] = [];
  readonly #told = new Set<string>();

  /** `file` is how messages call the file. */
  constructor(file: string | undefined) {
    this.#file = file === undefined ? undefined : visible(file);
  }

  /** What keeps the registry from starting. */
  problem(place: Place | undefined, text: string): void {
    this.#problems.push({ place, text });
  }

  /** What does not. */
  warning(place: Place | undefined, text: string): void {
    this.#warnings.push({ place, text });
  }

  /** A problem of one setting. Only the first of each setting is told: the next ones would follow from it. */
  problemAt(root: Node, path: Path, text: string, place: Place = placeOf(root, path)): void {
    const name = formatPath(path);
    if (this.#told.has(name)) return;
    this.#told.add(name);
    this.problem(place, `${name}: ${text}`);
  }

  /** A warning about one setting. */
  warningAt(root: Node, path: Path, text: string): void {
    this.warning(placeOf(root, path), `${formatPath(path)}: ${text}`);
  }

  /** Where a setting was written, as people say it (`config.yml:12`); `''` when it was not. */
  where(root: Node, path: Path): string {
    const place = placeOf(root, path);
    if ('variable' in place) return place.variable;
    return this.#file === undefined ? '' : `${this.#file}:${place.line}`;
  }

  /** Whether a problem of a setting within the section was told. */
  isToldWithin(section: string): boolean {
    return [...this.#told].some((name) => name.startsWith(`${section}.`));
  }

  /** Whether there is any problem. */
  get failed(): boolean {
    return this.#problems.length > 0;
  }

  /** The warnings as lines: in the file's order, then those of environment variables. */
  warnings(): readonly string[] {
    return this.#lines(this.#warnings);
  }

  /** @throws ConfigError when there is any problem */
  throwIfFailed(): void {
    if (this.failed) throw new ConfigError(this.#lines(this.#problems), this.warnings());
  }

  #lines(findings: readonly Finding[]): readonly string[] {
    const sorted = findings.toSorted((a, b) => comparePlaces(a.place, b.place));
    return sorted.map(({ place, text }) => {
      const where = this.#where(place);
      return where === '' ? text : `${where}: ${text}`;
    });
  }

  #where(place: Place | undefined): string {
    if (place === undefined) return this.#file ?? '';
    if ('variable' in place) return place.variable;
    return this.#file === undefined ? '' : `${this.#file}:${place.line}:${place.column}`;
  }
}

function comparePlaces(a: Place | undefined, b: Place | undefined): number {
  return order(a) - order(b) || columnOf(a) - columnOf(b);
}

function order(place: Place | undefined): number {
  if (place === undefined) return 0;
  return 'line' in place ? place.line : Number.MAX_SAFE_INTEGER;
}

function columnOf(place: Place | undefined): number {
  return place !== undefined && 'column' in place ? place.column : 0;
}

/** A path as people write it: `http.headers.X-Foo[0]`. */
export function formatPath(path: Path): string {
  let text = '';
  for (const key of path) {
    text += typeof key === 'number' ? `[${key}]` : `${text === '' ? '' : '.'}${printable(key)}`;
  }
  return text;
}

/** Text of the operator's, fit for one line of a message: no control characters. */
export function visible(text: string): string {
  return text.replaceAll(/[\p{C}\u2028\u2029]/gu, '\uFFFD');
}

/** The same for values, of which the beginning says enough. */
export function printable(text: string): string {
  const clean = visible(text);
  return clean.length > 60 ? `${clean.slice(0, 57)}...` : clean;
}
