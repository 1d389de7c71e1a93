/**
 * The storage contract: bytes by key. A key is a relative path of `/`-separated components, e.g.
 * `docker/registry/v2/blobs/sha256/ab/abcd…/data`. Its shape is an object store's: there are no directories,
 * an object is whole or absent, and what is absent can be deleted.
 */

/** What is known of a stored object, or of a common prefix in a listing with a delimiter. */
export interface ObjectInfo {
  /** The full key. For a common prefix it ends with the delimiter. */
  readonly key: string;
  /** Size in bytes; 0 for a common prefix. */
  readonly size: number;
  /** Time of the last change, in milliseconds since 1970; 0 where a listing does not know it. */
  readonly modified: number;
}

/** Part of an object: bytes from `start` (default 0) up to but not including `end` (default: the size). */
export interface ReadOptions {
  readonly start?: number;
  readonly end?: number;
  readonly signal?: AbortSignal;
}

export interface WriteOptions {
  /** The exact number of bytes that `body` will give, where known. A body of another length is an error. */
  readonly size?: number;
  /** Throw `ObjectExists` instead of replacing. Decided atomically among all processes. */
  readonly ifAbsent?: boolean;
  /** The object may be lost when the machine (not the process) crashes; saves the cost of syncing it. */
  readonly volatile?: boolean;
  readonly signal?: AbortSignal;
}

export interface DeleteOptions {
  /** The objects may be back when the machine crashes; saves the cost of syncing. */
  readonly volatile?: boolean;
  /** None of them is larger than some kilobytes, so that freeing its bytes takes no time. */
  readonly small?: boolean;
}

export interface ListOptions {
  /** Only keys greater than this one. */
  readonly after?: string;
  /** Give each run of keys that share the part up to this delimiter (after the prefix) as one common prefix. */
  readonly delimiter?: '/';
  /** At most so many entries. */
  readonly limit?: number;
  readonly signal?: AbortSignal;
}

export type ObjectBody = Uint8Array | ReadableStream<Uint8Array>;

export interface StorageDriver {
  /** @throws ObjectNotFound */
  stat(key: string): Promise<ObjectInfo>;
  /**
   * The object's bytes: a `Blob` where the runtime can send it without copying it through JavaScript.
   * An object deleted while it is read is read to its end.
   * @throws ObjectNotFound
   */
  read(key: string, options?: ReadOptions): Promise<Blob | ReadableStream<Uint8Array>>;
  /** Stores `body` whole or not at all; on return it is durable (unless `volatile`). @throws ObjectExists */
  write(key: string, body: ObjectBody, options?: WriteOptions): Promise<ObjectInfo>;
  /**
   * The keys that begin with `prefix`, in byte order; with a delimiter, one level of them. In a delimited
   * listing a common prefix is ordered, and compared with `after`, by its name with the delimiter left off.
   * A prefix ends with `/` or is empty.
   */
  list(prefix: string, options?: ListOptions): AsyncIterable<ObjectInfo>;
  /**
   * Deletes the objects; an absent one is no error. A key that ends with `/` stands for everything below it.
   * Visible to every process on return, and durable unless `volatile`.
   */
  delete(keys: readonly string[], options?: DeleteOptions): Promise<void>;
}

/**
 * Optional: objects can grow. The store's uploads use it; without it each PATCH rewrites what came before.
 */
export interface Appends {
  /**
   * Opens the object for writing at `offset`, which must be its present size; creates it when `offset` is 0.
   * At most one writer at a time may exist, which the caller sees to.
   * @throws ObjectNotFound when `offset` is above 0 and there is no object
   * @throws OffsetMismatch when the object's size is another
   */
  openAppend(key: string, offset: number): Promise<AppendWriter>;
}

export interface AppendWriter {
  /** Writes all of the chunks in order. One call at a time. */
  write(chunks: readonly Uint8Array[]): Promise<void>;
  /** Makes durable what was written so far. May run beside `write`. */
  sync(): Promise<void>;
  /** Lets go of the object; what was written stays. */
  close(): Promise<void>;
}

/** Optional: an object can be renamed in one atomic step, durable on return (unless `volatile`). */
export interface Moves {
  /**
   * Replaces what is at `to`. Of several movers of one `from` exactly one succeeds.
   * @throws ObjectNotFound when there is nothing (any more) at `from`
   */
  move(from: string, to: string, options?: { readonly volatile?: boolean }): Promise<void>;
}

/** One step of a `commit`. A moved object's bytes are made durable too. */
export type Change =
  | { readonly write: string; readonly bytes: Uint8Array }
  | { readonly move: string; readonly to: string };

/** Optional: several changes are made durable together, which costs little more than one. */
export interface Commits {
  /**
   * Makes the changes visible in their order, each of them atomically, and all of them durable on return.
   * A crash in between can leave any of the later ones undone.
   * @throws ObjectNotFound when there is nothing at the source of a move
   */
  commit(changes: readonly Change[]): Promise<void>;
}

/** Optional: objects of a few kilobytes are read with less ceremony than by `read`. */
export interface ReadsSmall {
  /** The object's bytes, or undefined when there is none. Meant for objects of up to 4 MiB. */
  readSmall(key: string): Uint8Array | undefined;
  /** The object's size in bytes, or undefined when there is none. */
  statSmall(key: string): number | undefined;
}

/** Optional: one level of keys as a whole, without asking for what the entries are. */
export interface ListsNames {
  /**
   * The names of the next components of the keys below `prefix` (`''` or ending with `/`), in byte order. A name
   * may stand for an object, for keys below it, or for what is left of keys that are deleted or not there
   * yet. The array is the very same one for as long as the level is known not to have changed, so that what
   * was learnt about its entries can be kept with it.
   */
  names(prefix: string): readonly string[] | Promise<readonly string[]>;
}

/** The level of keys below a prefix is found elsewhere too. */
export interface Alias {
  /** Where that is, for the operator. */
  readonly path: string;
  /** The prefix of the same level that leads there otherwise; undefined where the whole storage is only a part of it. */
  readonly prefix?: string;
}

/** Optional: the same level of keys may be found below several prefixes, as by symbolic links between folders. */
export interface FindsAliases {
  /**
   * Whether the level below `prefix` is found elsewhere below `within` too, with which `prefix` begins. Of several prefixes of
   * a level at least one is no alias. Only the last component is looked at: who walks has come through the others.
   */
  aliasOf(prefix: string, within: string): Alias | undefined;
  /**
   * The prefix below `within` to which the links in `prefix`, at any of its components, lead; itself where there are none, or
   * where they lead to what is not below `within`. What is not there (yet) counts as below what is. Cheap enough for each
   * request: a link that is made or changed may count only a second later.
   */
  realPrefix(prefix: string, within: string): string;
}

/** Optional: what seems absent may be out of reach, as behind a symbolic link to a disk that is not mounted. */
export interface FindsLost {
  /**
   * Why nobody can say what is at a key, or below a prefix, at which nothing was found; undefined where nothing is. Costs a
   * look at the folder that it would be in.
   */
  lostAt(keyOrPrefix: string): StorageFailure | undefined;
}

/** Optional: an object's time of change can be set to now without writing it anew. */
export interface Touches {
  /** @throws ObjectNotFound */
  touch(key: string): Promise<void>;
}

/** Optional: an object is a file of this machine, that another thread can open. */
export interface LocalFiles {
  localPath(key: string): string;
}

/** There is no object at the key. */
export class ObjectNotFound extends Error {
  override readonly name = 'ObjectNotFound';
  readonly key: string;
  constructor(key: string) {
    super(`no object at ${key}`);
    this.key = key;
  }
}

/** `ifAbsent` was asked for and there is an object already. */
export class ObjectExists extends Error {
  override readonly name = 'ObjectExists';
  readonly key: string;
  constructor(key: string) {
    super(`there is an object at ${key} already`);
    this.key = key;
  }
}

/** An append was asked for at another offset than the object's size. */
export class OffsetMismatch extends Error {
  override readonly name = 'OffsetMismatch';
  /** The object's size in bytes. */
  readonly size: number;
  constructor(key: string, offset: number, size: number) {
    super(`cannot append to ${key} at ${offset}: it has ${size} bytes`);
    this.size = size;
  }
}

/**
 * The storage cannot take the write (no space, no right, read-only, an I/O error). The message is for the
 * operator; a client is told only that storage is unavailable.
 */
export class StorageFailure extends Error {
  override readonly name = 'StorageFailure';
  /** The system's error code, e.g. `ENOSPC`. */
  readonly code: string;
  constructor(message: string, code: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

/** Whether a write failed for want of room: reading and deleting still work then. */
export function isFull(error: unknown): error is StorageFailure {
  return error instanceof StorageFailure && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
}

const UNWRITABLE = new Set(['EROFS', 'EACCES', 'EPERM']);

/** Whether a write failed because the storage, or a part of it, may only be read: reading works then, mostly. */
export function isUnwritable(error: unknown): error is StorageFailure {
  return error instanceof StorageFailure && UNWRITABLE.has(error.code);
}

export function canAppend<D extends StorageDriver>(driver: D): driver is D & Appends {
  return 'openAppend' in driver;
}

export function canMove<D extends StorageDriver>(driver: D): driver is D & Moves {
  return 'move' in driver;
}

export function canCommit<D extends StorageDriver>(driver: D): driver is D & Commits {
  return 'commit' in driver;
}

export function canReadSmall<D extends StorageDriver>(driver: D): driver is D & ReadsSmall {
  return 'readSmall' in driver;
}

export function canListNames<D extends StorageDriver>(driver: D): driver is D & ListsNames {
  return 'names' in driver;
}

export function canFindAliases<D extends StorageDriver>(driver: D): driver is D & FindsAliases {
  return 'aliasOf' in driver;
}

export function canFindLost<D extends StorageDriver>(driver: D): driver is D & FindsLost {
  return 'lostAt' in driver;
}

export function canTouch<D extends StorageDriver>(driver: D): driver is D & Touches {
  return 'touch' in driver;
}

export function hasLocalFiles<D extends StorageDriver>(driver: D): driver is D & LocalFiles {
  return 'localPath' in driver;
}

/**
 * The chunks of a body that is stored. An abort ends also a body that has stalled, and is thrown as the signal's
 * reason; a body that is not read to its end is cancelled.
 */
export async function* bodyChunks(
  body: ReadableStream<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncIterable<Uint8Array> {
  const reader = body.getReader();
  const cancel = () => void reader.cancel(signal?.reason).catch(() => undefined);
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    signal?.throwIfAborted();
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      signal?.throwIfAborted();
      yield next.value;
    }
    signal?.throwIfAborted();
  } finally {
    signal?.removeEventListener('abort', cancel);
    cancel();
  }
}

/** Index of the first of the sorted names that is greater than `after`. */
export function firstAfter(names: readonly string[], after: string): number {
  let low = 0;
  let high = names.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((names[middle] ?? '') > after) high = middle;
    else low = middle + 1;
  }
  return low;
}
