/** From a rule and a repository's tags to what stays, and why. */
import { type Digest, isDigest } from '../oci/digest.ts';
import { compareBytes, type Tag } from '../oci/name.ts';
import { formatAge, type Keep, type RetentionRule } from './retention-rules.ts';
import { compareVersions, versionOf } from './retention-versions.ts';

export interface TagFacts {
  readonly tag: Tag;
  readonly digest: Digest;
  /** When the tag was pushed last, in milliseconds since 1970. */
  readonly pushed: number;
  /** When what it points at was pulled last, as far as that is known; see store/pull-notes.ts. */
  readonly pulled: number;
}

export interface Decision {
  readonly facts: TagFacts;
  readonly stays: boolean;
  /** Why, in words for who asks. */
  readonly reason: string;
}

/**
 * Decides about all tags of a repository, in the order of the tags. Tags that go with an image (`companionOf`) count
 * nowhere and are not decided about here.
 * @param guarded why a tag must stay whatever the rules say; undefined where nothing says so
 */
export function decide(
  rule: RetentionRule,
  tags: readonly TagFacts[],
  now: number,
  guarded: (tag: Tag) => string | undefined,
): readonly Decision[] {
  const rankings = rule.keep.map((keep) => rank(keep, tags));
  return tags.map((facts): Decision => {
    const guard = guarded(facts.tag);
    if (guard !== undefined) return { facts, stays: true, reason: guard };
    if (!rule.mayGo(facts.tag))
      return { facts, stays: true, reason: `rule ${rule.number}: delete does not name it` };
    const against: string[] = [];
    for (const [index, keep] of rule.keep.entries()) {
      const { holds, why } = judge(keep, facts, rankings[index], now);
      const place = `keep ${index + 1} (${keep.text})`;
      if (holds) return { facts, stays: true, reason: `rule ${rule.number}, ${place}: ${why}` };
      against.push(`${place}: ${why}`);
    }
    const reason = against.length === 0 ? 'nothing keeps it' : against.join('; ');
    return { facts, stays: false, reason: `rule ${rule.number}: ${reason}` };
  });
}

/** Places from 1, the newest first. undefined where nobody asks. */
type Ranking = { readonly places: ReadonlyMap<Tag, number>; readonly count: number } | undefined;

function rank(keep: Keep, tags: readonly TagFacts[]): Ranking {
  if (keep.newest === undefined) return undefined;
  const named = tags.filter(({ tag }) => keep.matches(tag));
  const ordered = keep.by === 'version' ? byVersion(named) : byPush(named);
  return { places: new Map(ordered.map(({ tag }, index) => [tag, index + 1])), count: ordered.length };
}

function byPush(tags: readonly TagFacts[]): readonly TagFacts[] {
  return tags.toSorted((a, b) => b.pushed - a.pushed || compareBytes(b.tag, a.tag));
}

function byVersion(tags: readonly TagFacts[]): readonly TagFacts[] {
  return tags
    .flatMap((facts) => {
      const version = versionOf(facts.tag);
      return version === undefined ? [] : [{ facts, version }];
    })
    .sort((a, b) => compareVersions(b.version, a.version) || compareBytes(b.facts.tag, a.facts.tag))
    .map(({ facts }) => facts);
}

function judge(
  keep: Keep,
  { tag, pushed, pulled }: TagFacts,
  ranking: Ranking,
  now: number,
): { readonly holds: boolean; readonly why: string } {
  if (!keep.matches(tag)) return { holds: false, why: 'does not name it' };
  const held: string[] = [];
  const { newest, pushedWithinMs, pulledWithinMs } = keep;
  if (newest !== undefined) {
    const place = ranking?.places.get(tag);
    if (place === undefined) return { holds: false, why: 'it is no version' };
    const why = `it is number ${place} of ${ranking?.count ?? 0}`;
    if (place > newest) return { holds: false, why };
    held.push(why);
  }
  for (const [what, time, within] of [
    ['pushed', pushed, pushedWithinMs],
    ['pulled', pulled, pulledWithinMs],
  ] as const) {
    if (within === undefined) continue;
    const why = `${what} ${formatAge(now - time)} ago, ${new Date(time).toISOString().slice(0, 16)}Z`;
    if (now - time > within) return { holds: false, why };
    held.push(why);
  }
  return { holds: true, why: held.length === 0 ? 'names it' : held.join(', ') };
}

/**
 * Whether a tag goes with an image: `sha256-<hex>.sig` and the like of cosign, `sha256-<hex>` of the specification's
 * Referrers Tag Schema. undefined for all other tags.
 * @returns the image's digest, where the tag tells it whole
 */
export function companionOf(tag: Tag): { readonly subject: Digest | undefined } | undefined {
  const [, algorithm, hex] = /^(sha256|sha512)-([0-9a-f]{64,})(?:\.[A-Za-z0-9._-]+)?$/.exec(tag) ?? [];
  if (hex === undefined) return undefined;
  const digest = `${algorithm}:${hex}`;
  return { subject: isDigest(digest) ? digest : undefined };
}
