import type { Digest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import { layerLinkKey } from './layout.ts';
import type { Objects } from './objects.ts';

/** Digests whose repositories this process remembers. */
const MAX_REMEMBERED = 10_000;
/** Repositories remembered for one digest. */
const MAX_EACH = 4;
/** Repositories that a mount without `from` looks into, one link each (about 5 µs on a local disk). */
const MAX_LOOKED_INTO = 1_000;

/**
 * Finds a repository to mount a blob from when the client does not name one ("automatic content discovery").
 *
 * What is remembered is only a hint: the link is looked at each time. What it costs does not depend on whether
 * a repository that the client may not pull from has the blob, so that the answer's time tells nothing
 * (security: existence oracle).
 */
export class BlobSources {
  readonly #objects: Objects;
  readonly #repositories: (limit: number, signal?: AbortSignal) => Promise<readonly RepositoryName[]>;
  readonly #remembered = new Map<Digest, RepositoryName[]>();

  constructor(
    objects: Objects,
    repositories: (limit: number, signal?: AbortSignal) => Promise<readonly RepositoryName[]>,
  ) {
    this.#objects = objects;
    this.#repositories = repositories;
  }

  /** Remembers that a repository had the blob a moment ago. */
  note(digest: Digest, name: RepositoryName): void {
    const names = this.#remembered.get(digest);
    if (names !== undefined) {
      if (!names.includes(name) && names.length < MAX_EACH) names.push(name);
      return;
    }
    if (this.#remembered.size >= MAX_REMEMBERED) {
      for (const oldest of this.#remembered.keys()) {
        this.#remembered.delete(oldest);
        break;
      }
    }
    this.#remembered.set(digest, [name]);
  }

  /** A repository that has a link to the blob and may be pulled from; undefined when none was found. */
  async find(
    digest: Digest,
    options: {
      from?: RepositoryName;
      mayPull: (name: RepositoryName) => Promise<boolean>;
      signal?: AbortSignal;
    },
  ): Promise<RepositoryName | undefined> {
    if (options.from !== undefined) return this.#check(digest, options.from, options.mayPull);
    for (const name of this.#remembered.get(digest) ?? []) {
      if ((await this.#check(digest, name, options.mayPull)) !== undefined) return name;
    }
    for (const name of await this.#repositories(MAX_LOOKED_INTO, options.signal)) {
      if ((await this.#check(digest, name, options.mayPull)) !== undefined) return name;
    }
    return undefined;
  }

  async #check(
    digest: Digest,
    name: RepositoryName,
    mayPull: (name: RepositoryName) => Promise<boolean>,
  ): Promise<RepositoryName | undefined> {
    if (!(await mayPull(name))) return undefined;
    return (await this.#objects.exists(layerLinkKey(name, digest))) ? name : undefined;
  }
}
