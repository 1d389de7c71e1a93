import { type Alias, type Document, isAlias, isMap, isScalar, isSeq, type Scalar, type YAMLMap } from 'yaml';
import { type Findings, printable } from './findings.ts';
import { type Entry, emptyMap, isNull, type MapNode, type Node, type Place, ScalarNode } from './tree.ts';

/** Far above any configuration, far below what aliases of aliases can unfold to. */
const MAX_NODES = 100_000;
const MAX_DEPTH = 100;

/** Sections that `registry:2` keeps as maps, of which a second copy replaces the first as a whole. */
const REPLACED = new Set(['storage', 'auth']);

/** The document cannot become a tree; `offset` is where. */
export class Unreadable extends Error {
  override readonly name = 'Unreadable';
  readonly offset: number;
  constructor(offset: number, message: string) {
    super(message);
    this.offset = offset;
  }
}

/** Makes a tree with places out of a YAML document: aliases and merge keys resolved, duplicate keys told. */
export class TreeReader {
  readonly #document: Document.Parsed;
  readonly #places: (offset: number) => Place;
  readonly #findings: Findings;
  #nodes = 0;
  /** Whether a duplicate key replaces what was there, rather than being laid over it. */
  #replaces = false;

  constructor(document: Document.Parsed, places: (offset: number) => Place, findings: Findings) {
    this.#document = document;
    this.#places = places;
    this.#findings = findings;
  }

  /**
   * Reads a node of the document.
   * @param offset where to point when the node itself has no place
   * @throws Unreadable when it unfolds to something too large or too deep, or refers to what is not there
   */
  read(node: unknown, offset: number, depth: number): Node {
    const start = startOf(node) ?? offset;
    this.#nodes += 1;
    if (this.#nodes > MAX_NODES)
      throw new Unreadable(start, 'too many values; are aliases nested in aliases?');
    if (depth > MAX_DEPTH) throw new Unreadable(start, 'nested too deeply; does an alias contain itself?');
    const place = this.#places(start);
    if (isAlias(node)) return this.read(this.#target(node, start), start, depth + 1);
    if (isMap(node)) return this.#map(node, place, start, depth);
    if (isSeq(node)) {
      return { kind: 'list', items: node.items.map((item) => this.read(item, start, depth + 1)), place };
    }
    return isScalar(node) ? scalar(node, place) : nullScalar(place);
  }

  #target(alias: Alias, start: number): unknown {
    const target = alias.resolve(this.#document);
    if (target === undefined) throw new Unreadable(start, `unknown alias *${printable(alias.source)}`);
    return target;
  }

  #map(node: YAMLMap, place: Place, offset: number, depth: number): MapNode {
    const map: MapNode = { kind: 'map', entries: new Map(), place };
    const merged: MapNode[] = [];
    for (const pair of node.items) {
      const keyOffset = startOf(pair.key) ?? offset;
      const keyPlace = this.#places(keyOffset);
      if (depth === 0) this.#replaces = isScalar(pair.key) && REPLACED.has(String(pair.key.source));
      const value = this.read(pair.value, keyOffset, depth + 1);
      const key = isAlias(pair.key) ? this.#target(pair.key, keyOffset) : pair.key;
      if (isScalar(key) && typeof key.value === 'symbol') {
        merged.push(...this.#mergeSources(value, keyPlace));
      } else if (isScalar(key) || key === null) {
        const name = isScalar(key) ? (key.source ?? String(key.value)) : '';
        this.#put(map, name, { keyPlace, value });
      } else {
        this.#findings.problem(keyPlace, 'a key must be text');
      }
    }
    // YAML 1.1, merge keys: the map's own keys win, and of several merged maps the earlier.
    for (const source of merged) {
      for (const [name, entry] of source.entries) if (!map.entries.has(name)) map.entries.set(name, entry);
    }
    return map;
  }

  #mergeSources(value: Node, place: Place): MapNode[] {
    const sources = value.kind === 'list' ? value.items : [value];
    const maps = sources.filter((source) => source.kind === 'map');
    if (maps.length < sources.length) this.#findings.problem(place, '<< needs a map, or a list of maps');
    return maps;
  }

  #put(map: MapNode, name: string, entry: Entry): void {
    const earlier = map.entries.get(name);
    if (earlier !== undefined) {
      const first = 'line' in earlier.keyPlace ? ` (first on line ${earlier.keyPlace.line})` : '';
      this.#findings.warning(
        entry.keyPlace,
        `"${printable(name)}" is written twice${first}; what is written last counts`,
      );
    }
    map.entries.set(name, earlier === undefined || this.#replaces ? entry : overlaid(earlier, entry));
  }
}

/**
 * What a duplicate key means to yaml.v2, which fills one structure twice: a section keeps what only its first
 * copy says. Otherwise a second `http:` would quietly take away the first one's TLS.
 */
function overlaid(earlier: Entry, later: Entry): Entry {
  if (earlier.value.kind !== 'map') return later;
  if (isNull(later.value)) return earlier;
  if (later.value.kind !== 'map') return later;
  const both = emptyMap(later.value.place);
  for (const [name, entry] of earlier.value.entries) both.entries.set(name, entry);
  for (const [name, entry] of later.value.entries) {
    const first = both.entries.get(name);
    both.entries.set(name, first === undefined ? entry : overlaid(first, entry));
  }
  return { keyPlace: later.keyPlace, value: both };
}

function startOf(node: unknown): number | undefined {
  if (typeof node !== 'object' || node === null || !('range' in node)) return undefined;
  const range = node.range as readonly number[] | null | undefined;
  return range?.[0];
}

function scalar(node: Scalar, place: Place): ScalarNode {
  const { value, source } = node;
  const quoted = node.type !== undefined && node.type !== 'PLAIN';
  if (value === null) return new ScalarNode(null, source ?? '', quoted, place);
  if (value instanceof Uint8Array) {
    const text = new TextDecoder().decode(value);
    return new ScalarNode(text, text, true, place);
  }
  const text = source ?? (typeof value === 'string' ? value : '');
  const isNumber = typeof value === 'number' && Number.isFinite(value);
  const isJson = typeof value === 'string' || typeof value === 'boolean' || isNumber;
  return new ScalarNode(isJson ? value : text, text, quoted, place);
}

function nullScalar(place: Place): ScalarNode {
  return new ScalarNode(null, '', false, place);
}
