import { firstAfter, StorageFailure } from '../drivers/driver.ts';
import { isRepositoryName, type RepositoryName } from '../oci/name.ts';
import type { Page, PageRequest } from '../oci/registry.ts';
import { REPOSITORIES, repositoryPrefix } from './layout.ts';
import type { Objects } from './objects.ts';
import { leftOut, type LeftOut } from './repository-alias.ts';

/** What a repository's folder holds when there is content in it; an upload alone does not make a repository. */
const CONTENT: ReadonlySet<string> = new Set(['_layers', '_manifests']);
/** With what is on its way out and may come back (links.ts). */
const CONTENT_AND_TRASH: ReadonlySet<string> = new Set([...CONTENT, '_trash']);
/** With what is none and may be left of one. */
const ANYTHING: ReadonlySet<string> = new Set([...CONTENT_AND_TRASH, '_locks', '_referrers', '_uploads']);

/**
 * A page of the names of repositories, found by an ordered walk that begins at `last`. It costs one look at each
 * folder that the page passes, and reads those that have changed since they were last read.
 */
export async function listRepositories(
  objects: Objects,
  { last, limit, signal }: PageRequest,
  options: WalkOptions = {},
): Promise<Page<RepositoryName>> {
  const walk = new Walk(objects, limit, signal, options);
  const names = await walk.namesOfAll();
  const more = await walk.below('', names ?? [], last === undefined ? [] : last.split('/'));
  return { items: walk.found, more };
}

/** How a walk over the repositories goes. */
export interface WalkOptions {
  /** Whether repositories count of which everything lies in the trash, or that have nothing but what may be left of one. */
  readonly with?: 'trash' | 'remains' | undefined;
  /**
   * Told of a folder that cannot be read, which is then passed over; without it that ends the walk. Without a name it is the
   * folder of all repositories.
   */
  readonly onUnreadable?: ((name: RepositoryName | undefined, error: StorageFailure) => void) | undefined;
  /** Told of a folder that is passed over because of where a symbolic link leads. */
  readonly onLeftOut?: ((name: RepositoryName, leftOut: LeftOut) => void) | undefined;
}

/** Repositories on a page of the walk. */
const PAGE = 100;

/**
 * All repositories after `last` (a name, or whatever stands between names), those too of which everything lies in the
 * trash. A repository that comes while they are listed may be missing. Of each folder that is passed over it is told once;
 * a symbolic link to what is not there is one that cannot be read.
 */
export async function* allRepositories(
  objects: Objects,
  {
    last,
    signal,
    onUnreadable,
    onLeftOut,
    with: others = 'trash',
  }: WalkOptions & { readonly last?: string | undefined; readonly signal?: AbortSignal } = {},
): AsyncGenerator<RepositoryName, undefined> {
  // Folders between two pages are passed twice.
  let toldBefore = new Set<string>();
  let told = new Set<string>();
  const once = <N extends RepositoryName | undefined, T>(
    kind: string,
    tell: ((name: N, what: T) => void) | undefined,
  ) =>
    tell &&
    ((name: N, what: T): void => {
      const key = `${kind} ${name ?? ''}`;
      const isKnown = toldBefore.has(key) || told.has(key);
      told.add(key);
      if (!isKnown) tell(name, what);
    });
  const options = {
    with: others,
    onUnreadable: once('unreadable', onUnreadable),
    onLeftOut: once('left out', onLeftOut),
  };
  const strict = objects.strict();
  for (let after: string | undefined = last; ;) {
    const request = {
      limit: PAGE,
      ...(after === undefined ? {} : { last: after }),
      ...(signal && { signal }),
    };
    const page = await listRepositories(strict, request, options);
    yield* page.items;
    toldBefore = told;
    told = new Set();
    after = page.items.at(-1);
    if (!page.more || after === undefined) return undefined;
  }
}

class Walk {
  readonly found: RepositoryName[] = [];
  readonly #objects: Objects;
  readonly #limit: number;
  readonly #content: ReadonlySet<string>;
  readonly #options: WalkOptions;
  readonly #signal: AbortSignal | undefined;

  constructor(objects: Objects, limit: number, signal: AbortSignal | undefined, options: WalkOptions) {
    this.#options = options;
    const { with: others } = options;
    this.#content = others === undefined ? CONTENT : others === 'trash' ? CONTENT_AND_TRASH : ANYTHING;
    this.#objects = objects;
    this.#limit = limit;
    this.#signal = signal;
  }

  /**
   * Takes the repositories below `parent` (`''` or ending with `/`), whose folder has `names`, that come after
   * `last`: its components below `parent`, none for all. A repository comes before those below it.
   * @returns whether there are more than the page holds
   */
  async below(parent: string, names: readonly string[], last: readonly string[]): Promise<boolean> {
    const [component, ...deeper] = last;
    if (component !== undefined && isRepositoryName(component)) {
      const inside = `${parent}${component}/`;
      const entries = await this.#namesIn(`${parent}${component}` as RepositoryName);
      if (entries !== undefined && (await this.below(inside, entries, deeper))) return true;
    }
    const start = component === undefined ? 0 : firstAfter(names, component);
    for (let index = start; index < names.length; index += 1) {
      const name = parent + (names[index] ?? '');
      if (!isRepositoryName(name)) continue;
      this.#signal?.throwIfAborted();
      const read = this.#namesIn(name);
      const entries = read instanceof Promise ? await read : read;
      if (entries === undefined) continue;
      if (entries.some((entry) => this.#content.has(entry))) {
        if (this.found.length === this.#limit) return true;
        this.found.push(name);
      }
      if (entries.some((entry) => !entry.startsWith('_')) && (await this.below(`${name}/`, entries, [])))
        return true;
    }
    return false;
  }

  /** What is in the folder of all repositories; undefined where it cannot be read. */
  async namesOfAll(): Promise<readonly string[] | undefined> {
    try {
      return await this.#objects.names(REPOSITORIES);
    } catch (error) {
      return this.#passOver(undefined, error);
    }
  }

  /** What is in a folder; undefined where it is to be passed over. */
  #namesIn(name: RepositoryName): readonly string[] | undefined | Promise<readonly string[] | undefined> {
    const other = leftOut(this.#objects, name);
    if (other !== undefined) {
      this.#options.onLeftOut?.(name, other);
      return undefined;
    }
    try {
      const names = this.#objects.names(`${REPOSITORIES}${name}/`);
      return names instanceof Promise ? names.catch((error: unknown) => this.#passOver(name, error)) : names;
    } catch (error) {
      return this.#passOver(name, error);
    }
  }

  /** @throws what is no failure of the storage, or nobody wants to be told of */
  #passOver(name: RepositoryName | undefined, error: unknown): undefined {
    const { onUnreadable } = this.#options;
    if (onUnreadable === undefined || !(error instanceof StorageFailure)) throw error;
    onUnreadable(name, error);
    return undefined;
  }
}

/** Whether there is content in the repository itself (not merely in those below it, nor an upload). */
export async function holdsAnything(
  objects: Objects,
  name: RepositoryName,
  { orTrash = false }: { readonly orTrash?: boolean } = {},
): Promise<boolean> {
  const entries = await objects.names(repositoryPrefix(name));
  return entries.some((entry) => (orTrash ? CONTENT_AND_TRASH : CONTENT).has(entry));
}
