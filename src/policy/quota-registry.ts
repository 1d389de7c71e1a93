/** A registry whose repositories are held to quotas. What no quota names is the inner registry's own, at no cost. */
import { createHash, randomUUID } from 'node:crypto';
import { algorithmOf, type Digest, digestOf } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { Blobs, Manifests, Page, PageRequest, Registry, Repository, Uploads } from '../oci/registry.ts';
import type { Allowance } from './allowance.ts';
import { MeteredUploads } from './metered-uploads.ts';

export class QuotaRegistry implements Registry {
  readonly #inner: Registry;
  readonly #allowanceOf: (name: RepositoryName) => Allowance | undefined;

  /** @param allowanceOf what a repository may use; undefined for one that no quota names */
  constructor(inner: Registry, allowanceOf: (name: RepositoryName) => Allowance | undefined) {
    this.#inner = inner;
    this.#allowanceOf = allowanceOf;
  }

  repository(name: RepositoryName): Repository {
    const inner = this.#inner.repository(name);
    const allowance = this.#allowanceOf(name);
    return allowance === undefined ? inner : new QuotaRepository(inner, allowance, this.#inner);
  }

  repositories(page: PageRequest): Promise<Page<RepositoryName>> {
    return this.#inner.repositories(page);
  }
}

class QuotaRepository implements Repository {
  readonly name: RepositoryName;
  readonly #inner: Repository;
  readonly #allowance: Allowance;
  readonly #registry: Registry;

  constructor(inner: Repository, allowance: Allowance, registry: Registry) {
    this.name = inner.name;
    this.#inner = inner;
    this.#allowance = allowance;
    this.#registry = registry;
  }

  get tags(): Repository['tags'] {
    return this.#inner.tags;
  }

  get referrers(): Repository['referrers'] {
    return this.#inner.referrers;
  }

  exists(): Promise<boolean> {
    return this.#inner.exists();
  }

  async delete(...[options]: Parameters<Repository['delete']>): ReturnType<Repository['delete']> {
    let going: readonly Digest[] = [];
    let uploads: readonly string[] = [];
    try {
      return await this.#inner.delete({
        ...options,
        going: (digests, ids) => {
          going = digests;
          uploads = ids;
          options?.going?.(digests, ids);
        },
      });
    } finally {
      // Also after a failure half-way.
      if (going.length > 0) await this.#allowance.unlinked(going);
      if (uploads.length > 0) await this.#allowance.release(await this.#ended(uploads));
    }
  }

  /** Those of the uploads that are no more. One that cannot be looked at may go on, and counts. */
  async #ended(ids: readonly string[]): Promise<readonly string[]> {
    const { uploads } = this.#inner;
    const ended: string[] = [];
    for (const id of ids) {
      await uploads.status(id).catch((error: unknown) => {
        if (error instanceof RegistryError && error.code === 'BLOB_UPLOAD_UNKNOWN') ended.push(id);
      });
    }
    return ended;
  }

  /** Their manifests stay and count on. */
  deleteTags(...asked: Parameters<Repository['deleteTags']>): ReturnType<Repository['deleteTags']> {
    return this.#inner.deleteTags(...asked);
  }

  get uploads(): Uploads {
    return new MeteredUploads(this.#inner.uploads, this.#allowance);
  }

  get blobs(): Blobs {
    const { blobs } = this.#inner;
    return {
      stat: (digest) => blobs.stat(digest),
      open: (...request) => blobs.open(...request),
      mount: (digest, options) => this.#mount(digest, options),
      delete: async (digest, options) => {
        try {
          await blobs.delete(digest, options);
        } finally {
          // Also after a failure half-way.
          await this.#allowance.unlinked([digest]);
        }
      },
    };
  }

  /** Where there is no room for it nothing is mounted: who may not pull it must not learn that it is there. */
  async #mount(digest: Digest, options: Parameters<Blobs['mount']>[1]): ReturnType<Blobs['mount']> {
    const { blobs } = this.#inner;
    const size = await this.#allowance.storedSize(digest);
    if (size === undefined) return blobs.mount(digest, options);
    const key = randomUUID();
    try {
      await this.#allowance.take({ key, bytes: size, digest });
    } catch (error) {
      if (await this.#maySee(digest, options)) throw error;
      return undefined;
    }
    try {
      const content = await blobs.mount(digest, options);
      if (content === undefined) await this.#allowance.unlinked([digest]);
      else await this.#allowance.settle({ key, ...content });
      return content;
    } catch (error) {
      await this.#allowance.unsure({ key, digest });
      throw error;
    } finally {
      await this.#allowance.release([key]);
    }
  }

  async #maySee(digest: Digest, { from, mayPull }: Parameters<Blobs['mount']>[1]): Promise<boolean> {
    if (from === undefined || !(await mayPull(from))) return false;
    return this.#registry
      .repository(from)
      .blobs.stat(digest)
      .then(
        () => true,
        () => false,
      );
  }

  get manifests(): Manifests {
    const { manifests } = this.#inner;
    return {
      get: (reference) => manifests.get(reference),
      ...(manifests.stat === undefined ? {} : { stat: manifests.stat.bind(manifests) }),
      put: async (manifest) => {
        const { bytes } = manifest;
        const algorithm = manifest.digest === undefined ? 'sha256' : algorithmOf(manifest.digest);
        const digest = digestOf(algorithm, createHash(algorithm).update(bytes).digest('hex'));
        const key = randomUUID();
        await this.#allowance.take({ key, bytes: bytes.byteLength, digest, isManifest: true });
        try {
          const result = await manifests.put(manifest);
          await this.#allowance.settle({ key, ...result.content, isManifest: true });
          return result;
        } catch (error) {
          await this.#allowance.unsure({ key, digest, isManifest: true });
          throw error;
        } finally {
          await this.#allowance.release([key]);
        }
      },
      delete: async (digest, options) => {
        if (options?.dryRun === true) return manifests.delete(digest, options);
        try {
          return await manifests.delete(digest, options);
        } finally {
          // Its link may have gone also where the rest of it could not.
          await this.#allowance.unlinked([digest]);
        }
      },
    };
  }
}
