/** The blobs that are being fetched: each once, whichever of the processes of this storage is asked for it. */
import type { Logger } from '../log.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { Repository } from '../oci/registry.ts';
import { BlobTransfer } from './blob-transfer.ts';
import type { Admission, CacheSpace } from './cache-space.ts';
import { FETCHING, fetchingKey, type StateStorage } from './cache-state.ts';
import { CacheClaim, type ClaimNote, look } from './claims.ts';
import { streamOf, WrittenBytes } from './follow-upload.ts';
import { found } from './found.ts';
import type { CacheStatistics } from './statistics.ts';
import type { UpstreamContent } from './upstream-content.ts';
import { UpstreamFailure } from './upstream-failure.ts';

/** A blob on its way, of whichever process. */
export interface Transfer {
  /** Bytes, as the upstream told; undefined where it did not. */
  readonly size: number | undefined;
  /** Fulfilled when the blob is in the local registry; rejected when it will not be. */
  readonly done: Promise<void>;
  read(start: number, end: number): ReadableStream<Uint8Array>;
}

/** `kept`: it has come meanwhile. undefined: the upstream does not have it. */
export type TransferOutcome = Transfer | 'kept' | undefined;

export interface TransfersOptions {
  readonly storage: StateStorage;
  readonly space: CacheSpace;
  readonly statistics: CacheStatistics;
  readonly lookEveryMs?: number | undefined;
  readonly log: Pick<Logger, 'warn'>;
}

/** Milliseconds between two looks at what another process does. */
const LOOK_EVERY = 20;
/** Milliseconds that another process may take until its transfer begins. */
const BEGINS_WITHIN = 60_000;

export class Transfers {
  readonly #options: TransfersOptions;
  readonly #running = new Map<string, Promise<TransferOutcome>>();

  constructor(options: TransfersOptions) {
    this.#options = options;
  }

  /** The one transfer of that blob. It goes on when its first client leaves: the next one will want it. */
  get(local: Repository, upstream: UpstreamContent, digest: Digest): Promise<TransferOutcome> {
    const key = `${local.name}@${digest}`;
    const running = this.#running.get(key);
    if (running !== undefined) return running;
    const started = this.#start(local, upstream, digest);
    this.#running.set(key, started);
    const forget = () => {
      if (this.#running.get(key) === started) this.#running.delete(key);
    };
    started.then(
      (outcome) => (typeof outcome === 'object' ? void outcome.done.then(forget, forget) : forget()),
      forget,
    );
    return started;
  }

  async #start(local: Repository, upstream: UpstreamContent, digest: Digest): Promise<TransferOutcome> {
    const { storage } = this.#options;
    const key = fetchingKey(local.name, digest);
    for (const until = Date.now() + BEGINS_WITHIN; ;) {
      const claim = await CacheClaim.take(storage, key);
      if ((await found(local.blobs.stat(digest))) !== undefined) {
        await claim?.release();
        return 'kept';
      }
      if (claim !== undefined) return this.#fetch(local, upstream, digest, claim);
      const note = await look(storage, key);
      const followed = note === undefined ? undefined : this.#follow(local, digest, key, note);
      if (followed !== undefined) return followed;
      if (Date.now() > until) throw new UpstreamFailure('another process has not begun to fetch it in time');
      await pause();
    }
  }

  async #fetch(
    local: Repository,
    upstream: UpstreamContent,
    digest: Digest,
    claim: CacheClaim,
  ): Promise<Transfer | undefined> {
    const { space, statistics, lookEveryMs, log } = this.#options;
    const content = { name: local.name, kind: 'blobs', digest } as const;
    // A body that nobody reads on would keep its connection.
    const end = new AbortController();
    let kept: Admission | undefined;
    try {
      await cancelUpload(local, claim.replaced);
      const fetched = await upstream.blob(digest, end.signal);
      if (fetched === undefined) {
        await claim.release();
        return undefined;
      }
      const { size } = fetched;
      const room = await space.admit({ ...content, size: size ?? 0 });
      kept = room;
      const { id } = await local.uploads.start();
      await claim.tell({ upload: id, ...(size === undefined ? {} : { size }) });
      const onBytes = (count: number) => statistics.count(upstream.upstream, 'bytesFetched', count);
      const transfer = new BlobTransfer({ local, digest, fetched, upload: id, onBytes, lookEveryMs });
      transfer.done
        .then(
          async () => {
            const { size: whole } = await local.blobs.stat(digest);
            if (whole !== size) await room.withdraw();
            await space.settle({ ...content, size: whole });
          },
          (error: unknown) => {
            end.abort();
            statistics.count(upstream.upstream, 'failures');
            const reason = error instanceof Error ? error.message : String(error);
            log.warn(`${local.name}: a blob did not come whole`, { digest, reason });
            return room.withdraw();
          },
        )
        .catch(() => undefined)
        .then(() => claim.release())
        .catch(() => undefined);
      return transfer;
    } catch (error) {
      end.abort();
      await kept?.withdraw().catch(() => undefined);
      await claim.release();
      throw error;
    }
  }

  /** What another process fetches; undefined until it has begun. */
  #follow(local: Repository, digest: Digest, key: string, { upload, size }: ClaimNote): Transfer | undefined {
    if (typeof upload !== 'string') return undefined;
    const { storage } = this.#options;
    const done = (async () => {
      while ((await found(local.blobs.stat(digest))) === undefined) {
        const note = await look(storage, key);
        if (note?.['upload'] !== upload && (await found(local.blobs.stat(digest))) === undefined) {
          throw new UpstreamFailure('the process that fetched it has not brought it to an end');
        }
        await pause();
      }
    })();
    done.catch(() => undefined); // told to the readers
    if (typeof size !== 'number') return { size: undefined, done, read: () => streamOf(nothing()) };
    const more = () => Promise.race([pause(), done]);
    const written = new WrittenBytes({ local, digest, upload, done, more });
    return { size, done, read: (start, end) => streamOf(written.read(start, end)) };
  }

  /** Removes what processes left behind that died while they fetched. */
  async sweep(repository: (name: RepositoryName) => Repository): Promise<void> {
    const { storage } = this.#options;
    for await (const { key } of storage.driver.list(FETCHING)) {
      const [, name] = /^(.+)\/_blobs\/[^/]+$/.exec(key.slice(FETCHING.length)) ?? [];
      if (name === undefined || (await look(storage, key)) !== undefined) continue;
      const claim = await CacheClaim.take(storage, key);
      if (claim === undefined) continue;
      const local = repository(name as RepositoryName);
      await cancelUpload(local, claim.replaced);
      const digest = key.slice(key.lastIndexOf('/') + 1).replace('-', ':');
      const size = claim.replaced?.['size'];
      // It is counted since its fetch began, and will not come.
      if (isDigest(digest) && (await found(local.blobs.stat(digest))) === undefined) {
        await this.#options.space.withdraw({
          name: local.name,
          kind: 'blobs',
          digest,
          size: typeof size === 'number' ? size : 0,
        });
      }
      await claim.release();
    }
  }
}

async function cancelUpload(local: Repository, note: ClaimNote | undefined): Promise<void> {
  const upload = note?.['upload'];
  if (typeof upload === 'string') await local.uploads.cancel(upload).catch(() => undefined);
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, LOOK_EVERY));
}

// oxlint-disable-next-line require-yield
async function* nothing(): AsyncGenerator<Uint8Array, undefined> {
  throw new Error('a transfer without a size cannot be read while it runs');
}
