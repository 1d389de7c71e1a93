import { firstAfter, StorageFailure } from '../drivers/driver.ts';
import { isRepositoryName, type RepositoryName } from '../oci/name.ts';
import type { Page, PageRequest } from '../oci/registry.ts';
import { REPOSITORIES, repositoryPrefix } from './layout.ts';
import type { Objects } from './objects.ts';

/** What a repository's folder holds when there is content in it; an upload alone does not make a repository. */
const CONTENT: ReadonlySet<string> = new Set(['_layers', '_manifests']);
/** With what is on its way out and may come back (links.ts). */
const CONTENT_AND_TRASH: ReadonlySet<string> = new Set([...CONTENT, '_trash']);

/**
 * A page of the names of repositories, found by an ordered walk that begins at `last`. It costs one look at each
 * folder that the page passes, and reads those that have changed since they were last read.
 */
export async function listRepositories(
  objects: Objects,
  { last, limit, signal }: PageRequest,
  { withTrash = false, onUnreadable }: WalkOptions = {},
): Promise<Page<RepositoryName>> {
  const walk = new Walk(objects, limit, withTrash ? CONTENT_AND_TRASH : CONTENT, signal, onUnreadable);
  const more = await walk.below(
    '',
    await objects.names(REPOSITORIES),
    last === undefined ? [] : last.split('/'),
  );
  return { items: walk.found, more };
}

/** How a walk over the repositories goes. */
export interface WalkOptions {
  /** Whether repositories count of which everything lies in the trash. */
  readonly withTrash?: boolean;
  /** Told of a folder that cannot be read, which is then passed over; without it that ends the walk. */
  readonly onUnreadable?: ((name: RepositoryName, error: StorageFailure) => void) | undefined;
}

/** Repositories on a page of the walk. */
const PAGE = 100;

/**
 * All repositories after `last`, those too of which everything lies in the trash. A repository that comes while they are
 * listed may be missing.
 */
export async function* allRepositories(
  objects: Objects,
  {
    last,
    signal,
    onUnreadable,
  }: {
    readonly last?: RepositoryName | undefined;
    readonly signal?: AbortSignal;
    readonly onUnreadable?: WalkOptions['onUnreadable'];
  } = {},
): AsyncGenerator<RepositoryName, undefined> {
  for (let after = last; ;) {
    const request = {
      limit: PAGE,
      ...(after === undefined ? {} : { last: after }),
      ...(signal && { signal }),
    };
    const page = await listRepositories(objects, request, { withTrash: true, onUnreadable });
    yield* page.items;
    after = page.items.at(-1);
    if (!page.more || after === undefined) return undefined;
  }
}

class Walk {
  readonly found: RepositoryName[] = [];
  readonly #objects: Objects;
  readonly #limit: number;
  readonly #content: ReadonlySet<string>;
  readonly #onUnreadable: WalkOptions['onUnreadable'];
  readonly #signal: AbortSignal | undefined;

  constructor(
    objects: Objects,
    limit: number,
    content: ReadonlySet<string>,
    signal: AbortSignal | undefined,
    onUnreadable: WalkOptions['onUnreadable'],
  ) {
    this.#onUnreadable = onUnreadable;
    this.#content = content;
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
      if (await this.below(inside, await this.#objects.names(REPOSITORIES + inside), deeper)) return true;
    }
    const start = component === undefined ? 0 : firstAfter(names, component);
    for (let index = start; index < names.length; index += 1) {
      const name = parent + (names[index] ?? '');
      if (!isRepositoryName(name)) continue;
      this.#signal?.throwIfAborted();
      let entries: readonly string[];
      try {
        const listed = this.#objects.names(`${REPOSITORIES}${name}/`);
        entries = listed instanceof Promise ? await listed : listed;
      } catch (error) {
        if (this.#onUnreadable === undefined || !(error instanceof StorageFailure)) throw error;
        this.#onUnreadable(name, error);
        continue;
      }
      if (entries.some((entry) => this.#content.has(entry))) {
        if (this.found.length === this.#limit) return true;
        this.found.push(name);
      }
      if (entries.some((entry) => !entry.startsWith('_')) && (await this.below(`${name}/`, entries, [])))
        return true;
    }
    return false;
  }
}

/** Whether there is content in the repository itself (not merely in those below it, nor an upload). */
export async function holdsAnything(objects: Objects, name: RepositoryName): Promise<boolean> {
  const entries = await objects.names(repositoryPrefix(name));
  return entries.some((entry) => CONTENT.has(entry));
}
