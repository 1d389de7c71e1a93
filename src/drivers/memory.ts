/** Objects in this process's memory: for tests and throw-away registries (`registry:2`'s `inmemory`). */
import {
  type Appends,
  type AppendWriter,
  bodyChunks,
  type ListOptions,
  type Moves,
  type ObjectBody,
  ObjectExists,
  type ObjectInfo,
  ObjectNotFound,
  OffsetMismatch,
  type ReadOptions,
  type ReadsSmall,
  type StorageDriver,
  type Touches,
  type WriteOptions,
} from './driver.ts';

interface Stored {
  readonly chunks: Uint8Array[];
  size: number;
  modified: number;
}

export class MemoryDriver implements StorageDriver, Appends, Moves, ReadsSmall, Touches {
  readonly #objects = new Map<string, Stored>();
  readonly #now: () => number;

  /** @param now the storage's clock, in milliseconds since 1970 */
  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  #find(key: string): Stored {
    const stored = this.#objects.get(key);
    if (stored === undefined) throw new ObjectNotFound(key);
    return stored;
  }

  async stat(key: string): Promise<ObjectInfo> {
    const { size, modified } = this.#find(key);
    return { key, size, modified };
  }

  statSmall(key: string): number | undefined {
    return this.#objects.get(key)?.size;
  }

  readSmall(key: string): Uint8Array | undefined {
    const stored = this.#objects.get(key);
    return stored === undefined ? undefined : Buffer.concat(stored.chunks);
  }

  async read(key: string, options: ReadOptions = {}): Promise<Blob> {
    const { chunks, size } = this.#find(key);
    // Chunks are views of whatever buffer they came in; a Blob takes a copy of the viewed part alone.
    const blob = new Blob(chunks);
    return blob.slice(options.start ?? 0, options.end ?? size);
  }

  async write(key: string, body: ObjectBody, options: WriteOptions = {}): Promise<ObjectInfo> {
    const chunks: Uint8Array[] = [];
    let size = 0;
    options.signal?.throwIfAborted();
    for await (const chunk of body instanceof Uint8Array ? [body] : bodyChunks(body, options.signal)) {
      chunks.push(chunk.slice());
      size += chunk.byteLength;
    }
    if (options.size !== undefined && options.size !== size) {
      throw new Error(`expected ${options.size} bytes to store, got ${size}`);
    }
    if (options.ifAbsent === true && this.#objects.has(key)) throw new ObjectExists(key);
    const modified = this.#now();
    this.#objects.set(key, { chunks, size, modified });
    return { key, size, modified };
  }

  async move(from: string, to: string): Promise<void> {
    const stored = this.#find(from);
    this.#objects.delete(from);
    this.#objects.set(to, stored);
  }

  async touch(key: string): Promise<void> {
    this.#find(key).modified = this.#now();
  }

  async openAppend(key: string, offset: number): Promise<AppendWriter> {
    if (offset === 0 && !this.#objects.has(key)) {
      this.#objects.set(key, { chunks: [], size: 0, modified: this.#now() });
    }
    const stored = this.#find(key);
    if (stored.size !== offset) throw new OffsetMismatch(key, offset, stored.size);
    const now = this.#now;
    return {
      write(chunks) {
        for (const chunk of chunks) {
          stored.chunks.push(chunk.slice());
          stored.size += chunk.byteLength;
        }
        stored.modified = now();
        return Promise.resolve();
      },
      sync: () => Promise.resolve(),
      close: () => Promise.resolve(),
    };
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncIterable<ObjectInfo> {
    const { after = '', delimiter, limit = Number.POSITIVE_INFINITY } = options;
    const found = new Map<string, ObjectInfo>();
    for (const [key, { size, modified }] of this.#objects) {
      if (!key.startsWith(prefix)) continue;
      const slash = delimiter === undefined ? -1 : key.indexOf(delimiter, prefix.length);
      if (slash < 0) found.set(key, { key, size, modified });
      else found.set(key.slice(0, slash), { key: key.slice(0, slash + 1), size: 0, modified: 0 });
    }
    const last = delimiter === undefined ? after : after.replace(/\/$/, '');
    const names = [...found.keys()].filter((name) => name > last).sort();
    for (const name of names.slice(0, Math.min(limit, names.length))) {
      options.signal?.throwIfAborted();
      const entry = found.get(name);
      if (entry !== undefined) yield entry;
    }
  }

  delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      if (!key.endsWith('/')) this.#objects.delete(key);
      else for (const other of this.#objects.keys()) if (other.startsWith(key)) this.#objects.delete(other);
    }
    return Promise.resolve();
  }
}
