import { createHash } from 'node:crypto';
import type { Change } from '../drivers/driver.ts';
import { algorithmOf, type Digest, digestOf, isDigest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import { type Manifest, parseManifest } from '../oci/manifest.ts';
import { isTag, type RepositoryName, type Tag } from '../oci/name.ts';
import type { Content, DeleteOptions, Manifests, StoredManifest } from '../oci/registry.ts';
import { layersPrefix, blobKey, repositoryMarkKey, revisionLinkKey } from './layout.ts';
import { deleteManifest, deleteTagsAt, keptByTags, tagsAt } from './delete-manifest.ts';
import type { Needs } from './delete-links.ts';
import { presentLink, withdrawManifest } from './links.ts';
import { type ManifestTools, readLinkedManifest, subjectOf, unknownManifest } from './linked-manifests.ts';
import { checkReferences } from './manifest-rules.ts';
import { linkBytes } from './objects.ts';
import { needsOf } from './known-references.ts';
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
    let isNew = false;
    let isOurs = false;
    let isWithdrawn = false;
    // What was there before the manifest may have been collected before its link was seen (links.ts). What is wrong with a
    // manifest that was there already is no reason to take it away.
    const check = async () => {
      try {
        await checkReferences(objects, this.#name, manifest, rules, { whole: isNew });
      } catch (error) {
        if (isOurs) isWithdrawn = await withdrawManifest(objects, this.#name, digest);
        throw error;
      }
    };
    const confirm = async () => {
      await check();
      const change = isOurs ? undefined : await this.#revisionChange(digest);
      if (change === undefined) return;
      // Another push has written it a moment ago: written again it is durable for us too. It may be deleted at this moment,
      // and its entry with it.
      isOurs = true;
      await objects.commit([change, ...(await belongings(true))]);
      await check();
    };
    /** @param isAnew also an entry that is there already: who has just deleted the manifest is about to remove it */
    const belongings = async (isAnew: boolean): Promise<readonly Change[]> => {
      const referrer = { digest, manifest, size: bytes.byteLength };
      const changes = await Promise.all([
        this.#markChange(manifest),
        subject === undefined
          ? undefined
          : referrerChange(objects, this.#name, subject, referrer, { isAnew }),
      ]);
      return changes.filter((change) => change !== undefined);
    };
    const missing = async () => {
      isNew ||= !(await objects.exists(link));
      isOurs ||= isNew;
      const revision = isOurs ? await this.#revisionChange(digest) : undefined;
      const content = await this.#bytesChange(digest, bytes);
      const changes = [revision, content, ...(await belongings(isNew))];
      return changes.filter((change) => change !== undefined);
    };
    try {
      await writeTags(objects, this.#name, { tags, digest, missing, confirm, precondition, guard });
    } catch (error) {
      // Who deleted it before may have left its tags to us, as it was there again. Not under our tags' locks.
      if (isWithdrawn) await deleteTagsAt(this.#tools, this.#name, new Set([digest])).catch(() => undefined);
      throw error;
    }
    if (!isOurs) await this.#tools.touches.touch(this.#name, 'revisions', digest, { mustStay: true });
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
    const needs: Needs = async (digests) => {
      const kept = keeps === undefined ? [] : await keptByTags(this.#tools, this.#name, digests, keeps);
      const referred = unlessReferenced ? await needsOf(references, this.#name)(digests) : [];
      return new Map([...referred, ...kept]);
    };
    if (dryRun) {
      const tags = await tagsAt(this.#tools, this.#name, digest);
      const isHere = (await presentLink(objects, this.#name, 'revisions', digest)) !== undefined;
      if (!isHere && tags.length === 0) throw unknownManifest(digest);
      const needed = await needs([digest]);
      if (needed.has(digest)) throw needed.get(digest);
      return tags;
    }
    const isFree = keeps === undefined && !unlessReferenced;
    return deleteManifest(this.#tools, this.#name, digest, isFree ? undefined : needs);
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
