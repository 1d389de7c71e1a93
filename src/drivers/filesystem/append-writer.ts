import { closeSync, constants, fstatSync, openSync, writev, writevSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { type AppendWriter, ObjectNotFound, OffsetMismatch, StorageFailure } from '../driver.ts';
import { makeDirectory, syncData } from './durability.ts';
import { isAbsent, storageError, systemFailure } from './failures.ts';

const writeAll = promisify(writev);

/** How often a directory that another process prunes under a writer's feet is made again. */
const ATTEMPTS = 100;

/** Bytes that are written on the event loop: about 20 µs of its time. */
const AT_ONCE = 64 * 1024;

const TO_WRITE = constants.O_WRONLY;
const TO_CREATE = constants.O_WRONLY | constants.O_CREAT;

/** Opens a file to be written on from `offset`, which must be its size. */
export function openAppend(key: string, path: string, offset: number): AppendWriter {
  const fd = openForWriting(key, path, offset);
  const size = fstatSync(fd).size;
  if (size !== offset) {
    closeSync(fd);
    throw new OffsetMismatch(key, offset, size);
  }
  return new FileAppendWriter(fd, key, path, offset);
}

function openForWriting(key: string, path: string, offset: number): number {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return openSync(path, offset === 0 ? TO_CREATE : TO_WRITE, 0o644);
    } catch (error) {
      if (offset > 0 && isAbsent(error)) throw new ObjectNotFound(key);
      if (!isAbsent(error) || attempt >= ATTEMPTS) throw systemFailure(error, path);
    }
    try {
      makeDirectory(dirname(path));
    } catch (error) {
      // Its own parent may be pruned at the same moment.
      if (!isAbsent(error) || attempt >= ATTEMPTS) throw systemFailure(error, path);
    }
  }
}

class FileAppendWriter implements AppendWriter {
  readonly #fd: number;
  readonly #key: string;
  readonly #path: string;
  #offset: number;

  constructor(fd: number, key: string, path: string, offset: number) {
    this.#fd = fd;
    this.#key = key;
    this.#path = path;
    this.#offset = offset;
  }

  async write(chunks: readonly Uint8Array[]): Promise<void> {
    let rest = chunks.filter((chunk) => chunk.byteLength > 0);
    while (rest.length > 0) {
      let written: number;
      try {
        written = await this.#writeSome(rest);
      } catch (error) {
        throw storageError(error, this.#key, this.#path);
      }
      if (written === 0) throw new StorageFailure(`${this.#path}: nothing could be written`, 'EIO');
      this.#offset += written;
      rest = without(rest, written);
    }
  }

  /** A few pages go into the page cache faster than a thread is woken. */
  async #writeSome(chunks: Uint8Array[]): Promise<number> {
    let size = 0;
    for (const chunk of chunks) size += chunk.byteLength;
    if (size <= AT_ONCE) return writevSync(this.#fd, chunks, this.#offset);
    return (await writeAll(this.#fd, chunks, this.#offset)).bytesWritten;
  }

  async sync(): Promise<void> {
    try {
      await syncData(this.#fd);
    } catch (error) {
      throw storageError(error, this.#key, this.#path);
    }
  }

  close(): Promise<void> {
    closeSync(this.#fd);
    return Promise.resolve();
  }
}

/** The chunks that remain after the first `bytes` bytes were taken: a disk may take less than it is given. */
function without(chunks: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let skip = bytes;
  const rest: Uint8Array[] = [];
  for (const chunk of chunks) {
    if (skip >= chunk.byteLength) skip -= chunk.byteLength;
    else {
      rest.push(skip === 0 ? chunk : chunk.subarray(skip));
      skip = 0;
    }
  }
  return rest;
}
