/**
 * Settings by environment variables, as `registry:2` reads them (its configuration/parser.go): `REGISTRY_HTTP_ADDR`
 * sets `http.addr`. Variables are applied in the order of their names, so that `REGISTRY_STORAGE`, which replaces
 * the section, comes before `REGISTRY_STORAGE_DELETE_ENABLED`. Values are YAML.
 */
import { Findings, formatPath } from './findings.ts';
import { guardsMeant } from './guards.ts';
import { KNOWN, type Known, SCALAR_FORMS } from './known-keys.ts';
import { parseYaml } from './parse-yaml.ts';
import { nearest } from './suggestions.ts';
import { emptyMap, isNull, type ListNode, type MapNode, type Node, type Path, ScalarNode } from './tree.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

const PREFIX = 'REGISTRY_';

/** Names the file; it is no setting. */
export const PATH_VARIABLE = 'REGISTRY_CONFIGURATION_PATH';

/** Where podman, skopeo and buildah have the logins of this user (containers-auth.json(5)): no setting of a server. */
const LOGINS_VARIABLE = 'REGISTRY_AUTH_FILE';

const SERVICE_VARIABLE =
  /^REGISTRY(?:_\w+)?_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)$/;

/** Lays the variables over what the file says, changing `root`. */
export function applyEnvironment(root: MapNode, env: Environment, findings: Findings): void {
  for (const name of Object.keys(env).sort()) {
    const value = env[name];
    if (value === undefined || !name.startsWith(PREFIX) || isForeign(name, value)) continue;
    if (name === 'REGISTRY_VERSION') {
      findings.warning({ variable: name }, 'the version of the file cannot be set by a variable');
      continue;
    }
    new Assignment(name, value, findings).assign(root, KNOWN, name.slice(PREFIX.length).split('_'), []);
  }
}

/**
 * Whether Kubernetes or Docker links set it for a service that is called `registry` or `registry-…`: such names
 * appear in every pod and say nothing to us. Nor do those that are for other programs.
 */
function isForeign(name: string, value: string): boolean {
  return (
    name === PATH_VARIABLE ||
    name === LOGINS_VARIABLE ||
    name.startsWith('REGISTRY_ENV_') ||
    SERVICE_VARIABLE.test(name) ||
    (/^REGISTRY(?:_\w+)?_PORT$/.test(name) && /^(?:tcp|udp|sctp):\/\//.test(value))
  );
}

/** One variable on its way down the tree. */
class Assignment {
  readonly #variable: string;
  readonly #value: string;
  readonly #findings: Findings;

  constructor(variable: string, value: string, findings: Findings) {
    this.#variable = variable;
    this.#value = value;
    this.#findings = findings;
  }

  get #place() {
    return { variable: this.#variable };
  }

  /**
   * @param rest what of the variable's name is still to be matched
   * @returns what takes the place of `current`; undefined to leave everything as it is
   */
  assign(current: Node | undefined, known: Known, rest: readonly string[], path: Path): Node | undefined {
    const [head, ...tail] = rest;
    if (head === undefined) return this.#parse(known);
    // One word too many: what the name says before it is a setting.
    if (known.kind === 'value')
      return this.#unknown(path.slice(0, -1), [String(path.at(-1))], String(path.at(-1)), []);
    if (known.kind === 'list' || (known.kind !== 'section' && current?.kind === 'list')) {
      return this.#assignItem(
        current,
        known.kind === 'list' ? known.item : { kind: 'free' },
        head,
        tail,
        path,
      );
    }
    const map = this.#asMap(current, path);
    // The file has something else where a section belongs, which is told when the file is checked.
    if (map === undefined) return undefined;
    const keys = known.kind === 'section' ? known.keys : map.entries;
    const key = matchingKey(head, keys);
    const [next, ...beyond] = tail;
    // A few names have a `_` themselves (`auth.hmac_secret`).
    if (key === undefined && next !== undefined && matchingKey(`${head}_${next}`, keys) !== undefined) {
      return this.assign(map, known, [`${head}_${next}`, ...beyond], path);
    }
    if (key === undefined && known.kind === 'section')
      return this.#unknown(path, known.keys.keys(), head, tail);
    const name = key ?? head.toLowerCase();
    const existing = map.entries.get(name);
    const child = this.assign(existing?.value, childOf(known, name), tail, [...path, name]);
    if (child === undefined) return undefined;
    const keyPlace = tail.length === 0 || existing === undefined ? this.#place : existing.keyPlace;
    map.entries.set(name, { keyPlace, value: child });
    return map;
  }

  #assignItem(
    current: Node | undefined,
    item: Known,
    head: string,
    tail: readonly string[],
    path: Path,
  ): Node | undefined {
    const list: ListNode | undefined =
      current === undefined || isNull(current)
        ? { kind: 'list', items: [], place: this.#place }
        : current.kind === 'list'
          ? current
          : undefined;
    if (list === undefined) return undefined;
    const index = /^\d{1,6}$/.test(head) ? Number(head) : Number.NaN;
    if (!(index <= list.items.length)) {
      const text = `${formatPath(path)}: expected the number of a list item from 0 to ${list.items.length}, found ${head}`;
      this.#findings.problem(this.#place, text);
      return undefined;
    }
    const child = this.assign(list.items[index], item, tail, [...path, index]);
    if (child === undefined) return undefined;
    list.items[index] = child;
    return list;
  }

  #asMap(current: Node | undefined, path: Path): MapNode | undefined {
    if (current === undefined || isNull(current)) return emptyMap(this.#place);
    return sectionOf(current, path);
  }

  #parse(known: Known): Node | undefined {
    if (known.kind !== 'value' && known.kind !== 'free') {
      return parseYaml(this.#value, this.#findings, this.#variable);
    }
    // A text such as `[::1]:5000` or `@secret` is no YAML scalar, but there is no doubt what is meant.
    const node = parseYaml(this.#value, new Findings(undefined), this.#variable);
    if (node?.kind === 'scalar' || (node !== undefined && known.kind === 'free')) return node;
    return new ScalarNode(this.#value, this.#value, true, this.#place);
  }

  #unknown(path: Path, candidates: Iterable<string>, head: string, tail: readonly string[]): undefined {
    const names = [...candidates];
    const near = nearest(head, names);
    const nothing = new ScalarNode(null, '', false, this.#place);
    const value = parseYaml(this.#value, new Findings(undefined), this.#variable) ?? nothing;
    const guards = guardsMeant({ section: path, candidates: names, words: [head, ...tail], value });
    const meant = guards ?? (near === undefined ? [] : [[...path, near, ...tail].join('_')]);
    const variables = meant.map((name) => `${PREFIX}${name.replaceAll('.', '_').toUpperCase()}`);
    const hint = variables.length === 0 ? '' : `; did you mean ${variables.join(' or ')}?`;
    if (guards === undefined)
      this.#findings.warning(this.#place, `no setting has this name, it has no effect${hint}`);
    else this.#findings.problem(this.#place, `no setting has this name${hint}`);
    return undefined;
  }
}

/**
 * The section at the path, also where it is written as one word (`storage: inmemory`); undefined when there is
 * something else.
 */
export function sectionOf(node: Node, path: Path): MapNode | undefined {
  if (node.kind === 'map') return node;
  if (node.kind !== 'scalar' || !SCALAR_FORMS.has(formatPath(path)) || node.text === '') return undefined;
  const map = emptyMap(node.place);
  map.entries.set(node.text, { keyPlace: node.place, value: new ScalarNode(null, '', false, node.place) });
  return map;
}

function childOf(known: Known, key: string): Known {
  if (known.kind === 'section') return known.keys.get(key) ?? { kind: 'free' };
  return known.kind === 'map' ? known.value : { kind: 'free' };
}

function matchingKey(typed: string, keys: ReadonlyMap<string, unknown>): string | undefined {
  const lower = typed.toLowerCase();
  return keys.has(lower) ? lower : [...keys.keys()].find((key) => key.toLowerCase() === lower);
}
