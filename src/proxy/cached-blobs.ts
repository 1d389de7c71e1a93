import { MEDIA_TYPE } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { Blobs, Content } from '../oci/registry.ts';
import { type CachedPlace, checkFetchable, notPushable } from './cached-place.ts';
import { found } from './found.ts';
import { UpstreamFailure } from './upstream-failure.ts';

/** Blobs of an upstream: fetched while they are served, and kept. */
export class CachedBlobs implements Blobs {
  readonly #place: CachedPlace;
  readonly #pushable: boolean;

  /** @param pushable whether pushes are handed on: then a mount is answered with an upload */
  constructor(place: CachedPlace, pushable: boolean) {
    this.#place = place;
    this.#pushable = pushable;
  }

  async stat(digest: Digest): Promise<Content> {
    const { local, upstream, tools } = this.#place;
    const kept = await found(local.blobs.stat(digest));
    if (kept !== undefined) {
      this.#note(kept);
      return kept;
    }
    const { size } = await this.#unlessAbsent(digest, () => upstream.blobSize(digest));
    if (size !== undefined) return { digest, size, mediaType: MEDIA_TYPE.octetStream };
    // One that does not tell it has to be read.
    checkFetchable(tools);
    const transfer = await this.#unlessAbsent(digest, () => tools.transfers.get(local, upstream, digest));
    if (transfer !== 'kept') await transfer.done;
    return local.blobs.stat(digest);
  }

  async open(...[digest, select, signal]: Parameters<Blobs['open']>): ReturnType<Blobs['open']> {
    const { local, upstream, tools } = this.#place;
    for (;;) {
      const kept = await found(local.blobs.open(digest, select, signal));
      if (kept !== undefined) {
        const { content, range } = kept;
        this.#note(content);
        const served = range === undefined ? content.size : range.end - range.start;
        tools.statistics.hit(upstream.upstream, served);
        return kept;
      }
      checkFetchable(tools);
      const transfer = await this.#unlessAbsent(digest, () => tools.transfers.get(local, upstream, digest));
      if (transfer === 'kept') continue;
      tools.statistics.count(upstream.upstream, 'misses');
      const { size } = transfer;
      // Without a size there is no length to promise, and no range to choose.
      if (size === undefined) {
        await transfer.done;
        continue;
      }
      const content = { digest, size, mediaType: MEDIA_TYPE.octetStream };
      const range = select?.(content);
      return { content, range, body: transfer.read(range?.start ?? 0, range?.end ?? size) };
    }
  }

  mount(): Promise<undefined> {
    return this.#pushable ? Promise.resolve(undefined) : Promise.reject(notPushable(this.#place.local.name));
  }

  /** It would come again with the next pull. */
  delete(): Promise<never> {
    return Promise.reject(notPushable(this.#place.local.name));
  }

  #note({ digest, size }: Content): void {
    const { local, tools } = this.#place;
    tools.space.used({ name: local.name, kind: 'blobs', digest, size });
  }

  /** @throws RegistryError `BLOB_UNKNOWN` for what the upstream does not have, or hides */
  async #unlessAbsent<T>(digest: Digest, ask: () => Promise<T | undefined>): Promise<T> {
    const { local, tools } = this.#place;
    const key = `${local.name}@${digest} blob`;
    let answer: T | undefined;
    if (!tools.absences.has(key)) {
      try {
        answer = await ask();
        if (answer === undefined) tools.absences.note(key);
      } catch (error) {
        if (!(error instanceof UpstreamFailure) || !error.isRefusal) throw error;
      }
    }
    if (answer !== undefined) return answer;
    throw new RegistryError('BLOB_UNKNOWN', 'the blob is not known to the upstream', { detail: { digest } });
  }
}
