/** What an upstream has, checked: manifests by their digest, blobs as they come. */
import { createHash } from 'node:crypto';
import { algorithmOf, type Digest, digestOf, isDigest } from '../oci/digest.ts';
import { MAX_MANIFEST_BYTES } from '../oci/manifest.ts';
import type { RepositoryName, Tag } from '../oci/name.ts';
import type { Upstream } from './upstream.ts';
import { UpstreamFailure } from './upstream-failure.ts';

/** Every kind of manifest: an upstream that is asked for fewer would convert, or say that there is none. */
const ACCEPT = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  '*/*',
].join(', ');

/** A manifest's bytes, which have the digest. */
export interface FetchedManifest {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
  readonly mediaType: string | undefined;
}

/** A blob on its way: its size is what the upstream says, and nothing of it is verified yet. */
export interface FetchedBlob {
  readonly size: number | undefined;
  readonly body: ReadableStream<Uint8Array>;
}

/** One repository of an upstream. Where it says that something is not there, the answer is undefined. */
export class UpstreamContent {
  readonly #upstream: Upstream;
  readonly #repository: RepositoryName;

  constructor(upstream: Upstream, repository: RepositoryName) {
    this.#upstream = upstream;
    this.#repository = repository;
  }

  /** The digest that a tag has there now. @throws UpstreamFailure */
  async resolve(tag: Tag, signal?: AbortSignal): Promise<Digest | undefined> {
    const answer = await this.#ask('HEAD', `manifests/${tag}`, signal);
    await answer?.body?.cancel();
    if (answer === undefined) return undefined;
    const digest = answer.headers.get('docker-content-digest') ?? '';
    // Some registries do not say it; then the manifest has to be read.
    return isDigest(digest) ? digest : (await this.manifest(tag, signal))?.digest;
  }

  /** @throws UpstreamFailure, also for bytes that do not have the digest that was asked for */
  async manifest(reference: Tag | Digest, signal?: AbortSignal): Promise<FetchedManifest | undefined> {
    const answer = await this.#ask('GET', `manifests/${reference}`, signal);
    if (answer === undefined) return undefined;
    const bytes = await this.#limited(answer);
    const algorithm = isDigest(reference) ? algorithmOf(reference) : 'sha256';
    const digest = digestOf(algorithm, createHash(algorithm).update(bytes).digest('hex'));
    if (isDigest(reference) && digest !== reference) {
      throw new UpstreamFailure(
        `${this.#upstream.name} gave other bytes for ${this.#repository}@${reference}`,
      );
    }
    return { digest, bytes, mediaType: answer.headers.get('content-type')?.split(';')[0]?.trim() };
  }

  /** @throws UpstreamFailure */
  async blob(digest: Digest, signal?: AbortSignal): Promise<FetchedBlob | undefined> {
    const answer = await this.#ask('GET', `blobs/${digest}`, signal);
    if (answer === undefined) return undefined;
    if (answer.body === null) throw new UpstreamFailure(`${this.#upstream.name} gave no body for ${digest}`);
    return { size: lengthOf(answer), body: answer.body };
  }

  /** The size of a blob as the upstream says. @throws UpstreamFailure */
  async blobSize(digest: Digest, signal?: AbortSignal): Promise<number | undefined> {
    const answer = await this.#ask('HEAD', `blobs/${digest}`, signal);
    await answer?.body?.cancel();
    return answer === undefined ? undefined : lengthOf(answer);
  }

  async #ask(method: 'GET' | 'HEAD', path: string, signal?: AbortSignal): Promise<Response | undefined> {
    const repository = this.#repository;
    const answer = await this.#upstream.ask({
      method,
      path: `${repository}/${path}`,
      repository,
      accept: ACCEPT,
      signal,
    });
    const { status } = answer;
    if (status === 200) return answer;
    await answer.body?.cancel();
    // A registry hides what one may not see by any of these.
    if (status === 404 || status === 401 || status === 403) return undefined;
    const after = Number(answer.headers.get('retry-after') ?? Number.NaN);
    throw new UpstreamFailure(`${this.#upstream.name} answered ${status} for ${repository}/${path}`, {
      status,
      ...(Number.isFinite(after) && after >= 0 ? { retryAfter: after } : {}),
    });
  }

  async #limited(answer: Response): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of answer.body ?? []) {
      size += chunk.byteLength;
      if (size > MAX_MANIFEST_BYTES)
        throw new UpstreamFailure(`${this.#upstream.name} gave a manifest above 4 MiB`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }
}

function lengthOf(answer: Response): number | undefined {
  const length = answer.headers.get('content-length') ?? '';
  return /^\d{1,15}$/.test(length) ? Number(length) : undefined;
}
