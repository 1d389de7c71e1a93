import { ObjectNotFound } from '../drivers/driver.ts';
import { MEDIA_TYPE } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { Blobs, ByteRange, Content, DeleteOptions } from '../oci/registry.ts';
import { blobKey, layerLinkKey, type LinkKind } from './layout.ts';
import type { BlobSources } from './blob-sources.ts';
import { deleteLink, deleteLinksUnless, returnTaken } from './delete-links.ts';
import { type LinkTouches, presentLink } from './links.ts';
import type { Objects } from './objects.ts';
import { type KnownReferences, needsOf } from './known-references.ts';
import { presentSize } from './trash.ts';

/** A blob that a repository has: where its bytes are, and how many. */
interface Found {
  readonly key: string;
  readonly content: Content;
  readonly linked: LinkKind;
}

/** What the blobs of all repositories of one process share. */
export interface BlobTools {
  readonly objects: Objects;
  readonly sources: BlobSources;
  readonly touches: LinkTouches;
  readonly references: KnownReferences;
}

/**
 * The blobs of one repository. Content is reachable only through a link in the repository itself: that the
 * bytes lie in the storage for another one's sake opens nothing (CVE-2024-39897).
 */
export class StoredBlobs implements Blobs {
  readonly #objects: Objects;
  readonly #sources: BlobSources;
  readonly #touches: LinkTouches;
  readonly #references: KnownReferences;
  readonly #name: RepositoryName;

  constructor({ objects, sources, touches, references }: BlobTools, name: RepositoryName) {
    this.#objects = objects;
    this.#sources = sources;
    this.#touches = touches;
    this.#references = references;
    this.#name = name;
  }

  async stat(digest: Digest): Promise<Content> {
    const { content, linked } = await this.#find(digest);
    await this.#touches.touch(this.#name, linked, digest);
    return content;
  }

  async open(
    digest: Digest,
    select?: (content: Content) => ByteRange | undefined,
    signal?: AbortSignal,
  ): Promise<{ content: Content; range: ByteRange | undefined; body: Blob | ReadableStream<Uint8Array> }> {
    const { key, content } = await this.#find(digest);
    const range = select?.(content);
    try {
      const body = await this.#objects.driver.read(key, {
        ...range,
        ...(signal === undefined ? {} : { signal }),
      });
      return { content, range, body };
    } catch (error) {
      if (error instanceof ObjectNotFound) throw unknown(digest);
      throw error;
    }
  }

  async #find(digest: Digest): Promise<Found> {
    const found = await findBlob(this.#objects, this.#name, digest);
    if (found === undefined) throw unknown(digest);
    this.#sources.note(digest, this.#name);
    return found;
  }

  async mount(
    digest: Digest,
    options: {
      from?: RepositoryName;
      mayPull: (name: RepositoryName) => Promise<boolean>;
      signal?: AbortSignal;
    },
  ): Promise<Content | undefined> {
    const source = await this.#sources.find(digest, options);
    if (source === undefined) return undefined;
    const found = await findBlob(this.#objects, source, digest);
    if (found === undefined) return undefined;
    // The link is copied with the digest that it names, which may not be the one asked for (layout.ts).
    const target = (await this.#objects.link(layerLinkKey(source, digest))) ?? digest;
    await this.#objects.writeLink(layerLinkKey(this.#name, digest), target);
    // Looked at again, as the bytes may be on their way out (trash.ts).
    if (!(await hasBlob(this.#objects, this.#name, digest))) {
      await this.#objects.driver.delete([layerLinkKey(this.#name, digest)]);
      return undefined;
    }
    this.#sources.note(digest, this.#name);
    return found.content;
  }

  async delete(
    digest: Digest,
    { unlessReferenced = false }: Pick<DeleteOptions, 'unlessReferenced'> = {},
  ): Promise<void> {
    const objects = this.#objects;
    const isHere = async () => (await presentLink(objects, this.#name, 'layers', digest)) !== undefined;
    if (!(await isHere())) {
      // A deletion of it that was killed is finished.
      const isLeft = await returnTaken(objects, this.#name, 'layers', new Set([digest]));
      if (!isLeft || !(await isHere())) throw unknown(digest);
    }
    if (!unlessReferenced) return deleteLink(objects, this.#name, 'layers', digest);
    const needs = needsOf(this.#references, this.#name);
    const stayed = await deleteLinksUnless(objects, this.#name, 'layers', [digest], needs);
    if (stayed.has(digest)) throw stayed.get(digest);
  }
}

/**
 * The blob behind a repository's link, or undefined when there is no link or its bytes are gone. Manifests
 * can be fetched as blobs too, as clients do that resolve a digest without knowing what it is (containerd).
 */
async function findBlob(
  objects: Objects,
  name: RepositoryName,
  digest: Digest,
  options: { readonly mustStay?: boolean } = {},
): Promise<Found | undefined> {
  for (const linked of ['layers', 'revisions'] as const) {
    const target = await presentLink(objects, name, linked, digest, options);
    if (target === undefined) continue;
    const size = await presentSize(objects, target);
    if (size === undefined) return undefined;
    return { key: blobKey(target), content: { digest, size, mediaType: MEDIA_TYPE.octetStream }, linked };
  }
  return undefined;
}

/** Whether a repository has the blob: linked, its bytes are there, and neither is on its way out. @throws StorageFailure */
export async function hasBlob(objects: Objects, name: RepositoryName, digest: Digest): Promise<boolean> {
  return (await findBlob(objects, name, digest, { mustStay: true })) !== undefined;
}

function unknown(digest: Digest): RegistryError {
  return new RegistryError('BLOB_UNKNOWN', 'the blob is not known to this repository', {
    detail: { digest },
  });
}
