/** The rooms of the house and who may know whom. A rule that hurts is changed here and in a decision, never bypassed. */
import { describe, expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const SOURCE = join(import.meta.dirname, '..', 'src');

const MAX_LINES = 400;

/** Modules of ours that hold contracts: types, and functions without I/O. */
const DRIVER = 'drivers/driver.ts';
const ACCESS = 'auth/access.ts';

/**
 * What a room may import beside itself: a room (`oci`), or one file of one. The most specific entry counts.
 * What is in `EVERYWHERE` is allowed everywhere.
 */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  oci: [],
  [DRIVER]: [],
  mdns: [],
  web: [],
  'log.ts': [],
  'process-identity.ts': [],
  'recent.ts': [],
  'silence.ts': [],
  'file-lock.ts': [],
  drivers: [DRIVER],
  store: ['oci', DRIVER],
  auth: ['oci'],
  proxy: ['oci', DRIVER],
  policy: ['oci', DRIVER],
  notifications: ['oci'],
  protocol: ['oci', ACCESS],
  upkeep: ['oci', 'store', DRIVER],
  admin: [],
  observe: [DRIVER, 'oci'],
  tls: [DRIVER, 'oci'],
  config: [],
  server: [],
};

/** Rooms whose types, though not their code, may be imported by the room. */
const MAY_IMPORT_TYPES: Readonly<Record<string, readonly string[]>> = {
  config: ['*'],
  server: ['*'],
  admin: ['*'],
};

/** What any room may use: it knows nothing of ours. */
const EVERYWHERE = ['log.ts', 'process-identity.ts', 'recent.ts', 'silence.ts', 'file-lock.ts'];

/** The composition: these may import everything, and only these may import `app.ts`. */
const COMPOSITION = [
  'main.ts',
  'app.ts',
  'app-access.ts',
  'app-certificates.ts',
  'app-proxy.ts',
  'app-upkeep.ts',
  'app-admin.ts',
  'app-debug.ts',
  'app-last-runs.ts',
  'app-quota.ts',
  'app-acme.ts',
  'app-retention.ts',
  'app-rules.ts',
  'app-in-force.ts',
  'app-scrub.ts',
  'app-settings.ts',
  'app-tls.ts',
  'app-mdns.ts',
  'start-failure.ts',
  'cli',
];

/** The files that may speak of `Bun` as a value: the server, and what it asks of the kernel. */
const BUN_ROOM = ['server/bun.ts', 'server/bun-listening-sockets.ts'];

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

/** A module's text without comments and without the contents of strings other than those of imports. */
function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\/|(?<=^|[\s;{}(),])\/\/.*$/gm, '');
}

const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts'))
  .sort();
const texts = new Map(files.map((path) => [path, readFileSync(join(SOURCE, path), 'utf8')]));

const IMPORT =
  /(?:^|[;\n])\s*(?:import|export)\s+(type\s)?((?:[\w*$\s{},]|\btype\b)*?)\s*from\s*['"]([^'"]+)['"]|(?:^|[;\n])\s*import\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)|new URL\(\s*['"](\.[^'"]+\.ts)['"]/g;

function importsOf(path: string, text: string): Import[] {
  const found: Import[] = [];
  for (const match of withoutComments(text).matchAll(IMPORT)) {
    const [, typeKeyword, names, from, sideEffect, dynamic, worker] = match;
    const specifier = from ?? sideEffect ?? dynamic ?? worker ?? '';
    if (!specifier.startsWith('.')) continue;
    const listed = /^\{(.*)\}$/s.exec(names?.trim() ?? '')?.[1]?.split(',') ?? [];
    const named = listed.map((name) => name.trim()).filter(Boolean);
    const typeOnly =
      typeKeyword !== undefined || (named.length > 0 && named.every((name) => name.startsWith('type ')));
    found.push({ from: path, to: relative(SOURCE, join(SOURCE, dirname(path), specifier)), typeOnly });
  }
  return found;
}

const imports = files.flatMap((path) => importsOf(path, texts.get(path) ?? ''));

function isWithin(path: string, place: string): boolean {
  return place === '*' || path === place || path.startsWith(`${place}/`);
}

/** The file's own entry, else its room's. */
function ruleFor(
  table: Readonly<Record<string, readonly string[]>>,
  path: string,
): readonly string[] | undefined {
  return table[path] ?? table[path.split('/')[0] ?? ''];
}

/** Why the import breaks the rules; undefined when it does not. */
function objection({ from, to, typeOnly }: Import): string | undefined {
  if (COMPOSITION.some((place) => isWithin(from, place))) return undefined;
  const line = `${from} imports ${to}`;
  if (to === 'app.ts') return `${line}: only main.ts and cli may`;
  if (EVERYWHERE.includes(to)) return undefined;
  if (to.startsWith('..')) return `${line}: outside of src`;
  const allowed = ruleFor(MAY_IMPORT, from);
  if (allowed === undefined) return `${from} is in no known room: add the room and its rule here`;
  const room = from.split('/')[0] ?? '';
  const own = from !== DRIVER && isWithin(to, room) && from.includes('/');
  if (own || allowed.some((place) => isWithin(to, place))) return undefined;
  if (typeOnly && (ruleFor(MAY_IMPORT_TYPES, from) ?? []).some((place) => isWithin(to, place)))
    return undefined;
  return `${line}: ${room} may import ${allowed.join(', ') || 'nothing of ours'}`;
}

/** The first cycle found from each module, as a readable chain. */
function cycles(): string[] {
  const edges = new Map<string, string[]>();
  for (const { from, to } of imports) edges.set(from, [...(edges.get(from) ?? []), to]);
  const done = new Set<string>();
  const found: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    const at = trail.indexOf(path);
    if (at !== -1) {
      found.push([...trail.slice(at), path].join(' -> '));
      return;
    }
    if (done.has(path)) return;
    for (const next of edges.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of edges.keys()) visit(path, []);
  return found;
}

describe('the parser of this test', () => {
  const sample = [
    "import a from './a.ts';",
    "import { b, type C } from '../oci/b.ts'; import './side.ts';",
    "import type { D } from './d.ts';",
    "import {\n  type E,\n  type F,\n} from './e.ts';",
    "export { g } from './g.ts';",
    "// import h from './h.ts';",
    "/* import i from './i.ts'; */",
    "import j from 'node:fs';",
    "const k = await import('./k.ts');",
    "new Worker(new URL('./l.ts', import.meta.url));",
    "import * as m from './m.ts';",
    "const url = 'http://x'; // import n from './n.ts'",
  ].join('\n');

  test('sees every form of import and no comment', () => {
    const seen = importsOf('store/x.ts', sample).map(
      ({ to, typeOnly }) => `${to}${typeOnly ? ' (type)' : ''}`,
    );
    expect(seen).toEqual([
      'store/a.ts',
      'oci/b.ts',
      'store/side.ts',
      'store/d.ts (type)',
      'store/e.ts (type)',
      'store/g.ts',
      'store/k.ts',
      'store/l.ts',
      'store/m.ts',
    ]);
  });

  test('objects to what is forbidden', () => {
    const forbidden: Import[] = [
      { from: 'store/a.ts', to: 'protocol/b.ts', typeOnly: false },
      { from: 'protocol/a.ts', to: 'auth/users.ts', typeOnly: true },
      { from: 'oci/a.ts', to: 'drivers/driver.ts', typeOnly: true },
      { from: 'drivers/driver.ts', to: 'drivers/memory.ts', typeOnly: false },
      { from: 'server/a.ts', to: 'oci/b.ts', typeOnly: false },
      { from: 'store/a.ts', to: 'app.ts', typeOnly: true },
      { from: 'attic/a.ts', to: 'oci/b.ts', typeOnly: false },
    ];
    expect(forbidden.filter((each) => objection(each) === undefined)).toEqual([]);
  });
});

test('src has modules and imports to look at', () => {
  expect(files.length).toBeGreaterThan(20);
  expect(imports.length).toBeGreaterThan(files.length);
});

test('every import of ours leads to a file', () => {
  const known = new Set([...files, '../package.json']);
  expect(imports.filter(({ to }) => !known.has(to))).toEqual([]);
});

test('no room imports what it must not know', () => {
  expect(imports.map(objection).filter(Boolean)).toEqual([]);
});

test('no import cycles, not even of types', () => {
  expect(cycles()).toEqual([]);
});

test(`no file has more than ${MAX_LINES} lines`, () => {
  const long = [...texts].filter(([, text]) => text.split('\n').length - 1 > MAX_LINES);
  expect(long.map(([path]) => path)).toEqual([]);
});

test('Bun is spoken to in its own files only', () => {
  // `typeof Bun` asks which runtime it is, and works on both.
  const speaks = /(?<![\w$.'"`/])Bun\s*[.[(]|['"]bun(?::[\w-]+)?['"]/;
  const elsewhere = [...texts].filter(
    ([path, text]) => !BUN_ROOM.includes(path) && speaks.test(withoutComments(text)),
  );
  expect(elsewhere.map(([path]) => path)).toEqual([]);
});
