/** Manifests of an upstream: by digest they are kept for good, by tag they are asked for again in time. */
import { type Digest, isDigest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { Tag } from '../oci/name.ts';
import type { Manifests, StoredManifest } from '../oci/registry.ts';
import { readStoredManifest } from '../oci/stored-manifest.ts';
import { type CachedPlace, checkFetchable, shared, unknownManifest } from './cached-place.ts';
import { found } from './found.ts';
import type { FetchedManifest, Patience } from './upstream-content.ts';
import { UpstreamFailure } from './upstream-failure.ts';

/** Where a tag leads. */
interface Resolved {
  readonly digest: Digest;
  readonly stale: boolean;
  /** Whether its manifest was fetched for this very question. */
  readonly isNew: boolean;
}

export class CachedManifests implements Pick<Manifests, 'get' | 'stat'> {
  readonly #place: CachedPlace;

  constructor(place: CachedPlace) {
    this.#place = place;
  }

  async get(reference: Tag | Digest): Promise<StoredManifest> {
    if (isDigest(reference)) return this.#byDigest(reference, []);
    const { digest, stale, isNew } = await this.resolve(reference);
    const manifest = await found(isNew ? this.#again(digest) : this.#byDigest(digest, [reference]));
    if (manifest !== undefined) return stale ? { ...manifest, stale } : manifest;
    // It was let go here, and has gone from the upstream since the tag was last asked for.
    await this.#place.tools.records.forget(this.#place.local.name, reference);
    return this.#byDigest((await this.resolve(reference)).digest, [reference]);
  }

  /** Fetches nothing: who only asks for the digest costs the upstream's limit nothing. */
  async stat(reference: Tag | Digest): Promise<Omit<StoredManifest, 'bytes'>> {
    const { local, upstream, tools } = this.#place;
    const kept = isDigest(reference) ? reference : await this.#fresh(reference);
    if (kept !== undefined) {
      const manifest = await this.#kept(kept);
      if (manifest !== undefined) return manifest;
    } else if ((await this.#lastKnown(reference as Tag)) !== undefined) return this.get(reference);
    if (tools.absences.has(this.#absence(reference))) throw unknownManifest(reference);
    checkFetchable(tools);
    const asked = tools.now();
    const content = await this.#unlessUnknown(reference, upstream.resolve(reference, {}));
    if (content === undefined) throw unknownManifest(reference);
    // docker asks for a tag so, and then for its digest: this is all that is ever learnt of the tag.
    const { digest } = content;
    if (!isDigest(reference)) await tools.records.note(local.name, reference, { digest, asked });
    return content;
  }

  /** @throws RegistryError `MANIFEST_UNKNOWN` @throws UpstreamFailure when nothing is kept and the upstream fails */
  async resolve(tag: Tag): Promise<Resolved> {
    const digest = await this.#fresh(tag);
    if (digest !== undefined) return { digest, stale: false, isNew: false };
    if (this.#place.tools.readOnly()) {
      const kept = await this.#lastKnown(tag);
      if (kept !== undefined) return { digest: kept, stale: true, isNew: false };
    }
    checkFetchable(this.#place.tools);
    return shared(this.#place, `tag ${this.#place.local.name}:${tag}`, () => this.#ask(tag));
  }

  /** The digest that the upstream confirmed not too long ago. */
  async #fresh(tag: Tag): Promise<Digest | undefined> {
    const { local, tools, tagTtlMs } = this.#place;
    const record = await tools.records.get(local.name, tag);
    if (record === undefined) return undefined;
    const age = tools.now() - record.asked;
    return age >= 0 && age < tagTtlMs(tag) ? record.digest : undefined;
  }

  /** The digest that would be served if the upstream were away: one of which the manifest is here. */
  async #lastKnown(tag: Tag): Promise<Digest | undefined> {
    const { local, tools } = this.#place;
    const { digest } = (await tools.records.get(local.name, tag)) ?? {};
    const known = digest ?? (await found(local.tags.resolve(tag)));
    if (known === undefined) return undefined;
    return (await found(local.manifests.get(known))) === undefined ? undefined : known;
  }

  async #ask(tag: Tag): Promise<Resolved> {
    const { local, upstream, tools } = this.#place;
    const kept = await this.#lastKnown(tag);
    if (kept === undefined && tools.absences.has(this.#absence(tag))) throw unknownManifest(tag);
    const asked = tools.now();
    try {
      const patience: Patience = { canDoWithout: kept !== undefined };
      const answer = upstream.resolve(tag, patience);
      const content = await (kept === undefined ? this.#unlessUnknown(tag, answer) : answer);
      if (content === undefined) {
        await this.#forget(tag);
        throw unknownManifest(tag);
      }
      const { digest } = content;
      const isNew = digest !== kept && (await this.#kept(digest)) === undefined;
      if (isNew) await this.#fetchNamed(digest, tag, patience);
      else if (digest === kept) tools.statistics.count(upstream.upstream, 'revalidated');
      if (digest !== (await found(local.tags.resolve(tag)))) await this.#point(tag, digest);
      tools.absences.forget(this.#absence(tag));
      const noted = await tools.records.note(local.name, tag, { digest, asked });
      return { digest: noted.digest, stale: false, isNew: isNew && noted.digest === digest };
    } catch (error) {
      if (kept === undefined || !(error instanceof UpstreamFailure)) throw error;
      tools.statistics.count(upstream.upstream, 'stale');
      tools.onStale(local.name, error.message);
      return { digest: kept, stale: true, isNew: false };
    }
  }

  /** The tag is gone upstream. Its manifest stays, for those who know its digest. */
  async #forget(tag: Tag): Promise<void> {
    const { local, tools } = this.#place;
    await tools.records.forget(local.name, tag);
    await found(local.tags.delete(tag));
    tools.absences.note(this.#absence(tag));
  }

  async #byDigest(digest: Digest, tags: readonly Tag[]): Promise<StoredManifest> {
    const { local, upstream, tools } = this.#place;
    const kept = await this.#kept(digest);
    if (kept !== undefined) {
      tools.statistics.hit(upstream.upstream, kept.size);
      return kept;
    }
    return shared(this.#place, `manifest ${local.name}@${digest}`, () => this.#fetch(digest, tags, {}));
  }

  /** What was fetched a moment ago; some manifests cannot be kept. */
  async #again(digest: Digest): Promise<StoredManifest> {
    return (await this.#kept(digest)) ?? this.#byDigest(digest, []);
  }

  async #kept(digest: Digest): Promise<StoredManifest | undefined> {
    const { local, tools } = this.#place;
    const kept = await found(local.manifests.get(digest));
    if (kept !== undefined)
      tools.space.used({ name: local.name, kind: 'manifests', digest, size: kept.size });
    return kept;
  }

  /** A digest that an upstream names and does not have is a fault of it, not an absence: one of its copies lags behind. */
  async #fetchNamed(digest: Digest, tag: Tag, patience: Patience): Promise<void> {
    try {
      await this.#fetch(digest, [tag], patience);
    } catch (error) {
      if (!(error instanceof RegistryError) || error.code !== 'MANIFEST_UNKNOWN') throw error;
      const { upstream } = this.#place;
      throw new UpstreamFailure(`${upstream.upstream} says that ${tag} is ${digest}, and does not have it`);
    }
  }

  async #fetch(digest: Digest, tags: readonly Tag[], patience: Patience): Promise<StoredManifest> {
    const { upstream, tools } = this.#place;
    if (tools.absences.has(this.#absence(digest))) throw unknownManifest(digest);
    checkFetchable(tools);
    tools.statistics.count(upstream.upstream, 'misses');
    const fetched = await this.#unlessUnknown(digest, upstream.manifest(digest, patience));
    if (fetched === undefined) throw unknownManifest(digest);
    tools.statistics.count(upstream.upstream, 'bytesFetched', fetched.bytes.byteLength);
    return this.#keep(fetched, tags);
  }

  async #keep({ bytes, mediaType, digest }: FetchedManifest, tags: readonly Tag[]): Promise<StoredManifest> {
    const { local, tools } = this.#place;
    const kept = { name: local.name, kind: 'manifests', digest, size: bytes.byteLength } as const;
    const room = await tools.space.admit(kept);
    try {
      const { content } = await local.manifests.put({ bytes, mediaType, digest, tags });
      room.arrived();
      return { ...content, bytes };
    } catch (error) {
      await room.withdraw();
      if (!(error instanceof RegistryError) || error.code !== 'MANIFEST_INVALID') throw error;
      // Nothing that we would take from a client (such as schema 1), but what the upstream has: passed on as it is.
      return { digest, size: bytes.byteLength, mediaType: this.#typeOf(bytes), bytes };
    }
  }

  /** @throws UpstreamFailure for what is no manifest at all, such as a page that asks for a login */
  #typeOf(bytes: Uint8Array): string {
    try {
      return readStoredManifest(bytes).mediaType;
    } catch {
      throw new UpstreamFailure(`${this.#place.upstream.upstream} gave something that is no manifest`);
    }
  }

  async #point(tag: Tag, digest: Digest): Promise<void> {
    const { local } = this.#place;
    const manifest = await found(local.manifests.get(digest));
    if (manifest === undefined) return; // one that is not kept
    const { bytes, mediaType } = manifest;
    await local.manifests.put({ bytes, mediaType, digest, tags: [tag] });
  }

  #absence(reference: string): string {
    return `${this.#place.local.name} ${reference}`;
  }

  /**
   * A registry hides by a refusal what one may not see, which is the same to our clients. It is not remembered: it may be
   * a login that the operator is about to mend.
   */
  async #unlessUnknown<T>(reference: string, answer: Promise<T | undefined>): Promise<T | undefined> {
    try {
      const known = await answer;
      if (known === undefined) this.#place.tools.absences.note(this.#absence(reference));
      return known;
    } catch (error) {
      if (error instanceof UpstreamFailure && error.isRefusal) throw unknownManifest(reference);
      throw error;
    }
  }
}
