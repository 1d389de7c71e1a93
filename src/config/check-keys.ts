/** Compares what is written with what is known, before values are looked at. */
import { type Findings, formatPath, printable } from './findings.ts';
import { guardMeant, guardsWithin } from './guard-shapes.ts';
import { guardPlaces, isGuarded, isMisspeltGuard, isWritten } from './guards.ts';
import { dottedNames, KNOWN, type Known, type Section } from './known-keys.ts';
import { nearest } from './suggestions.ts';
import { type Entry, isNull, isSet, type MapNode, type Node, type Path } from './tree.ts';

/**
 * Warns of unknown and of unsupported settings and refuses those that must not be passed over. Takes out of the
 * tree what it judged, so that the schema sees sections where it expects sections, and nothing twice.
 */
export function checkKeys(root: MapNode, findings: Findings): void {
  checkForeign(root, findings);
  checkSection(root, KNOWN, []);

  function checkSection(map: MapNode, section: Section, path: Path): void {
    for (const [key, entry] of map.entries) {
      const { value, keyPlace } = entry;
      const known = section.keys.get(key);
      const here = [...path, key];
      if (known === undefined) {
        const meant = hint(key, section, path);
        const places = guardPlaces(key);
        const isAnchors = path.length === 0 && isOwn(key);
        const slip = isAnchors ? undefined : guardMeant(key, value);
        const isMisspelt = isMisspeltGuard(key, section, path) || isMisspeltSection(key, section, path);
        // What was meant to keep somebody out, or to encrypt, must not be passed over.
        if (isGuarded(path) || (isMisspelt && !isAnchors))
          findings.problemAt(root, here, `unknown setting${meant}`, keyPlace);
        else if (places.length > 0)
          findings.problemAt(root, here, `has no effect here; it belongs ${places.join(' or ')}`, keyPlace);
        else if (slip !== undefined)
          findings.problemAt(
            root,
            here,
            `unknown setting; ${slip} belongs ${guardPlaces(slip).join(' or ')}`,
            keyPlace,
          );
        else {
          findings.warning(keyPlace, `${formatPath(here)}: unknown setting, it has no effect${meant}`);
          // At the top level it may be the home of YAML anchors, whose copies stand where they belong.
          const isPassedOver = (guard: string) => path.length > 0 || !isWritten(guard, root);
          if (!isAnchors) checkWithin(value, here, isPassedOver);
        }
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
    if (known.kind === 'map') {
      if (known.value.kind === 'free') checkWithin(node, path);
      return expectKind(node, 'map', path);
    }
    if (known.kind === 'free') checkWithin(node, path);
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

  /** Refuses what guards nothing because it was indented below something that it is no part of. */
  function checkWithin(node: Node, path: Path, isPassedOver = (_guard: string) => true): void {
    for (const guard of guardsWithin(node, path).filter(({ name }) => isPassedOver(name)))
      findings.problemAt(
        root,
        guard.path,
        `has no effect here; ${guard.name} belongs ${guardPlaces(guard.name).join(' or ')}`,
      );
  }

  function checkUnsupported(
    { value, keyPlace }: Entry,
    known: Extract<Known, { kind: 'unsupported' }>,
    path: Path,
  ): void {
    const { effect, advice, asks = isSet } = known.entry;
    if (effect !== 'refuse') checkWithin(value, path);
    if (effect === 'accept' || !asks(value)) return;
    if (effect === 'warn') {
      findings.warning(keyPlace, `${formatPath(path)}: is not supported yet and has no effect`);
    } else {
      const text = `is not supported yet${advice === undefined ? '' : `: ${advice}`}`;
      findings.problemAt(root, path, text, keyPlace);
    }
  }
}

/** Another program's file would leave nothing but the defaults, and a page of warnings. */
function checkForeign({ entries }: MapNode, findings: Findings): void {
  const sections = [...entries].filter(
    ([key, { keyPlace }]) => key !== 'version' && !('variable' in keyPlace),
  );
  const [first] = sections;
  const isOurs = (key: string) => KNOWN.keys.has(key) || isMisspeltSection(key, KNOWN, []);
  if (first === undefined || sections.some(([key]) => isOurs(key))) return;
  const [key, { keyPlace }] = first;
  findings.problem(
    keyPlace,
    `no setting of the file is one of a registry, such as storage and http: ${printable(key)} is not known. Is it another program’s?`,
  );
}

/** What begins with `x-`, `_` or a dot is somebody's own, such as the home of YAML anchors, and never meant. */
function isOwn(key: string): boolean {
  return /^(?:x-|[_.])/i.test(key);
}

/**
 * Whether the name of a whole section is misspelt: the registry would listen, or keep its content, somewhere else than the
 * file says.
 */
function isMisspeltSection(key: string, section: Section, path: Path): boolean {
  return path.length === 0 && nearest(key, section.keys.keys()) !== undefined;
}

const NAMES = { map: 'a section of settings', list: 'a list' } as const;

function nameOf(node: Node, path: Path): string {
  if (node.kind !== 'scalar') return NAMES[node.kind];
  // What stands where a section belongs may be meant for one of its settings, and that one may be secret.
  return path.length < 2 ? `"${printable(node.text)}"` : 'a single value';
}

/** The one setting that has this very name elsewhere, of several the one that lies least deep, or else the nearest of the section. */
function hint(key: string, section: Section, path: Path): string {
  const suggestion = elsewhere(key) ?? sibling(key, section, path);
  return suggestion === undefined ? '' : `; did you mean ${suggestion}?`;
}

function elsewhere(key: string): string | undefined {
  const lower = key.toLowerCase();
  const depth = (name: string): number => name.split('.').length;
  const found = dottedNames()
    .filter((name) => name.split('.').at(-1) === lower)
    .toSorted((a, b) => depth(a) - depth(b));
  const [first, second] = found;
  if (first === undefined || (second !== undefined && depth(second) === depth(first))) return undefined;
  return first;
}

function sibling(key: string, section: Section, path: Path): string | undefined {
  const near = nearest(key, section.keys.keys());
  return near === undefined ? undefined : formatPath([...path, near]);
}
