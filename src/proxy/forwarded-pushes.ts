/**
 * Pushes to a name of another registry, handed on to it. A blob is taken in here first, checked, and sent on from here,
 * so a client waits once for both; a manifest is acknowledged when the upstream has taken it.
 */
import { createHash } from 'node:crypto';
import { algorithmOf, digestOf } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { Content, Manifests, Uploads } from '../oci/registry.ts';
import type { CachedPlace } from './cached-place.ts';
import { found } from './found.ts';
import type { Upstream, UpstreamRequest } from './upstream.ts';
import { UpstreamFailure } from './upstream-failure.ts';
import type { RepositoryName } from '../oci/name.ts';

export interface ForwardOptions {
  readonly place: CachedPlace;
  readonly upstream: Upstream;
  /** As the upstream calls it. */
  readonly repository: RepositoryName;
}

const ACTIONS = 'pull,push';

export class ForwardedPushes {
  readonly #options: ForwardOptions;

  constructor(options: ForwardOptions) {
    this.#options = options;
  }

  /** Sessions are our own; the blob goes on when it is whole. */
  get uploads(): Uploads {
    const { uploads } = this.#options.place.local;
    return {
      start: (options) => uploads.start(options),
      status: (id) => uploads.status(id),
      append: (id, chunk) => uploads.append(id, chunk),
      cancel: (id) => uploads.cancel(id),
      finish: async (id, digest, chunk) => {
        const wasThere = (await found(this.#options.place.local.blobs.stat(digest))) !== undefined;
        const content = await uploads.finish(id, digest, chunk);
        await this.#sendBlob(content, wasThere);
        return content;
      },
    };
  }

  async put(manifest: Parameters<Manifests['put']>[0]): ReturnType<Manifests['put']> {
    const { place } = this.#options;
    const { bytes, mediaType = 'application/vnd.oci.image.manifest.v1+json', tags, precondition } = manifest;
    if (precondition !== undefined) {
      throw new RegistryError('UNSUPPORTED', 'a condition cannot be handed on to another registry');
    }
    const algorithm = manifest.digest === undefined ? 'sha256' : algorithmOf(manifest.digest);
    const digest = digestOf(algorithm, createHash(algorithm).update(bytes).digest('hex'));
    if (manifest.digest !== undefined && manifest.digest !== digest) {
      throw new RegistryError('DIGEST_INVALID', 'the manifest does not have the digest that was given');
    }
    for (const reference of tags.length === 0 ? [digest] : tags) {
      const answer = await this.#ask({
        method: 'PUT',
        path: `${this.#options.repository}/manifests/${reference}`,
        headers: { 'content-type': mediaType },
        body: bytes,
      });
      await this.#expect(answer, [201, 202], `manifest ${reference}`);
    }
    const put = await place.local.manifests.put({ ...manifest, digest });
    await place.tools.space.settle({
      name: place.local.name,
      kind: 'manifests',
      digest,
      size: bytes.byteLength,
    });
    const asked = place.tools.now();
    for (const tag of tags) await place.tools.records.note(place.local.name, tag, { digest, asked });
    return put;
  }

  /** @param wasThere whether it was kept before, as something that was pulled */
  async #sendBlob({ digest, size }: Content, wasThere: boolean): Promise<void> {
    const { place, upstream, repository } = this.#options;
    const { local, tools } = place;
    try {
      const there = await this.#ask({ method: 'HEAD', path: `${repository}/blobs/${digest}` });
      await there.body?.cancel();
      if (there.status !== 200) {
        const begun = await this.#ask({ method: 'POST', path: `${repository}/blobs/uploads/` });
        const location = begun.headers.get('location');
        await this.#expect(begun, [202], 'upload');
        if (location === null) throw new UpstreamFailure(`${upstream.name} begins no upload`);
        const url = upstream.locate(location, upstream.api(`${repository}/blobs/uploads/`));
        url.searchParams.set('digest', digest);
        const body = async () => {
          const opened = await local.blobs.open(digest);
          return opened.body instanceof Blob ? opened.body.stream() : opened.body;
        };
        const headers = { 'content-type': 'application/octet-stream', 'content-length': String(size) };
        // It takes as long as the upstream takes it in: no limit for the answer's beginning but that.
        const sent = await this.#ask({ method: 'PUT', path: url, headers, body, patienceMs: SEND_WITHIN });
        await this.#expect(sent, [201], `blob ${digest}`);
      }
    } catch (error) {
      // What the upstream did not take is not here either, so that the client comes again.
      if (!wasThere) await tools.space.remove([{ name: local.name, kind: 'blobs', digest, size }]);
      throw error;
    }
    await tools.space.settle({ name: local.name, kind: 'blobs', digest, size });
  }

  #ask(request: Omit<UpstreamRequest, 'repository' | 'actions'>): Promise<Response> {
    const { upstream, repository } = this.#options;
    return upstream.ask({ ...request, repository, actions: ACTIONS });
  }

  /** @throws RegistryError for what the upstream refuses, UpstreamFailure for the rest */
  async #expect(answer: Response, statuses: readonly number[], what: string): Promise<void> {
    await answer.body?.cancel();
    const { status } = answer;
    if (statuses.includes(status)) return;
    const { name } = this.#options.upstream;
    if (status === 401 || status === 403 || status === 405) {
      const told = `the upstream does not let this registry push: ${what}`;
      throw new RegistryError('DENIED', told, { detail: { upstream: name, status } });
    }
    if (status >= 400 && status < 500 && status !== 429) {
      throw new RegistryError('MANIFEST_INVALID', `the upstream refuses the ${what}`, {
        status: 400,
        detail: { upstream: name, status },
      });
    }
    throw new UpstreamFailure(`${name} answered ${status} for a push: ${what}`, { status });
  }
}

/** Milliseconds that an upstream may take for a whole blob. */
const SEND_WITHIN = 30 * 60_000;
