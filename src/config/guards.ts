/** Which settings keep somebody out, so that none of them is passed over where it is misspelt or misplaced. */
import { formatPath } from './findings.ts';
import { guardMeant, guardsWithin } from './guard-shapes.ts';
import { joinedGuards } from './guards-joined.ts';
import { KNOWN, type Section } from './known-keys.ts';
import { nearest } from './suggestions.ts';
import { type MapNode, type Node, nodeAt, type Path } from './tree.ts';

/** Sections in which an unknown setting is a mistake that cannot be passed over. */
const GUARDS: ReadonlySet<string> = new Set([
  'auth',
  'auth.htpasswd',
  'auth.token',
  'auth.ldap',
  'auth.oidc',
  'auth.certificates',
  'acl',
  'storage.maintenance.readonly',
  'http.tls',
  'http.tls.certificates',
  'http.tls.letsencrypt',
  'access',
  'tags',
  'tags.immutable',
  'tags.protected',
  // What is passed over here deletes, or keeps, something else than was meant.
  'garbage_collector',
  'retention',
  'retention.rules',
  'retention.rules.keep',
  'quotas',
  'scrub',
  // What an upstream gives to whom, and whether it is believed.
  'proxy.upstreams',
]);

/** Sections that keep somebody out: a slip of the finger in their names would let everybody in, or listen. */
const GUARDING: ReadonlySet<string> = new Set(['auth', 'users', 'groups', 'acl', 'access', 'http.tls']);

/** Whether all that stands in a section guards something, so that an unknown setting in it is a mistake. */
export function isGuarded(section: Path): boolean {
  const named = section.filter((step) => typeof step === 'string');
  const isAccount = named.length === 2 && named[0] === 'users';
  return isAccount || GUARDS.has(formatPath(named));
}

/** Whether a setting that the section does not know is a guard of that very section, misspelt. */
export function isMisspeltGuard(key: string, section: Section, path: Path): boolean {
  const meant = nearest(key, section.keys.keys());
  return meant !== undefined && GUARDING.has(formatPath([...path, meant]));
}

/** Settings below a section that guard something, by names that say so at any place. */
const GUARDING_SETTINGS: ReadonlySet<string> = new Set([
  'http.tls',
  'http.tls.auto',
  'http.tls.constraints',
  'http.tls.certificate',
  'http.tls.certificates',
  'http.tls.letsencrypt',
  'http.tls.minimumtls',
  'http.tls.ciphersuites',
  'http.tls.clientcas',
  'http.tls.clientauth',
  'auth.htpasswd',
  'auth.token',
  'auth.ldap',
  'auth.certificates',
  'access.pull',
  'access.push',
  'tags.immutable',
  'tags.protected',
  'storage.maintenance.readonly',
]);

/**
 * Where in the file a setting belongs that keeps somebody out, or a whole section, when it stands elsewhere: indented below
 * another one, or not indented at all, it would let everybody in. Files of `registry:2` that mean what they say have none.
 */
export function guardPlaces(key: string): readonly string[] {
  return homesOf(key).map((home) => {
    const path = home.split('.');
    return path.length === 1
      ? `at the top level (${home}:, not indented)`
      : `below ${path.slice(0, -1).join('.')} (${home})`;
  });
}

/** Whether a guard of this name stands anywhere where it belongs. */
export function isWritten(guard: string, root: MapNode): boolean {
  return homesOf(guard).some((home) => nodeAt(root, home.split('.')) !== undefined);
}

/** Dotted names of the whole section, and of the settings that keep somebody out, with this name. */
function homesOf(key: string): readonly string[] {
  const lower = key.toLowerCase();
  const top = KNOWN.keys.get(lower)?.kind;
  const isSection = top === 'section' || top === 'map' || top === 'list';
  return [
    ...(isSection ? [lower] : []),
    ...[...GUARDING_SETTINGS].filter((name) => name.split('.').at(-1) === lower),
  ];
}

/** A variable whose name is that of no setting. */
export interface LostVariable {
  /** The section that its name leads to. */
  readonly section: Path;
  /** The names that can follow there. */
  readonly candidates: Iterable<string>;
  /** The word that is none of them, and those after it. */
  readonly words: readonly [string, ...string[]];
  readonly value: Node;
}

/**
 * What a variable was meant for that was to keep somebody out, and must not be passed over: as in the file, but as other
 * programs' variables may begin with `REGISTRY_` too (`REGISTRY_USER`), only where the shape says so, or the section is one
 * of `registry:2`, which takes no others there either.
 * @returns dotted names, perhaps none; undefined for a variable that guards nothing
 */
export function guardsMeant(lost: LostVariable): readonly string[] | undefined {
  const { section, words, value } = lost;
  const joined = guardsJoined([...section.map(String), ...words], value);
  const names = joined.length > 0 ? joined : guardsByShape(lost);
  // `readonly: true` is no setting, but there is no doubt what is meant.
  return names?.map((name) =>
    name === 'storage.maintenance.readonly' && value.kind === 'scalar' ? `${name}.enabled` : name,
  );
}

function guardsByShape({ section, candidates, words, value }: LostVariable): readonly string[] | undefined {
  const [head, ...tail] = words;
  const near = nearest(head, candidates);
  const meant = near === undefined ? [] : [[...section, near, ...tail].join('.').toLowerCase()];
  const isTheirs = section[0] === 'auth' || section[0] === 'http';
  if (isGuarded(section) && (isTheirs || near !== undefined)) return meant;
  if (section.length > 0 && near !== undefined && GUARDING.has(formatPath([...section, near]))) return meant;
  // A few names have a `_` themselves.
  const twins = [nested(tail, value), ...(tail.length > 1 ? [nested([tail.join('_')], value)] : [])];
  for (const twin of twins) {
    const name = guardMeant(head, twin);
    if (name === undefined) continue;
    return homesOf(name).map((home) => [home, ...tail].join('.').toLowerCase());
  }
  const isOurs = section.length > 0 || near !== undefined;
  if (isOurs && guardsWithin(nested(tail, value), section).length > 0) return meant;
  const joined = words.join('').toLowerCase();
  return guardMeant(joined, value) === joined ? homesOf(joined) : undefined;
}

const guardsJoined = joinedGuards(guardsByItself);

/** Whether a setting keeps somebody out, or lies in a section that does. In `http.tls` not all do (`names`). */
function guardsByItself(name: string): boolean {
  const steps = name.split('.');
  const sections = steps.map((_, index) => steps.slice(0, index + 1).join('.'));
  return (
    name === 'http.tls' ||
    sections.some(
      (section) => section !== 'http.tls' && (GUARDING.has(section) || GUARDING_SETTINGS.has(section)),
    )
  );
}

/** What stands in the file where a variable has these words. */
function nested(words: readonly string[], value: Node): Node {
  return words.reduceRight<Node>((inner, word) => {
    const { place } = value;
    return /^\d+$/.test(word)
      ? { kind: 'list', items: [inner], place }
      : { kind: 'map', entries: new Map([[word.toLowerCase(), { keyPlace: place, value: inner }]]), place };
  }, value);
}
