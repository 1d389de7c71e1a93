/** A repository of an upstream: what is kept here is served from here, all else is fetched, checked, kept and served. */
import type { RepositoryName } from '../oci/name.ts';
import type { Blobs, Manifests, Referrers, Repository, Tags, Uploads } from '../oci/registry.ts';
import { CachedBlobs } from './cached-blobs.ts';
import { CachedLists, type RecentLists } from './cached-lists.ts';
import { CachedManifests } from './cached-manifests.ts';
import { type CachedPlace, notPushable } from './cached-place.ts';
import type { ForwardedPushes } from './forwarded-pushes.ts';

export class CachedRepository implements Repository {
  readonly name: RepositoryName;
  readonly #place: CachedPlace;
  readonly #lists: CachedLists;
  readonly #manifests: CachedManifests;

  readonly #pushes: ForwardedPushes | undefined;

  /** @param pushes where pushes are handed on to the upstream */
  constructor(place: CachedPlace, recent: RecentLists, pushes?: ForwardedPushes) {
    this.#pushes = pushes;
    this.name = place.local.name;
    this.#place = place;
    this.#lists = new CachedLists(place, recent);
    this.#manifests = new CachedManifests(place);
  }

  get blobs(): Blobs {
    return new CachedBlobs(this.#place, this.#pushes !== undefined);
  }

  get manifests(): Manifests {
    return {
      get: (reference) => this.#manifests.get(reference),
      stat: (reference) => this.#manifests.stat(reference),
      put: (manifest) => this.#pushes?.put(manifest) ?? Promise.reject(notPushable(this.name)),
      // It would come again with the next pull.
      delete: () => Promise.reject(notPushable(this.name)),
    };
  }

  get tags(): Tags {
    return {
      resolve: async (tag) => (await this.#manifests.resolve(tag)).digest,
      list: (page) => this.#lists.tags(page),
      delete: () => Promise.reject(notPushable(this.name)),
    };
  }

  get referrers(): Referrers {
    return { list: (digest, query) => this.#lists.referrers(digest, query) };
  }

  get uploads(): Uploads {
    if (this.#pushes !== undefined) return this.#pushes.uploads;
    const refuse = () => Promise.reject(notPushable(this.name));
    return { start: refuse, status: refuse, append: refuse, finish: refuse, cancel: refuse };
  }

  delete(): Promise<never> {
    return Promise.reject(notPushable(this.name));
  }

  deleteTags(): Promise<never> {
    return Promise.reject(notPushable(this.name));
  }

  exists(): Promise<boolean> {
    return this.#place.local.exists();
  }
}
