import { createHash, randomUUID } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { StorageFailure } from '../drivers/driver.ts';
import type { Algorithm, Digest } from '../oci/digest.ts';
import { algorithmOf, digestOf } from '../oci/digest.ts';
import { MEDIA_TYPE } from '../oci/descriptor.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { Chunk, Content, HeldBytes, Uploads, UploadStatus } from '../oci/registry.ts';
import { type Checkpoint, readCheckpoint, writeCheckpoint } from './checkpoint.ts';
import { Claim, findUploadFile, unknownUpload } from './claims.ts';
import type { Hashing, RunningDigest } from './hashing.ts';
import { blobKey, layerLinkKey, uploadPrefix } from './layout.ts';
import type { LiveDigests } from './live-digests.ts';
import { linkBytes, type Objects, streamOf } from './objects.ts';
import { receive } from './receive.ts';
import { presentSize } from './trash.ts';

/** What the uploads of all repositories of one process share. */
export interface UploadTools {
  readonly objects: Objects;
  readonly hashing: Hashing;
  readonly live: LiveDigests;
}

/** An upload that this process has the right to write. */
interface Session {
  readonly id: string;
  readonly prefix: string;
  readonly claim: Claim;
  /** Bytes in the file. */
  offset: number;
  /** The digest of exactly those bytes, where it is known without reading them again. */
  running: RunningDigest | undefined;
}

/** The upload sessions of one repository. The truth is in the storage; any process can take any request. */
export class StoredUploads implements Uploads {
  readonly #tools: UploadTools;
  readonly #name: RepositoryName;

  constructor(tools: UploadTools, name: RepositoryName) {
    this.#tools = tools;
    this.#name = name;
  }

  async start({ algorithm = 'sha256' }: { algorithm?: Algorithm } = {}): Promise<UploadStatus> {
    const { objects } = this.#tools;
    const id = randomUUID();
    const prefix = uploadPrefix(this.#name, id);
    const startedAt = Date.now();
    const time = Buffer.from(`${new Date(startedAt).toISOString().slice(0, 19)}Z`);
    const writer = await objects.openAppend(`${prefix}data`, 0);
    await writer.close();
    await objects.driver.write(`${prefix}startedat`, time, { volatile: true });
    if (algorithm !== 'sha256') await writeCheckpoint(objects, prefix, { algorithm, offset: -1, hex: '' });
    return { id, offset: 0, startedAt };
  }

  async status(id: string): Promise<UploadStatus> {
    const { objects } = this.#tools;
    const prefix = uploadPrefix(this.#name, id);
    const file = await findUploadFile(objects, prefix);
    const startedAt = await this.#startedAt(prefix);
    if (file === undefined && startedAt === 0) throw unknownUpload();
    return { id, offset: file?.size ?? 0, startedAt };
  }

  /** Milliseconds since 1970; 0 when it is not recorded. */
  async #startedAt(prefix: string): Promise<number> {
    const started = await this.#tools.objects.bytes(`${prefix}startedat`);
    return (started === undefined ? 0 : Date.parse(Buffer.from(started).toString())) || 0;
  }

  async append(id: string, chunk: Chunk): Promise<UploadStatus> {
    return this.#withSession(id, chunk.signal, async (session) => {
      const checkpoint = await readCheckpoint(this.#tools.objects, session.prefix);
      await this.#receive(session, chunk, checkpoint?.algorithm ?? 'sha256', { sync: true });
      if (!(await this.#tools.objects.exists(session.claim.key))) throw unknownUpload(); // cancelled meanwhile
      const { running } = session;
      if (running !== undefined) {
        const hex = await running.digest();
        await writeCheckpoint(this.#tools.objects, session.prefix, {
          algorithm: running.algorithm,
          offset: session.offset,
          hex,
        });
      }
      return { id, offset: session.offset, startedAt: await this.#startedAt(session.prefix) };
    });
  }

  async finish(id: string, digest: Digest, chunk: Chunk = { body: null }): Promise<Content> {
    return this.#withSession(id, chunk.signal, async (session) => {
      const algorithm = algorithmOf(digest);
      await this.#receive(session, chunk, algorithm, { sync: false }); // the commit syncs
      if (digestOf(algorithm, await this.#digest(session, algorithm)) !== digest) {
        await session.claim.discard();
        throw new RegistryError('DIGEST_INVALID', 'the content does not have the digest that was given', {
          detail: { digest },
        });
      }
      chunk.onVerified?.();
      await this.#commit(session, digest);
      return { digest, size: session.offset, mediaType: MEDIA_TYPE.octetStream };
    });
  }

  async peek(id: string, start: number, most: number): Promise<Uint8Array | undefined> {
    const { objects } = this.#tools;
    const prefix = uploadPrefix(this.#name, id);
    // Looked for twice: between the two steps the file may change its name.
    for (let round = 0; round < 2; round += 1) {
      const file = await findUploadFile(objects, prefix);
      if (file === undefined) return undefined;
      const end = Math.min(file.size, start + most);
      if (end <= start) return new Uint8Array();
      try {
        const body = await objects.driver.read(file.key, { start, end });
        return new Uint8Array(await new Response(body).arrayBuffer());
      } catch (error) {
        if (await objects.exists(file.key)) throw error;
      }
    }
    return undefined;
  }

  async hold(id: string): Promise<HeldBytes | undefined> {
    const { objects } = this.#tools;
    const prefix = uploadPrefix(this.#name, id);
    for (let round = 0; round < 5; round += 1) {
      const file = await findUploadFile(objects, prefix);
      const path = file === undefined ? undefined : objects.localPath(file.key);
      if (path === undefined) return undefined;
      try {
        return heldFile(await open(path, 'r'));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error; // it has another name by now
      }
    }
    return undefined;
  }

  async cancel(id: string): Promise<void> {
    const { objects, live } = this.#tools;
    const prefix = uploadPrefix(this.#name, id);
    if ((await findUploadFile(objects, prefix)) === undefined) throw unknownUpload();
    live.drop(id);
    // A writer that is at work loses the name of its file, and with it the right to finish. It may be renaming the
    // file at this very moment, which a removal can miss, so it is looked for again.
    for (let attempt = 0; attempt < 5; attempt += 1) {
      await objects.driver.delete([prefix]);
      if ((await findUploadFile(objects, prefix)) === undefined) return;
    }
  }

  /** Runs `work` with the exclusive right to write; afterwards, and after a failure, the session goes on. */
  async #withSession<T>(
    id: string,
    signal: AbortSignal | undefined,
    work: (session: Session) => Promise<T>,
  ): Promise<T> {
    const { objects, live } = this.#tools;
    const prefix = uploadPrefix(this.#name, id);
    const claim = await Claim.take(objects, prefix, signal);
    let session: Session | undefined;
    try {
      const offset = (await objects.size(claim.key)) ?? 0;
      session = { id, prefix, claim, offset, running: live.take(id, offset) };
      return await work(session);
    } catch (error) {
      if (!isTold(error) && !(await objects.exists(claim.key))) throw unknownUpload(); // cancelled meanwhile
      // After a failed sync the system may have dropped pages and call the next sync a success: the bytes that
      // it held cannot be acknowledged any more, so the client has to send them again.
      if (error instanceof StorageFailure && error.code === 'EIO' && claim.held) await claim.discard();
      throw error;
    } finally {
      if (claim.held) {
        if (session?.running !== undefined) {
          live.keep(id, session.running, async () => (await findUploadFile(objects, prefix)) !== undefined);
        }
        await claim.release();
      } else session?.running?.stop();
    }
  }

  /** Takes in the chunk's body and keeps the session's running digest in step. */
  async #receive(
    session: Session,
    chunk: Chunk,
    algorithm: Algorithm,
    { sync }: { sync: boolean },
  ): Promise<void> {
    const { objects, hashing } = this.#tools;
    if (chunk.offset !== undefined && chunk.offset !== session.offset) throw outOfOrder(session.offset);
    const { key } = session.claim;
    let running = session.running;
    session.running = undefined;
    const writer = await objects.openAppend(key, session.offset);
    try {
      if (running !== undefined && running.algorithm !== algorithm && session.offset === 0) {
        running.stop();
        running = undefined;
      }
      running?.moved(objects.localPath(key));
      if (running === undefined && session.offset === 0)
        running = hashing.start(algorithm, objects.localPath(key));
      session.running =
        chunk.body === null ? running : await receive({ ...chunk, body: chunk.body }, writer, running);
      if (sync) await writer.sync();
    } catch (error) {
      running?.stop();
      session.running = undefined;
      throw error;
    } finally {
      await writer.close();
      session.offset = (await objects.size(key)) ?? session.offset;
    }
  }

  /** The hexadecimal digest of all that was received: known, or recorded at the last PATCH, or computed now. */
  async #digest(session: Session, algorithm: Algorithm): Promise<string> {
    const { objects, hashing } = this.#tools;
    const { running, offset, claim } = session;
    if (running?.algorithm === algorithm && running.offset === offset) return running.digest();
    const checkpoint = await readCheckpoint(objects, session.prefix);
    if (covers(checkpoint, algorithm, offset)) return checkpoint.hex;
    const path = objects.localPath(claim.key);
    if (path !== undefined) return hashing.ofFile(algorithm, path, offset);
    const hash = createHash(algorithm);
    for await (const bytes of streamOf(await objects.driver.read(claim.key))) hash.update(bytes);
    return hash.digest('hex');
  }

  /** Makes the session's file a blob and links it; durable on return. */
  async #commit(session: Session, digest: Digest): Promise<void> {
    const { objects, live } = this.#tools;
    const { claim, prefix, offset } = session;
    const key = blobKey(digest);
    const settled = await objects.isSettled(key, offset);
    // From here on the session is over for everybody else, also while its file moves.
    await objects.driver.delete([`${prefix}startedat`], { volatile: true });
    const link = { write: layerLinkKey(this.#name, digest), bytes: linkBytes(digest) };
    if (settled) await objects.commit([link]);
    // They may have been on their way out when they were found (trash.ts).
    if (settled && (await presentSize(objects, digest)) !== undefined) await claim.discard();
    else {
      await claim.commit(key, link);
      await objects.driver.delete([prefix], { volatile: true });
    }
    live.drop(session.id);
  }
}

/** An open file is read on under whatever name, and after it has none any more. */
function heldFile(file: FileHandle): HeldBytes {
  return {
    async read(start, most) {
      const { bytesRead, buffer } = await file.read(new Uint8Array(most), 0, most, start);
      return buffer.subarray(0, bytesRead);
    },
    close: () => file.close(),
  };
}

/** Whether the error says by itself what went wrong, also where the upload has gone since. */
function isTold(error: unknown): boolean {
  return error instanceof RegistryError || error instanceof StorageFailure;
}

function covers(
  checkpoint: Checkpoint | undefined,
  algorithm: Algorithm,
  offset: number,
): checkpoint is Checkpoint {
  return checkpoint?.algorithm === algorithm && checkpoint.offset === offset;
}

/** The spec's answer to a chunk that does not begin where the last one ended; the session goes on. */
function outOfOrder(offset: number): RegistryError {
  return new RegistryError('BLOB_UPLOAD_INVALID', `the next byte of this upload is ${offset}`, {
    status: 416,
    detail: { offset },
  });
}
