import type { RepositoryName } from '../oci/name.ts';
import { isRepositoryName } from '../oci/name.ts';
import type { Page, PageRequest } from '../oci/registry.ts';
import { REPOSITORIES, repositoryPrefix } from './layout.ts';
import type { Objects } from './objects.ts';

/** What a repository's folder holds when there is content in it; an upload alone does not make a repository. */
const CONTENT = new Set(['_layers/', '_manifests/']);

/** A page of the names of repositories, found by an ordered walk that begins at `last`. */
export async function listRepositories(
  objects: Objects,
  { last, limit, signal }: PageRequest,
): Promise<Page<RepositoryName>> {
  const items: RepositoryName[] = [];
  for await (const name of walk(objects, '', last === undefined ? [] : last.split('/'), signal)) {
    if (items.length === limit) return { items, more: true };
    items.push(name);
  }
  return { items, more: false };
}

/**
 * Repositories below `parent` (`''` or ending with `/`) that come after `last`, given as its components below
 * `parent`; none for all of them. A repository comes before those that its name is a prefix of.
 */
async function* walk(
  objects: Objects,
  parent: string,
  last: readonly string[],
  signal: AbortSignal | undefined,
): AsyncIterable<RepositoryName> {
  const [component, ...deeper] = last;
  if (component !== undefined && isRepositoryName(component)) {
    yield* walk(objects, `${parent}${component}/`, deeper, signal);
  }
  const prefix = REPOSITORIES + parent;
  const options = {
    after: component === undefined ? '' : prefix + component,
    ...(signal === undefined ? {} : { signal }),
  };
  for await (const { key } of objects.level(prefix, options)) {
    if (!key.endsWith('/')) continue;
    const name = key.slice(REPOSITORIES.length, -1);
    if (!isRepositoryName(name)) continue;
    if (await holdsAnything(objects, name)) yield name;
    yield* walk(objects, `${name}/`, [], signal);
  }
}

/** Whether there is content in the repository itself (not merely in those below it, nor an upload). */
export async function holdsAnything(objects: Objects, name: RepositoryName): Promise<boolean> {
  const prefix = repositoryPrefix(name);
  for await (const { key } of objects.level(prefix, { after: `${prefix}_` })) {
    const entry = key.slice(prefix.length);
    if (CONTENT.has(entry)) return true;
    if (!entry.startsWith('_')) return false;
  }
  return false;
}
