/** A configuration as written: a tree of values, each of which knows where it stands. */

/** Where a value was written: in the file (both numbers count from 1), or in an environment variable. */
export type Place = { readonly line: number; readonly column: number } | { readonly variable: string };

/** A single value. A class, so that it is told from a map of the file whatever keys that has. */
export class ScalarNode {
  readonly kind = 'scalar';
  /** The value as YAML 1.1 reads it. Dates and numbers that JSON lacks are left as text. */
  readonly value: string | number | boolean | null;
  /** The value as it was typed: `0123` and `yes` keep their look where text is wanted. */
  readonly text: string;
  /** Whether it was written with quotes, so that it is text whatever it looks like. */
  readonly quoted: boolean;
  readonly place: Place;

  constructor(value: string | number | boolean | null, text: string, quoted: boolean, place: Place) {
    this.value = value;
    this.text = text;
    this.quoted = quoted;
    this.place = place;
  }
}

export interface ListNode {
  readonly kind: 'list';
  readonly items: Node[];
  readonly place: Place;
}

export interface MapNode {
  readonly kind: 'map';
  readonly entries: Map<string, Entry>;
  readonly place: Place;
}

export interface Entry {
  readonly keyPlace: Place;
  readonly value: Node;
}

export type Node = ScalarNode | ListNode | MapNode;

/** Keys and list indexes from the root down. */
export type Path = readonly (string | number)[];

/** A map without entries. */
export function emptyMap(place: Place): MapNode {
  return { kind: 'map', entries: new Map(), place };
}

/** Whether nothing was written: the bare `key:`. It stands for the default everywhere. */
export function isNull(node: Node): boolean {
  return node.kind === 'scalar' && node.value === null;
}

/** Whether the value asks for anything: neither empty, nor `false`, nor a collection of only such. */
export function isSet(node: Node): boolean {
  if (node.kind === 'list') return node.items.some(isSet);
  if (node.kind === 'map') return [...node.entries.values()].some((entry) => isSet(entry.value));
  return node.value !== null && node.value !== '' && node.value !== false;
}

/** The value at the path, or undefined. */
export function nodeAt(root: Node, path: Path): Node | undefined {
  let node: Node | undefined = root;
  for (const key of path) {
    if (node?.kind === 'map') node = node.entries.get(String(key))?.value;
    else if (node?.kind === 'list') node = node.items[Number(key)];
    else return undefined;
  }
  return node;
}

/**
 * Where to send somebody who looks for the path: its value; for a section or a bare key the key; for one that is
 * missing, the key of the nearest section that exists.
 */
export function placeOf(root: Node, path: Path): Place {
  let node = root;
  let place = root.place;
  for (const key of path) {
    let next: Node | undefined;
    if (node.kind === 'map') {
      const entry = node.entries.get(String(key));
      if (entry !== undefined) place = entry.keyPlace;
      next = entry?.value;
    } else if (node.kind === 'list') {
      next = node.items[Number(key)];
      if (next !== undefined) place = next.place;
    }
    if (next === undefined) return place;
    node = next;
  }
  return node.kind === 'map' || isNull(node) ? place : node.place;
}

/**
 * The tree as the schema reads it: plain objects and arrays, `null` for what is bare, and each other scalar as
 * its node, because only the schema knows whether its value or its text is wanted.
 */
export function schemaInput(node: Node): unknown {
  if (node.kind === 'list') return node.items.map(schemaInput);
  if (node.kind === 'scalar') return node.value === null ? null : node;
  // No prototype: a key called `__proto__` is a key like any other.
  const object = Object.create(null) as Record<string, unknown>;
  for (const [key, entry] of node.entries) object[key] = schemaInput(entry.value);
  return object;
}
