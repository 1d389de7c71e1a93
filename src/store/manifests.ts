import { createHash } from 'node:crypto';
import type { Change } from '../drivers/driver.ts';
import { algorithmOf, type Digest, digestOf, isDigest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import { type Manifest, parseManifest } from '../oci/manifest.ts';
import { isTag, type RepositoryName, type Tag } from '../oci/name.ts';
import type { Content, DeleteOptions, Manifests, StoredManifest } from '../oci/registry.ts';
import { layersPrefix, blobKey, repositoryMarkKey, revisionLinkKey } from './layout.ts';
import { deleteManifest, tagsAt } from './delete-manifest.ts';
import { presentLink } from './links.ts';
import { type ManifestTools, readLinkedManifest, subjectOf, unknownManifest } from './linked-manifests.ts';
import { checkReferences } from './manifest-rules.ts';
import { linkBytes } from './objects.ts';
import { isReferenced } from './known-references.ts';
import { referrerChange } from './referrers.ts';
import { presentSize } from './trash.ts';
import { resolveTag, writeTags } from './tags.ts';

export class StoredManifests implements Manifests {
  readonly #tools: ManifestTools;
  readonly #name: RepositoryName;

  constructor(tools: ManifestTools, name: RepositoryName) {
    this.#tools = tools;
    this.#name = name;
  }

  async get(reference: Tag | Digest): Promise<StoredManifest> {
    const digest = isDigest(reference) ? reference : await this.#resolve(reference);
    const manifest = await readLinkedManifest(this.#tools, this.#name, digest);
    if (manifest === undefined) throw unknownManifest(reference);
    // Who asks by digest may be about to push what refers to it; a tag's manifest is not collected.
    if (digest === reference) await this.#tools.touches.touch(this.#name, 'revisions', digest);
    return manifest;
  }

  async #resolve(reference: string): Promise<Digest> {
    const digest = isTag(reference)
      ? await resolveTag(this.#tools.objects, this.#name, reference)
      : undefined;
    if (digest === undefined) throw unknownManifest(reference);
    return digest;
  }

  async put({
    bytes,
    mediaType,
    digest: expected,
    tags,
    precondition,
    guard,
  }: Parameters<Manifests['put']>[0]): Promise<{ content: Content; subject: Digest | undefined }> {
    const { objects, cache, rules } = this.#tools;
    const digest = computeDigest(bytes, expected);
    const manifest = parseManifest(bytes, mediaType);
    await checkReferences(objects, this.#name, manifest, rules);
    const content = { digest, size: bytes.byteLength, mediaType: manifest.mediaType };
    const subject = subjectOf(manifest);
    const link = revisionLinkKey(this.#name, digest);
    const wasThere = await objects.exists(link);
    // What was there before the manifest may have been collected before its link was seen (links.ts).
    const confirm = async () => {
      try {
        await checkReferences(objects, this.#name, manifest, rules);
      } catch (error) {
        if (!wasThere) await objects.driver.delete([link]);
        throw error;
      }
    };
    const missing = async () => {
      const changes = await Promise.all([
        this.#bytesChange(digest, bytes),
        this.#revisionChange(digest),
        this.#markChange(manifest),
        subject === undefined
          ? undefined
          : referrerChange(objects, this.#name, subject, { digest, manifest, size: bytes.byteLength }),
      ]);
      return changes.filter((change) => change !== undefined);
    };
    await writeTags(objects, this.#name, { tags, digest, missing, confirm, precondition, guard });
    if (wasThere) await this.#tools.touches.touch(this.#name, 'revisions', digest, { mustStay: true });
    // They may have been on their way out when they were found (trash.ts).
    if ((await presentSize(objects, digest)) === undefined) {
      await objects.commit([{ write: blobKey(digest), bytes }]);
    }
    cache.set({ ...content, bytes });
    return { content, subject };
  }

  /** The bytes are verified: writing them again heals a copy that a crash cut short, so only a whole one is kept. */
  async #bytesChange(digest: Digest, bytes: Uint8Array): Promise<Change | undefined> {
    const key = blobKey(digest);
    return (await this.#tools.objects.isSettled(key, bytes.byteLength)) ? undefined : { write: key, bytes };
  }

  async #revisionChange(digest: Digest): Promise<Change | undefined> {
    const key = revisionLinkKey(this.#name, digest);
    const settled = await this.#tools.objects.hasSettledLink(key, digest);
    return settled ? undefined : { write: key, bytes: linkBytes(digest) };
  }

  /** `registry:2` lists, and its collector spares, only repositories that have a `_layers` folder. */
  async #markChange({ config, layers }: Manifest): Promise<Change | undefined> {
    if (config !== undefined || layers.length > 0) return undefined;
    const { objects } = this.#tools;
    if ((await objects.names(layersPrefix(this.#name))).length > 0) return undefined;
    return { write: repositoryMarkKey(this.#name), bytes: new Uint8Array() };
  }

  async delete(
    digest: Digest,
    { dryRun = false, keeps, unlessReferenced = false }: DeleteOptions = {},
  ): Promise<readonly Tag[]> {
    const { objects, references } = this.#tools;
    const check = async () => {
      if (keeps !== undefined) for (const tag of await tagsAt(this.#tools, this.#name, digest)) keeps(tag);
      const by = unlessReferenced ? await references.to(this.#name, digest) : undefined;
      if (by !== undefined) throw isReferenced(digest, by);
    };
    if (dryRun) {
      if ((await presentLink(objects, this.#name, 'revisions', digest)) === undefined)
        throw unknownManifest(digest);
      await check();
      return tagsAt(this.#tools, this.#name, digest);
    }
    const isFree = keeps === undefined && !unlessReferenced;
    return deleteManifest(this.#tools, this.#name, digest, isFree ? undefined : check);
  }
}

/** The digest of the bytes, by the algorithm that the client used. @throws RegistryError `DIGEST_INVALID` */
function computeDigest(bytes: Uint8Array, expected: Digest | undefined): Digest {
  const algorithm = expected === undefined ? 'sha256' : algorithmOf(expected);
  const digest = digestOf(algorithm, createHash(algorithm).update(bytes).digest('hex'));
  if (expected === undefined || digest === expected) return digest;
  throw new RegistryError('DIGEST_INVALID', 'the manifest does not have the digest that was given', {
    detail: { given: expected, computed: digest },
  });
}
