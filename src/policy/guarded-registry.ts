/**
 * Our own registry with the rules of what may be moved and deleted. They are decided where the change is made, by the contracts
 * of oci/registry.ts, so that nobody can come in between.
 */
import type { Digest } from '../oci/digest.ts';
import type { RepositoryName, Tag } from '../oci/name.ts';
import type {
  Blobs,
  Content,
  DeletedContent,
  DeletedTags,
  DeleteOptions,
  Manifests,
  Page,
  PageRequest,
  Referrers,
  Registry,
  Repository,
  StoredManifest,
  Tags,
  Uploads,
} from '../oci/registry.ts';
import type { RepositoryTagRules, TagRules } from './tag-rules.ts';

export interface GuardedOptions {
  readonly tags: TagRules;
  /** Whether blobs and manifests can be deleted that a manifest of the same repository refers to. */
  readonly deleteReferenced: boolean;
  /**
   * The name under which the storage really has a repository: its rules hold too. Asked only before changes, and where there
   * are rules. By default each has its own name alone.
   */
  readonly canonical?: (name: RepositoryName) => RepositoryName;
}

/** The rules for a repository; undefined where there are none. */
type RulesNow = () => RepositoryTagRules | undefined;

export class GuardedRegistry implements Registry {
  readonly #inner: Registry;
  #options: GuardedOptions;

  constructor(inner: Registry, options: GuardedOptions) {
    this.#inner = inner;
    this.#options = options;
  }

  /** From now on other rules of tags are in force. */
  change(tags: TagRules): void {
    this.#options = { ...this.#options, tags };
  }

  repository(name: RepositoryName): Repository {
    const { tags, deleteReferenced, canonical = (same) => same } = this.#options;
    const rules: RulesNow = () => (tags.isEmpty ? undefined : tags.of(name, canonical(name)));
    return new GuardedRepository(this.#inner.repository(name), rules, !deleteReferenced);
  }

  repositories(page: PageRequest): Promise<Page<RepositoryName>> {
    return this.#inner.repositories(page);
  }
}

class GuardedRepository implements Repository {
  readonly name: RepositoryName;
  readonly #inner: Repository;
  readonly #rules: RulesNow;
  readonly #unlessReferenced: boolean;

  constructor(inner: Repository, rules: RulesNow, unlessReferenced: boolean) {
    this.name = inner.name;
    this.#inner = inner;
    this.#rules = rules;
    this.#unlessReferenced = unlessReferenced;
  }

  get blobs(): Blobs {
    const { blobs } = this.#inner;
    const unlessReferenced = this.#unlessReferenced;
    return {
      stat: (digest) => blobs.stat(digest),
      open: (...asked) => blobs.open(...asked),
      mount: (...asked) => blobs.mount(...asked),
      delete: (digest) => blobs.delete(digest, { unlessReferenced }),
    };
  }

  get uploads(): Uploads {
    return this.#inner.uploads;
  }

  get manifests(): Manifests {
    return new GuardedManifests(this.#inner.manifests, this.#rules, this.#unlessReferenced);
  }

  get tags(): Tags {
    const { tags } = this.#inner;
    return {
      resolve: (tag) => tags.resolve(tag),
      list: (page) => tags.list(page),
      delete: (tag, options) => tags.delete(tag, this.#with(options)),
    };
  }

  get referrers(): Referrers {
    return this.#inner.referrers;
  }

  exists(): Promise<boolean> {
    return this.#inner.exists();
  }

  delete(options?: DeleteOptions): Promise<DeletedContent> {
    return this.#inner.delete(this.#with(options));
  }

  deleteTags(match: (tag: Tag) => boolean, page: PageRequest, options?: DeleteOptions): Promise<DeletedTags> {
    return this.#inner.deleteTags(match, page, this.#with(options));
  }

  #with(options: DeleteOptions = {}): DeleteOptions {
    return { ...options, keeps: this.#rules()?.checkDeletion };
  }
}

class GuardedManifests implements Manifests {
  readonly #inner: Manifests;
  readonly #rules: RulesNow;
  readonly #unlessReferenced: boolean;

  constructor(inner: Manifests, rules: RulesNow, unlessReferenced: boolean) {
    this.#inner = inner;
    this.#rules = rules;
    this.#unlessReferenced = unlessReferenced;
  }

  get(reference: Tag | Digest): Promise<StoredManifest> {
    return this.#inner.get(reference);
  }

  stat(reference: Tag | Digest): Promise<Omit<StoredManifest, 'bytes'>> {
    return this.#inner.stat?.(reference) ?? this.#inner.get(reference);
  }

  put(manifest: Parameters<Manifests['put']>[0]): Promise<{ content: Content; subject: Digest | undefined }> {
    return this.#inner.put({ ...manifest, guard: this.#rules()?.checkMove });
  }

  delete(digest: Digest, options: DeleteOptions = {}): Promise<readonly Tag[]> {
    const keeps = this.#rules()?.checkDeletion;
    return this.#inner.delete(digest, { ...options, keeps, unlessReferenced: this.#unlessReferenced });
  }
}
