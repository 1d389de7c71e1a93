/** What an upstream has, checked: manifests by their digest, blobs as they come. */
import { createHash } from 'node:crypto';
import { algorithmOf, type Digest, digestOf, isDigest } from '../oci/digest.ts';
import { MAX_MANIFEST_BYTES } from '../oci/manifest.ts';
import type { RepositoryName, Tag } from '../oci/name.ts';
import type { Content } from '../oci/registry.ts';
import { quotaOf, type RateLimit } from './rate-limit.ts';
import { readLimited } from './read-limited.ts';
import type { CacheStatistics } from './statistics.ts';
import type { Upstream, UpstreamRequest } from './upstream.ts';
import { retryAfterOf, UpstreamFailure } from './upstream-failure.ts';
import type { Kind, UpstreamHealth } from './upstream-health.ts';

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

/** An upstream and what is known of it. */
export interface UpstreamTools {
  readonly upstream: Upstream;
  readonly health: UpstreamHealth;
  readonly limit: RateLimit | undefined;
  readonly statistics: CacheStatistics;
  /** Told of refusals where we have a login. */
  readonly onRefused?: ((reason: string) => void) | undefined;
}

/** How a question may be asked. */
export interface Patience {
  /** Whether there is something kept to serve instead: then an upstream that was slow or away lately is left alone. */
  readonly canDoWithout?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Milliseconds that a client waits for an upstream while something kept could be served. */
const SHORT_PATIENCE = 3_000;

/** One repository of an upstream. Where it says that something is not there, the answer is undefined. */
export class UpstreamContent {
  readonly #tools: UpstreamTools;
  readonly #repository: RepositoryName;

  constructor(tools: UpstreamTools, repository: RepositoryName) {
    this.#tools = tools;
    this.#repository = repository;
  }

  /** As statistics name it. */
  get upstream(): string {
    return this.#tools.upstream.name;
  }

  /**
   * What a tag or digest leads to now. Asked by HEAD, which costs nothing of Docker Hub's limit.
   * @throws UpstreamFailure
   */
  async resolve(reference: Tag | Digest, patience: Patience): Promise<Content | undefined> {
    const request = { method: 'HEAD', path: `manifests/${reference}` } as const;
    const answer = await this.#ask('manifests', request, patience);
    if (answer === undefined) return undefined;
    await answer.body?.cancel();
    const digest = answer.headers.get('docker-content-digest') ?? (isDigest(reference) ? reference : '');
    const size = lengthOf(answer);
    const mediaType = answer.headers.get('content-type')?.split(';')[0]?.trim() ?? '';
    if (isDigest(digest) && size !== undefined && mediaType !== '') return { digest, size, mediaType };
    // A registry that does not tell it has to be read.
    const manifest = await this.manifest(reference, patience);
    if (manifest === undefined) return undefined;
    return { digest: manifest.digest, size: manifest.bytes.byteLength, mediaType: manifest.mediaType ?? '' };
  }

  /** @throws UpstreamFailure, also for bytes that do not have the digest that was asked for */
  async manifest(reference: Tag | Digest, patience: Patience = {}): Promise<FetchedManifest | undefined> {
    const wait = this.#tools.limit?.take();
    if (wait !== undefined) {
      const told = `${this.upstream}: the limit that is configured for it is used up for another ${wait} s`;
      throw new UpstreamFailure(told, { status: 429, retryAfter: wait });
    }
    const request = { method: 'GET', path: `manifests/${reference}` } as const;
    const answer = await this.#ask('manifests', request, patience);
    if (answer === undefined) return undefined;
    const bytes = await this.#body(answer, MAX_MANIFEST_BYTES, 'manifest');
    const algorithm = isDigest(reference) ? algorithmOf(reference) : 'sha256';
    const digest = digestOf(algorithm, createHash(algorithm).update(bytes).digest('hex'));
    if (isDigest(reference) && digest !== reference) {
      this.#count();
      throw new UpstreamFailure(`${this.upstream} gave other bytes for ${this.#repository}@${reference}`);
    }
    return { digest, bytes, mediaType: answer.headers.get('content-type')?.split(';')[0]?.trim() };
  }

  /** @throws UpstreamFailure */
  async blob(digest: Digest, signal?: AbortSignal): Promise<FetchedBlob | undefined> {
    const answer = await this.#ask('blobs', { method: 'GET', path: `blobs/${digest}` }, { signal });
    if (answer === undefined) return undefined;
    if (answer.body === null) throw new UpstreamFailure(`${this.upstream} gave no body for ${digest}`);
    return { size: lengthOf(answer), body: answer.body };
  }

  /** What the upstream says of a blob: its size, where it tells one. @throws UpstreamFailure */
  async blobSize(
    digest: Digest,
    signal?: AbortSignal,
  ): Promise<{ readonly size: number | undefined } | undefined> {
    const answer = await this.#ask('blobs', { method: 'HEAD', path: `blobs/${digest}` }, { signal });
    await answer?.body?.cancel();
    return answer === undefined ? undefined : { size: lengthOf(answer) };
  }

  /**
   * The pages of a list as they are read, each the whole answer's bytes. All together have at most `most.bytes`.
   * @param path below the repository
   * @throws UpstreamFailure
   */
  async *pages(path: string, most: { readonly pages: number; readonly bytes: number }, patience: Patience) {
    const { upstream } = this.#tools;
    let next: string | URL | undefined = path;
    let left = most.bytes;
    for (let page = 0; page < most.pages && next !== undefined; page += 1) {
      const answer: Response | undefined = await this.#ask(
        'manifests',
        { method: 'GET', path: next },
        patience,
      );
      if (answer === undefined) return;
      const [, link] = /<([^>]+)>\s*;\s*rel="?next"?/i.exec(answer.headers.get('link') ?? '') ?? [];
      const bytes = await this.#body(answer, left, 'list');
      left -= bytes.byteLength;
      yield bytes;
      const from: URL = next instanceof URL ? next : upstream.api(`${this.#repository}/${next}`);
      next = link === undefined ? undefined : upstream.locate(link, from);
      // A list goes on where it began: elsewhere nobody has a login for us.
      if (next instanceof URL && next.origin !== upstream.url.origin) return;
    }
  }

  async #ask(
    kind: Kind,
    { method, path }: Pick<UpstreamRequest, 'method' | 'path'>,
    { canDoWithout = false, signal }: Patience,
  ): Promise<Response | undefined> {
    const { upstream, health, statistics } = this.#tools;
    const pause = canDoWithout ? health.pause(kind) : health.rest(kind);
    if (pause !== undefined) throw pause;
    try {
      const repository = this.#repository;
      const answer = await upstream.ask({
        method,
        path: path instanceof URL ? path : `${repository}/${path}`,
        repository,
        headers: { accept: ACCEPT },
        signal,
        patienceMs: canDoWithout ? SHORT_PATIENCE : undefined,
      });
      const quota = quotaOf(answer.headers);
      if (quota !== undefined) statistics.quota(upstream.name, quota);
      const { status } = answer;
      if (status === 200) {
        health.answered();
        return answer;
      }
      await answer.body?.cancel();
      if (status === 404) {
        health.answered();
        return undefined;
      }
      throw new UpstreamFailure(`${upstream.name} answered ${status} for ${repository}/${String(path)}`, {
        status,
        retryAfter: retryAfterOf(answer.headers.get('retry-after')),
      });
    } catch (error) {
      if (!(error instanceof UpstreamFailure)) throw error;
      // That we may not have something says nothing of how the upstream is.
      if (error.isRefusal) {
        health.answered();
        statistics.count(upstream.name, 'refused');
        this.#tools.onRefused?.(error.message);
      } else {
        health.failed(kind, error);
        this.#count();
      }
      throw error;
    }
  }

  #count(): void {
    this.#tools.statistics.count(this.upstream, 'failures');
  }

  async #body(answer: Response, most: number, what: string): Promise<Uint8Array> {
    try {
      return await readLimited(answer, most, what);
    } catch (error) {
      this.#count();
      if (error instanceof UpstreamFailure) throw error;
      throw new UpstreamFailure(`${this.upstream} did not finish a ${what}`, { cause: error });
    }
  }
}

function lengthOf(answer: Response): number | undefined {
  const length = answer.headers.get('content-length') ?? '';
  return /^\d{1,15}$/.test(length) ? Number(length) : undefined;
}
