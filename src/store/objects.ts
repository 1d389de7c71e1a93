/**
 * The driver with every optional capability filled in: what a driver cannot do itself is done here, more
 * slowly, with the five methods that each has.
 */
import {
  type Alias,
  type AppendWriter,
  type Change,
  canAppend,
  canCommit,
  canFindLost,
  canFindAliases,
  canListNames,
  canMove,
  canReadSmall,
  canTouch,
  hasLocalFiles,
  type ListOptions,
  type ObjectInfo,
  ObjectNotFound,
  OffsetMismatch,
  type StorageDriver,
} from '../drivers/driver.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import { moveByCopy } from './move-by-copy.ts';

const TEXT = new TextDecoder('latin1');

/** Milliseconds after which an object is durable, whoever wrote it: until then its writer may not have synced it. */
const SETTLED_AFTER = 60_000;

/** How often a small object is read that goes and comes again meanwhile. */
const READINGS = 10;

export class Objects {
  readonly driver: StorageDriver;
  readonly #small;
  readonly #moves;
  readonly #appends;
  readonly #local;
  readonly #names;
  readonly #commits;
  readonly #touches;
  readonly #aliases;
  readonly #lost;

  /** @param isStrict see `strict` */
  constructor(driver: StorageDriver, isStrict = false) {
    this.driver = driver;
    this.#small = canReadSmall(driver) ? driver : undefined;
    this.#moves = canMove(driver) ? driver : undefined;
    this.#appends = canAppend(driver) ? driver : undefined;
    this.#local = hasLocalFiles(driver) ? driver : undefined;
    this.#commits = canCommit(driver) ? driver : undefined;
    this.#touches = canTouch(driver) ? driver : undefined;
    this.#aliases = canFindAliases(driver) ? driver : undefined;
    this.#names = canListNames(driver) ? driver : undefined;
    this.#lost = isStrict && canFindLost(driver) ? driver : undefined;
  }

  /**
   * The same storage, for who removes, counts or repairs by what he does not find: what seems absent because a folder on the
   * way to it is out of reach (see `FindsLost`) fails with a StorageFailure. Clients are told by the other that it is absent.
   */
  strict(): Objects {
    return new Objects(this.driver, true);
  }

  /** @throws StorageFailure where it is not known that nothing is there */
  #absent(keyOrPrefix: string): undefined {
    const failure = this.#lost?.lostAt(keyOrPrefix);
    if (failure !== undefined) throw failure;
    return undefined;
  }

  /** The bytes of a small object, or undefined when there is none. */
  async bytes(key: string): Promise<Uint8Array | undefined> {
    if (this.#small !== undefined) return this.#small.readSmall(key) ?? this.#absent(key);
    for (let attempt = 1; ; attempt += 1) {
      try {
        return new Uint8Array(await new Response(await this.driver.read(key)).arrayBuffer());
      } catch (error) {
        // It may also have been deleted between the opening and the reading, which ends with an error of the runtime's;
        // and another may be there by now, as of a lock.
        if (error instanceof ObjectNotFound || (await this.info(key)) === undefined) return undefined;
        if (attempt === READINGS) throw error;
      }
    }
  }

  /** The size in bytes of an object, or undefined when there is none. */
  async size(key: string): Promise<number | undefined> {
    if (this.#small !== undefined) return this.#small.statSmall(key) ?? this.#absent(key);
    return (await this.info(key))?.size;
  }

  async info(key: string): Promise<ObjectInfo | undefined> {
    try {
      return await this.driver.stat(key);
    } catch (error) {
      if (error instanceof ObjectNotFound) return this.#absent(key);
      throw error;
    }
  }

  async exists(key: string): Promise<boolean> {
    return (await this.size(key)) !== undefined;
  }

  /** The digest that a link names; undefined when there is no link, or a damaged one (empty after a crash). */
  async link(key: string): Promise<Digest | undefined> {
    const bytes = await this.bytes(key);
    if (bytes === undefined) return undefined;
    const text = TEXT.decode(bytes).trimEnd();
    return isDigest(text) ? text : undefined;
  }

  /** Whether the object has those bytes' number and was made long enough ago that a crash cannot take it back. */
  async isSettled(key: string, size?: number): Promise<boolean> {
    const info = await this.info(key);
    if (info === undefined || (size !== undefined && info.size !== size)) return false;
    return Date.now() - info.modified > SETTLED_AFTER;
  }

  /** Whether there is such a link, made long enough ago that it need not be written again to be durable. */
  async hasSettledLink(key: string, digest: Digest): Promise<boolean> {
    return (await this.link(key)) === digest && (await this.isSettled(key));
  }

  async writeLink(key: string, digest: Digest): Promise<void> {
    await this.driver.write(key, linkBytes(digest));
  }

  /** Makes the changes in their order and all of them durable; see `Commits`. */
  async commit(changes: readonly Change[]): Promise<void> {
    if (this.#commits !== undefined) return this.#commits.commit(changes);
    for (const change of changes) {
      if ('write' in change) await this.driver.write(change.write, change.bytes);
      else {
        await this.#syncBytes(change.move);
        await this.move(change.move, change.to);
      }
    }
  }

  /** A driver that cannot append has made durable what it wrote. */
  async #syncBytes(key: string): Promise<void> {
    if (this.#appends === undefined) return;
    const size = await this.size(key);
    // Deleted meanwhile: to open it would make an empty one, which then stood for the bytes.
    if (size === undefined) throw new ObjectNotFound(key);
    const writer = await this.#appends.openAppend(key, size);
    try {
      await writer.sync();
    } finally {
      await writer.close();
    }
  }

  /** Entries of one level below `prefix`, by name; see `StorageDriver.list`. */
  level(prefix: string, options: Omit<ListOptions, 'delimiter'> = {}): AsyncIterable<ObjectInfo> {
    const level = this.driver.list(prefix, { ...options, delimiter: '/' });
    return this.#lost === undefined ? level : this.#notLost(prefix, level);
  }

  async *#notLost(prefix: string, level: AsyncIterable<ObjectInfo>): AsyncGenerator<ObjectInfo, undefined> {
    let isEmpty = true;
    for await (const entry of level) {
      isEmpty = false;
      yield entry;
    }
    return isEmpty ? this.#absent(prefix) : undefined;
  }

  /** The names of one level below `prefix`; see `ListsNames`. Without the driver's help the level is listed whole. */
  names(prefix: string): readonly string[] | Promise<readonly string[]> {
    if (this.#names === undefined) return this.#gatherNames(prefix);
    const names = this.#names.names(prefix);
    if (this.#lost === undefined) return names;
    const found = (some: readonly string[]) => {
      if (some.length === 0) this.#absent(prefix);
      return some;
    };
    return names instanceof Promise ? names.then(found) : found(names);
  }

  async #gatherNames(prefix: string): Promise<readonly string[]> {
    const names: string[] = [];
    for await (const { key } of this.level(prefix)) {
      names.push(key.endsWith('/') ? key.slice(prefix.length, -1) : key.slice(prefix.length));
    }
    return names;
  }

  /** See `FindsAliases`; most storages have none. */
  aliasOf(prefix: string, within: string): Alias | undefined {
    return this.#aliases?.aliasOf(prefix, within);
  }

  /** See `FindsAliases`. */
  realPrefix(prefix: string, within: string): string {
    return this.#aliases?.realPrefix(prefix, within) ?? prefix;
  }

  /** Where the object is as a file of this machine, if it is one. */
  localPath(key: string): string | undefined {
    return this.#local?.localPath(key);
  }

  /** Renames: atomically where the driver can, else by a copy. Of several movers one succeeds; see `Moves`. */
  async move(from: string, to: string, options: { volatile?: boolean } = {}): Promise<void> {
    if (this.#moves !== undefined) return this.#moves.move(from, to, options);
    await moveByCopy(this.driver, from, to, options);
  }

  /**
   * Sets the time of an object's last change to now. Without the driver's help a small object is written anew, by which
   * one that is deleted at the same moment can come back. @throws ObjectNotFound
   */
  async touch(key: string): Promise<void> {
    if (this.#touches !== undefined) return this.#touches.touch(key);
    const bytes = await this.bytes(key);
    if (bytes === undefined) throw new ObjectNotFound(key);
    await this.driver.write(key, bytes);
  }

  /** Opens an object to be written on; without the driver's help each append rewrites what came before. */
  async openAppend(key: string, offset: number): Promise<AppendWriter> {
    if (this.#appends !== undefined) return this.#appends.openAppend(key, offset);
    const size = (await this.size(key)) ?? 0;
    if (size !== offset) throw new OffsetMismatch(key, offset, size);
    const { driver } = this;
    if (offset === 0) await driver.write(key, new Uint8Array());
    return {
      async write(chunks) {
        const before = streamOf(await driver.read(key));
        await driver.write(key, concatenation(before, chunks));
      },
      sync: () => Promise.resolve(),
      close: () => Promise.resolve(),
    };
  }
}

/** What a link to a digest holds. */
export function linkBytes(digest: Digest): Uint8Array {
  return Buffer.from(digest, 'latin1');
}

/** The body as a stream. */
export function streamOf(body: Blob | ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  return body instanceof Blob ? body.stream() : body;
}

function concatenation(
  before: ReadableStream<Uint8Array>,
  chunks: readonly Uint8Array[],
): ReadableStream<Uint8Array> {
  const joined = new TransformStream<Uint8Array, Uint8Array>({
    flush(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
    },
  });
  return before.pipeThrough(joined);
}
