/** The local `Registry`: everything is in the storage behind a driver, and any number of processes share it. */
import type { StorageDriver } from '../drivers/driver.ts';
import type { RepositoryName } from '../oci/name.ts';
import type {
  Blobs,
  DeletedContent,
  DeletedTags,
  Manifests,
  Page,
  PageRequest,
  Referrers,
  Registry,
  Repository,
  Tags,
  Uploads,
} from '../oci/registry.ts';
import { BlobSources } from './blob-sources.ts';
import { StoredBlobs } from './blobs.ts';
import { holdsAnything, listRepositories } from './catalog.ts';
import { deleteMatchingTags } from './delete-tags.ts';
import { deleteRepository } from './delete-repository.ts';
import { Hashing } from './hashing.ts';
import { LinkTouches } from './links.ts';
import { LiveDigests } from './live-digests.ts';
import { ManifestCache } from './manifest-cache.ts';
import type { ManifestRules } from './manifest-rules.ts';
import { StoredManifests } from './manifests.ts';
import { Objects } from './objects.ts';
import { KnownReferences } from './known-references.ts';
import { StoredReferrers } from './referrers.ts';
import { StoredTags } from './tags.ts';
import { StoredUploads } from './uploads.ts';

/** What all repositories of a process share. */
interface Shared {
  readonly objects: Objects;
  readonly cache: ManifestCache;
  readonly rules: ManifestRules;
  readonly hashing: Hashing;
  readonly live: LiveDigests;
  readonly sources: BlobSources;
  readonly touches: LinkTouches;
  readonly references: KnownReferences;
}

/** Milliseconds for which it is not noted again that a link was asked for. */
const TOUCH_EVERY = 15 * 60_000;

export class LocalRegistry implements Registry {
  readonly #shared: Shared;

  /** @param touchEveryMs milliseconds for which a pusher's question need not be noted again; infinite for never (links.ts) */
  constructor(driver: StorageDriver, rules: ManifestRules, touchEveryMs = () => TOUCH_EVERY) {
    const objects = new Objects(driver);
    const cache = new ManifestCache();
    this.#shared = {
      objects,
      rules,
      cache,
      references: new KnownReferences(objects, cache),
      hashing: new Hashing(),
      live: new LiveDigests(),
      touches: new LinkTouches(objects, touchEveryMs),
      sources: new BlobSources(objects, async (limit, signal) => {
        const page = await listRepositories(objects, { limit, ...(signal === undefined ? {} : { signal }) });
        return page.items;
      }),
    };
  }

  repository(name: RepositoryName): Repository {
    return new LocalRepository(this.#shared, name);
  }

  repositories(page: PageRequest): Promise<Page<RepositoryName>> {
    return listRepositories(this.#shared.objects, page);
  }
}

class LocalRepository implements Repository {
  readonly name: RepositoryName;
  readonly #shared: Shared;

  constructor(shared: Shared, name: RepositoryName) {
    this.#shared = shared;
    this.name = name;
  }

  get blobs(): Blobs {
    return new StoredBlobs(this.#shared, this.name);
  }

  get uploads(): Uploads {
    return new StoredUploads(this.#shared, this.name);
  }

  get manifests(): Manifests {
    return new StoredManifests(this.#shared, this.name);
  }

  get tags(): Tags {
    return new StoredTags(this.#shared.objects, this.name);
  }

  get referrers(): Referrers {
    return new StoredReferrers(this.#shared, this.name);
  }

  exists(): Promise<boolean> {
    return holdsAnything(this.#shared.objects, this.name);
  }

  delete(...[options = {}]: Parameters<Repository['delete']>): Promise<DeletedContent> {
    return deleteRepository(this.#shared, this.name, options);
  }

  deleteTags(...asked: Parameters<Repository['deleteTags']>): Promise<DeletedTags> {
    return deleteMatchingTags(this.tags, ...asked);
  }
}
