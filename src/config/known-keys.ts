/** The tree of all setting names, made from the schema and the table of what is not supported yet. */
import { fileSchema } from './schema.ts';
import { UNSUPPORTED, type Unsupported } from './unsupported.ts';

export type Known =
  /** A section with names of its own. */
  | { readonly kind: 'section'; readonly keys: Map<string, Known> }
  /** A section whose names are the operator's, such as `http.headers`. */
  | { readonly kind: 'map'; readonly value: Known }
  | { readonly kind: 'list'; readonly item: Known; readonly single: boolean }
  | { readonly kind: 'value' }
  /** Anything goes. */
  | { readonly kind: 'free' }
  | { readonly kind: 'unsupported'; readonly entry: Unsupported };

/** A section of known names. */
export type Section = Extract<Known, { kind: 'section' }>;

/** What can stand in the file. */
export const KNOWN: Section = knownKeys();

/** Sections that may be written as one word, as in `storage: inmemory`. */
export const SCALAR_FORMS: ReadonlySet<string> = new Set(['storage', 'auth']);

/** Dotted names of all settings, for suggestions. */
export function dottedNames(known: Known = KNOWN, prefix = ''): readonly string[] {
  if (known.kind !== 'section') return [];
  return [...known.keys].flatMap(([key, child]) => [
    `${prefix}${key}`,
    ...dottedNames(child, `${prefix}${key}.`),
  ]);
}

function knownKeys(): Section {
  const root = fromSchema(fileSchema);
  if (root.kind !== 'section') throw new TypeError('the schema of the file is no object');
  for (const [name, entry] of Object.entries(UNSUPPORTED)) {
    const path = name.split('.');
    let section = root;
    for (const key of path.slice(0, -1)) {
      const found = section.keys.get(key);
      const next: Section = found?.kind === 'section' ? found : { kind: 'section', keys: new Map() };
      section.keys.set(key, next);
      section = next;
    }
    section.keys.set(path.at(-1) ?? '', { kind: 'unsupported', entry });
  }
  return root;
}

/** Reads the shape off a valibot schema. Pipes show the kind of value in the last of their schemas. */
function fromSchema(schema: unknown): Known {
  if (typeof schema !== 'object' || schema === null) return { kind: 'value' };
  if ('wrapped' in schema) return fromSchema(schema.wrapped);
  if ('type' in schema && schema.type === 'any') return { kind: 'free' };
  if ('pipe' in schema && Array.isArray(schema.pipe)) {
    const last: unknown = schema.pipe.findLast((item: object) => 'kind' in item && item.kind === 'schema');
    const shape = fromSchema(last);
    return shape.kind === 'list' ? { ...shape, single: true } : { kind: 'value' };
  }
  if ('entries' in schema && typeof schema.entries === 'object' && schema.entries !== null) {
    const keys = Object.entries(schema.entries).map(([key, value]) => [key, fromSchema(value)] as const);
    return { kind: 'section', keys: new Map(keys) };
  }
  if ('item' in schema) return { kind: 'list', item: fromSchema(schema.item), single: false };
  if ('key' in schema && 'value' in schema) return { kind: 'map', value: fromSchema(schema.value) };
  return { kind: 'value' };
}
