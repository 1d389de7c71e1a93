/** What keeps somebody out is known by its name and its shape where nothing of ours belongs. */
import { formatPath } from './findings.ts';
import { ownWord } from './guards-joined.ts';
import { nearest } from './suggestions.ts';
import { isSet, type MapNode, type Node, type Path } from './tree.ts';

/** Whether a value is what stands below a guard's name. */
type Shape = (value: Node) => boolean;

function isMap(node: Node): node is MapNode {
  return node.kind === 'map';
}

/** Whether a section has one of the settings, also misspelt. */
const withAny =
  (...names: readonly string[]): Shape =>
  (value) =>
    isMap(value) &&
    [...value.entries].some(([key, entry]) => nearest(key, names) !== undefined && isSet(entry.value));

const withAll =
  (...names: readonly string[]): Shape =>
  (value) =>
    names.every((name) => withAny(name)(value));

const listOf =
  (item: Shape): Shape =>
  (value) =>
    value.kind === 'list' && value.items.some(item);

const matching =
  (pattern: RegExp): Shape =>
  (value) =>
    value.kind === 'scalar' && pattern.test(value.text);

const anyOf =
  (...shapes: readonly Shape[]): Shape =>
  (value) =>
    shapes.some((shape) => shape(value));

const isText: Shape = (value) => value.kind === 'scalar' && isSet(value);

const isAccount = anyOf(matching(/^\$2[aby]\$/), withAny('password'));

/** Not misspelt: `auth` is as near. */
const isAutomatic: Shape = (value) =>
  isMap(value) &&
  [...value.entries].some(([key, entry]) => key.toLowerCase() === 'auto' && isSet(entry.value));

/** By name; where each belongs is in check-keys.ts. */
const SECTIONS: Readonly<Record<string, Shape>> = {
  auth: withAny(
    'htpasswd',
    'token',
    'silly',
    'ldap',
    'oidc',
    'certificates',
    'private_key',
    'public_key',
    'hmac_secret',
  ),
  htpasswd: withAny('path'),
  token: anyOf(withAny('rootcertbundle', 'jwks'), withAll('realm', 'service')),
  ldap: withAll('url', 'basedn'),
  users: (value) => isMap(value) && [...value.entries.values()].some((entry) => isAccount(entry.value)),
  acl: listOf(withAny('actions', 'account', 'anonymous')),
  access: withAny('pull', 'push'),
  tags: withAny('immutable', 'protected'),
  immutable: listOf(withAny('tags', 'repositories')),
  protected: listOf(withAny('tags', 'repositories')),
  tls: anyOf(
    isAutomatic,
    withAny(
      'certificate',
      'certificates',
      'letsencrypt',
      'clientcas',
      'clientauth',
      'minimumtls',
      'ciphersuites',
    ),
  ),
  letsencrypt: withAny('email', 'hosts'),
  certificates: listOf(anyOf(withAll('certificate', 'key'), withAny('subject', 'san', 'fingerprint'))),
  readonly: withAny('enabled', 'mode'),
};

/** Of a section that is a guard itself, by its name and shape. */
const withGuards =
  (...names: readonly string[]): Shape =>
  (value) =>
    isMap(value) &&
    [...value.entries].some(([key, entry]) => {
      const name = nearest(key, names);
      return name !== undefined && SECTIONS[name]?.(entry.value) === true;
    });

/**
 * Instead of those, where any name may have a text: a field `auth` with `token`, `realm` and `service`, all of them texts,
 * is the operator's; one with a whole `token` or `htpasswd` in it went astray.
 */
const AMONG_TEXTS: Readonly<Record<string, Shape>> = {
  ...SECTIONS,
  auth: anyOf(
    withGuards('htpasswd', 'token', 'ldap', 'certificates'),
    (value) => isMap(value) && listOf(withAny('issuer'))(value.entries.get('oidc')?.value ?? value),
  ),
};

/** Of single values and lists of such: not told from the operator's own where any name may have a text. */
const VALUES: Readonly<Record<string, Shape>> = {
  clientcas: listOf(isText),
  clientauth: matching(/-client-cert\b/i),
  minimumtls: matching(/^tls1\.\d$/i),
  ciphersuites: listOf(matching(/^TLS_/i)),
  immutable: listOf(isText),
  protected: listOf(isText),
};

/** Single values that say by their exact name what they are. */
const EXACT: Readonly<Record<string, Shape>> = {
  clientcas: isText,
  readonly: (value) => value.kind === 'scalar' && value.value === true,
};

/**
 * Which guard a setting is that stands where none belongs: by its name, also misspelt, and the shape of its value.
 * @param textsAreFree where any name may have a text or a list of such, as in `log.fields`
 * @returns the guard's own name; undefined for what is no guard
 */
export function guardMeant(key: string, value: Node, textsAreFree = false): string | undefined {
  const typed = ownWord(key);
  const found = (shapes: Readonly<Record<string, Shape>>): string | undefined => {
    const fitting = Object.keys(shapes).filter((name) => shapes[name]?.(value));
    return fitting.includes(typed) ? typed : nearest(typed, fitting);
  };
  const section = found(textsAreFree ? AMONG_TEXTS : SECTIONS);
  if (section !== undefined || textsAreFree) return section;
  return Object.hasOwn(EXACT, typed) && EXACT[typed]?.(value) === true ? typed : found(VALUES);
}

/** What `registry:2` (version 3) has itself, with the names of guards. */
const RIGHTFUL: ReadonlySet<string> = new Set(['redis.tls', 'redis.tls.clientcas', 'redis.readonly']);

/** Sections of an operator's own names, with texts. */
const FREE: ReadonlySet<string> = new Set(['fields', 'headers']);

/** A guard that was found where it has no effect. */
export interface MisplacedGuard {
  readonly path: Path;
  /** Its own name, however it was typed. */
  readonly name: string;
}

/**
 * The guards in a part of the file that is not looked at otherwise. What a middleware or a hook of the log has in its
 * `options` is its own.
 * @param path where `node` stands
 */
export function guardsWithin(
  node: Node,
  path: Path,
  textsAreFree = FREE.has(String(path.at(-1))),
): readonly MisplacedGuard[] {
  if (node.kind === 'list')
    return node.items.flatMap((item, index) => guardsWithin(item, [...path, index], textsAreFree));
  if (node.kind !== 'map') return [];
  return [...node.entries].flatMap(([key, { value }]) => {
    const here = [...path, key];
    const typed = key.toLowerCase();
    if (typed === 'options' && (path[0] === 'middleware' || path[1] === 'hooks')) return [];
    const name = RIGHTFUL.has(formatPath(here).toLowerCase())
      ? undefined
      : guardMeant(key, value, textsAreFree);
    if (name !== undefined) return [{ path: here, name }];
    return guardsWithin(value, here, textsAreFree || FREE.has(typed));
  });
}
