/**
 * Which tags stay. Of a repository the first rule counts that names it, and none of the others; in a repository that no
 * rule names everything stays. A tag goes when the rule's `delete` names it and none of its `keep` keeps it.
 */
import { type Glob, glob } from '../oci/glob.ts';
import type { RepositoryName, Tag } from '../oci/name.ts';

/** One reason to keep tags. All that it says must hold; that is said nothing is no condition. */
export interface KeepOptions {
  /** Patterns of tags (oci/glob.ts); left out, all tags. */
  readonly tags?: readonly string[];
  readonly except?: readonly string[];
  /** Only so many: the newest of those that the patterns name. */
  readonly newest?: number;
  /** What is newest: what was pushed last, or has the highest version. Tags that are no versions have none. */
  readonly by?: 'push' | 'version';
  /** Milliseconds since the tag was pushed last. */
  readonly pushedWithinMs?: number;
  /** Milliseconds since what the tag points at was pulled last, by whatever name. */
  readonly pulledWithinMs?: number;
}

export interface RetentionRuleOptions {
  /** Patterns of repositories. */
  readonly repositories: readonly string[];
  readonly except?: readonly string[];
  /** Patterns of the tags that may go. Left out, all where there is a `keep`, and none where there is not. */
  readonly delete?: readonly string[];
  readonly keep: readonly KeepOptions[];
  /** Milliseconds after which a manifest that no tag leads to goes, by the collector; left out, it stays. */
  readonly untaggedAfterMs?: number;
}

export interface Keep extends Omit<KeepOptions, 'tags' | 'except'> {
  readonly matches: (tag: Tag) => boolean;
  /** In the words of the configuration: `newest 10 of "v*"`. */
  readonly text: string;
}

export interface RetentionRule {
  /** Its place in the list, from 1. */
  readonly number: number;
  readonly mayGo: (tag: Tag) => boolean;
  readonly keep: readonly Keep[];
  readonly untaggedAfterMs: number | undefined;
}

/** The rules in force; immutable. */
export class RetentionRules {
  readonly #rules: readonly { readonly rule: RetentionRule; readonly names: (name: string) => boolean }[];
  /** Whether it must be noted when what is pulled. */
  readonly needsPulls: boolean;

  constructor(options: readonly RetentionRuleOptions[]) {
    this.#rules = options.map((one, index) => ({
      rule: compile(one, index + 1),
      names: matcher(one.repositories, one.except),
    }));
    this.needsPulls = options.some(({ keep }) =>
      keep.some(({ pulledWithinMs }) => pulledWithinMs !== undefined),
    );
  }

  /** The one rule for a repository; undefined where everything stays. */
  of(name: RepositoryName): RetentionRule | undefined {
    return this.#rules.find(({ names }) => names(name))?.rule;
  }

  /** What the collector asks for each repository. */
  untaggedAfterMs(name: RepositoryName): number | undefined {
    return this.of(name)?.untaggedAfterMs;
  }
}

function compile(options: RetentionRuleOptions, number: number): RetentionRule {
  const { keep, untaggedAfterMs } = options;
  const named = options.delete ?? (keep.length > 0 ? ['*'] : []);
  return {
    number,
    mayGo: matcher(named),
    keep: keep.map(({ tags = ['*'], except = [], ...more }) => ({
      ...more,
      matches: matcher(tags, except),
      text: describe({ tags, except, ...more }),
    })),
    untaggedAfterMs,
  };
}

function matcher(patterns: readonly string[], except: readonly string[] = []): (text: string) => boolean {
  const globs = patterns.map(glob);
  const exceptions = except.map(glob);
  const any = (list: readonly Glob[], text: string) => list.some((one) => one(text));
  return (text) => any(globs, text) && !any(exceptions, text);
}

function describe(options: KeepOptions): string {
  const { tags = [], except = [], newest, by, pushedWithinMs, pulledWithinMs } = options;
  const quoted = (patterns: readonly string[]) => patterns.map((pattern) => `"${pattern}"`).join(', ');
  const which = tags.length === 1 && tags[0] === '*' ? 'all tags' : `tags ${quoted(tags)}`;
  const of = except.length === 0 ? which : `${which} except ${quoted(except)}`;
  const conditions = [
    ...(newest === undefined ? [] : [by === 'version' ? `${newest} highest versions` : `newest ${newest}`]),
    ...(pushedWithinMs === undefined ? [] : [`pushed within ${formatAge(pushedWithinMs)}`]),
    ...(pulledWithinMs === undefined ? [] : [`pulled within ${formatAge(pulledWithinMs)}`]),
  ];
  return conditions.length === 0 ? of : `${conditions.join(', ')} of ${of}`;
}

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
] as const;

/** A time in its two largest units: `3d`, `2h10m`. */
export function formatAge(ms: number): string {
  let rest = Math.max(0, ms);
  let text = '';
  let units = 0;
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    if (count > 0 && units < 2) text += `${count}${unit}`;
    if (count > 0 || units > 0) units += 1;
    rest -= count * size;
  }
  return text === '' ? '0s' : text;
}
