import type { Digest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import type {
  Blobs,
  Manifests,
  Page,
  PageRequest,
  Referrers,
  Registry,
  Repository,
  Tags,
  Uploads,
} from '../oci/registry.ts';

/** Told of each manifest that is given to somebody; must not throw, and costs each pull what it takes. */
export type NotePull = (name: RepositoryName, digest: Digest) => void;

/**
 * A registry of which is told what is pulled. A HEAD counts too: clients that have an image already pull no more than that.
 */
export class NotedPulls implements Registry {
  readonly #registry: Registry;
  readonly #note: NotePull;

  constructor(registry: Registry, note: NotePull) {
    this.#registry = registry;
    this.#note = note;
  }

  repository(name: RepositoryName): Repository {
    return new NotedRepository(this.#registry.repository(name), this.#note);
  }

  repositories(page: PageRequest): Promise<Page<RepositoryName>> {
    return this.#registry.repositories(page);
  }
}

class NotedRepository implements Repository {
  readonly name: RepositoryName;
  readonly #repository: Repository;
  readonly #note: NotePull;

  constructor(repository: Repository, note: NotePull) {
    this.name = repository.name;
    this.#repository = repository;
    this.#note = note;
  }

  get blobs(): Blobs {
    return this.#repository.blobs;
  }

  get uploads(): Uploads {
    return this.#repository.uploads;
  }

  get tags(): Tags {
    return this.#repository.tags;
  }

  get referrers(): Referrers {
    return this.#repository.referrers;
  }

  get manifests(): Manifests {
    const { manifests } = this.#repository;
    const noted = async <T extends { readonly digest: Digest }>(asked: Promise<T>): Promise<T> => {
      const manifest = await asked;
      this.#note(this.name, manifest.digest);
      return manifest;
    };
    return {
      get: (reference) => noted(manifests.get(reference)),
      ...(manifests.stat === undefined
        ? {}
        : { stat: (reference) => noted(manifests.stat?.(reference) ?? manifests.get(reference)) }),
      put: (manifest) => manifests.put(manifest),
      delete: (...asked) => manifests.delete(...asked),
    };
  }

  exists(): Promise<boolean> {
    return this.#repository.exists();
  }

  delete(...asked: Parameters<Repository['delete']>): ReturnType<Repository['delete']> {
    return this.#repository.delete(...asked);
  }

  deleteTags(...asked: Parameters<Repository['deleteTags']>): ReturnType<Repository['deleteTags']> {
    return this.#repository.deleteTags(...asked);
  }
}
