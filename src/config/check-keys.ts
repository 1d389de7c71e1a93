/** Compares what is written with what is known, before values are looked at. */
import { type Findings, formatPath, printable } from './findings.ts';
import { dottedNames, KNOWN, type Known, type Section } from './known-keys.ts';
import { nearest } from './suggestions.ts';
import { type Entry, isNull, isSet, type MapNode, type Node, type Path } from './tree.ts';

/** Sections in which an unknown setting is a mistake that cannot be passed over. */
const GUARDS: ReadonlySet<string> = new Set([
  'auth',
  'auth.ldap',
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
]);

/**
 * Warns of unknown and of unsupported settings and refuses those that must not be passed over. Takes out of the
 * tree what it judged, so that the schema sees sections where it expects sections, and nothing twice.
 */
export function checkKeys(root: MapNode, findings: Findings): void {
  checkSection(root, KNOWN, []);

  function checkSection(map: MapNode, section: Section, path: Path): void {
    for (const [key, entry] of map.entries) {
      const { value, keyPlace } = entry;
      const known = section.keys.get(key);
      const here = [...path, key];
      if (known === undefined) {
        const meant = hint(key, section, path);
        // What was meant to keep somebody out, or to encrypt, must not be passed over.
        if (
          GUARDS.has(formatPath(path.filter((step) => typeof step === 'string'))) ||
          isMisspeltGuard(key, section, path)
        )
          findings.problemAt(root, here, `unknown setting${meant}`, keyPlace);
        else findings.warning(keyPlace, `${formatPath(here)}: unknown setting, it has no effect${meant}`);
        map.entries.delete(key);
      } else if (known.kind === 'unsupported') {
        checkUnsupported(entry, known, here);
        map.entries.delete(key);
      } else if (!check(value, known, here)) {
        map.entries.delete(key);
      }
    }
  }

  /** @returns whether the value is of the shape that is known; else a problem was told */
  function check(node: Node, known: Known, path: Path): boolean {
    if (isNull(node)) return true;
    if (known.kind === 'section') {
      if (node.kind === 'map') checkSection(node, known, path);
      return expectKind(node, 'map', path);
    }
    if (known.kind === 'map') return expectKind(node, 'map', path);
    if (known.kind === 'list') {
      if (node.kind !== 'list') return known.single || expectKind(node, 'list', path);
      // All are looked at; the list goes as a whole, because its other items would change their numbers.
      const fits = node.items.map((item, index) => check(item, known.item, [...path, index]));
      return fits.every(Boolean);
    }
    return true;
  }

  function expectKind(node: Node, kind: 'map' | 'list', path: Path): boolean {
    if (node.kind === kind) return true;
    findings.problemAt(root, path, `expected ${NAMES[kind]}, found ${nameOf(node, path)}`);
    return false;
  }

  function checkUnsupported(
    { value, keyPlace }: Entry,
    known: Extract<Known, { kind: 'unsupported' }>,
    path: Path,
  ): void {
    const { effect, advice, asks = isSet } = known.entry;
    if (effect === 'accept' || !asks(value)) return;
    if (effect === 'warn') {
      findings.warning(keyPlace, `${formatPath(path)}: is not supported yet and has no effect`);
    } else {
      const text = `is not supported yet${advice === undefined ? '' : `: ${advice}`}`;
      findings.problemAt(root, path, text, keyPlace);
    }
  }
}

/** Sections that keep somebody out: a slip of the finger in their names would let everybody in, or listen. */
const GUARDING: ReadonlySet<string> = new Set(['auth', 'users', 'groups', 'acl', 'access', 'http.tls']);

function isMisspeltGuard(key: string, section: Section, path: Path): boolean {
  const meant = nearest(key, section.keys.keys());
  return meant !== undefined && GUARDING.has(formatPath([...path, meant]));
}

const NAMES = { map: 'a section of settings', list: 'a list' } as const;

function nameOf(node: Node, path: Path): string {
  if (node.kind !== 'scalar') return NAMES[node.kind];
  // What stands where a section belongs may be meant for one of its settings, and that one may be secret.
  return path.length < 2 ? `"${printable(node.text)}"` : 'a single value';
}

/** The one setting that has this very name elsewhere, or else the nearest of the section. */
function hint(key: string, section: Section, path: Path): string {
  const suggestion = elsewhere(key) ?? sibling(key, section, path);
  return suggestion === undefined ? '' : `; did you mean ${suggestion}?`;
}

function elsewhere(key: string): string | undefined {
  const lower = key.toLowerCase();
  const found = dottedNames().filter((name) => name.split('.').at(-1) === lower);
  return found.length === 1 ? found[0] : undefined;
}

function sibling(key: string, section: Section, path: Path): string | undefined {
  const near = nearest(key, section.keys.keys());
  return near === undefined ? undefined : formatPath([...path, near]);
}
