/** Objects as files below a root directory: `registry:2`'s `filesystem` driver, with the same files. */
import {
  closeSync,
  constants,
  lstatSync,
  openAsBlob,
  openSync,
  readFileSync,
  unlinkSync,
  utimesSync,
  write,
  writeSync,
} from 'node:fs';
import { unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import {
  type Alias,
  type Appends,
  type AppendWriter,
  type Change,
  type Commits,
  type DeleteOptions,
  type FindsAliases,
  type FindsLost,
  firstAfter,
  bodyChunks,
  type ListOptions,
  type ListsNames,
  type LocalFiles,
  type Moves,
  type ObjectBody,
  type ObjectInfo,
  isFull,
  ObjectNotFound,
  type ReadOptions,
  type ReadsSmall,
  type StorageDriver,
  StorageFailure,
  type Touches,
  type WriteOptions,
} from '../driver.ts';
import { openAppend } from './append-writer.ts';
import { commitChanges } from './commit.ts';
import { makeDirectory, syncDirectories, syncFile } from './durability.ts';
import { codeOf, isAbsent, storageError, systemFailure } from './failures.ts';
import { FolderLinks } from './folder-links.ts';
import { entriesInKeyOrder, entryStats, SortedDirectories } from './listing.ts';
import { lostFolder } from './lost-folders.ts';
import { checkSize, placeFile, placeNewFile } from './placing.ts';
import { discard, pruneFolders, removeTree } from './removal.ts';
import { sweepTemporary, TEMPORARY, temporaryName } from './temporary.ts';

/** Bytes from which on a file is removed in another thread. */
const LARGE = 1024 * 1024;

const writeFile = promisify(write);

const READ_ITSELF = { flag: constants.O_RDONLY | constants.O_NOFOLLOW };
/** What reading a folder, or a symbolic link that is not followed, fails with. */
const NOT_A_FILE = new Set(['EISDIR', 'ELOOP']);

/** A registered symbol: what the server looks for, which this room does not know. */
const FILE_SLICE = Symbol.for('entrepot.fileSlice');

const SAFE_KEY = /^(?!\/)(?!.*(?:^|\/)\.{0,2}(?:\/|$))[^\0]+$/;

export class FilesystemDriver
  implements
    StorageDriver,
    Appends,
    Moves,
    Commits,
    ReadsSmall,
    ListsNames,
    LocalFiles,
    Touches,
    FindsAliases,
    FindsLost
{
  readonly #root: string;
  readonly #own: string;
  readonly #temporary: string;
  readonly #directories = new SortedDirectories();
  readonly #links: FolderLinks;

  /**
   * `root` is an absolute path. `own` is the driver's own folder below it, which no listing shows; it must be in one
   * file system with the objects. Nothing is touched until `prepare` is called.
   */
  constructor(root: string, own = '_entrepot') {
    this.#root = root;
    this.#own = own;
    this.#temporary = join(root, own, TEMPORARY);
    this.#links = new FolderLinks(root);
  }

  /**
   * Makes the root if it is missing and removes what crashed processes left half-written.
   * @throws StorageFailure when the root cannot be written to
   */
  prepare(): void {
    try {
      sweepTemporary(this.#temporary);
    } catch (error) {
      const failure = storageError(error, '', this.#root);
      if (failure instanceof ObjectNotFound) {
        throw new StorageFailure(
          `${this.#root}: the folder cannot be made: a part of the path is a file, or cannot have folders (ENOTDIR)`,
          'ENOTDIR',
        );
      }
      throw failure;
    }
  }

  localPath(key: string): string {
    return `${this.#root}/${key}`;
  }

  #path(key: string): string {
    if (!SAFE_KEY.test(key)) throw new Error(`not a storage key: ${JSON.stringify(key)}`);
    return `${this.#root}/${key}`;
  }

  stat(key: string): Promise<ObjectInfo> {
    const stats = this.#fileStats(key);
    if (stats === undefined) return Promise.reject(new ObjectNotFound(key));
    return Promise.resolve({ key, size: stats.size, modified: stats.mtimeMs });
  }

  statSmall(key: string): number | undefined {
    return this.#fileStats(key)?.size;
  }

  /** Of the file itself: a symbolic link in an object's place is no object, whatever it leads to. */
  #fileStats(key: string): { size: number; mtimeMs: number } | undefined {
    const path = this.#path(key);
    try {
      const stats = lstatSync(path, { throwIfNoEntry: false });
      return stats?.isFile() === true ? stats : undefined;
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw storageError(error, key, path);
    }
  }

  /** Synchronous: about 4 µs from the page cache, where a trip through the thread pool costs 35 µs. */
  readSmall(key: string): Uint8Array | undefined {
    const path = this.#path(key);
    try {
      return readFileSync(path, READ_ITSELF);
    } catch (error) {
      if (isAbsent(error) || NOT_A_FILE.has(codeOf(error) ?? '')) return undefined;
      throw storageError(error, key, path);
    }
  }

  async read(key: string, options: ReadOptions = {}): Promise<Blob> {
    const stats = this.#fileStats(key);
    if (stats === undefined) throw new ObjectNotFound(key);
    const path = this.#path(key);
    const whole = await openAsBlob(path);
    const { start = 0 } = options;
    // Bun takes a slice's end as its size, also where the file ends before it.
    const end = Math.min(options.end ?? stats.size, stats.size);
    const blob = start === 0 && end === stats.size ? whole : whole.slice(Math.min(start, end), end);
    // Read by its path a file costs Node a third of what it costs through the blob; see server/response-source.ts.
    return Object.defineProperty(blob, FILE_SLICE, { value: { path, start: Math.min(start, end), end } });
  }

  async write(key: string, body: ObjectBody, options: WriteOptions = {}): Promise<ObjectInfo> {
    const path = this.#path(key);
    const temporary = join(this.#temporary, temporaryName());
    try {
      const size =
        body instanceof Uint8Array
          ? await this.#fillAtOnce(temporary, body, options)
          : await this.#fill(temporary, body, options);
      const changed =
        options.ifAbsent === true
          ? placeNewFile(temporary, path, key)
          : placeFile(temporary, path, () => true);
      if (options.volatile !== true) await syncDirectories(changed);
      return { key, size, modified: Date.now() };
    } catch (error) {
      discard(temporary);
      throw systemFailure(error, path);
    }
  }

  /** Writes the temporary file and syncs it; returns its size. Small writes are not worth a thread's time. */
  async #fillAtOnce(temporary: string, body: Uint8Array, options: WriteOptions): Promise<number> {
    checkSize(body.byteLength, options.size);
    options.signal?.throwIfAborted();
    const fd = this.#openTemporary(temporary);
    try {
      for (let at = 0; at < body.byteLength;) at += writeSync(fd, body, at);
      if (options.volatile !== true) await syncFile(fd);
    } finally {
      closeSync(fd);
    }
    return body.byteLength;
  }

  async #fill(temporary: string, body: ReadableStream<Uint8Array>, options: WriteOptions): Promise<number> {
    const fd = this.#openTemporary(temporary);
    let size = 0;
    try {
      for await (const chunk of bodyChunks(body, options.signal)) {
        for (let at = 0; at < chunk.byteLength;) {
          at += (await writeFile(fd, chunk, at, chunk.byteLength - at, size + at)).bytesWritten;
        }
        size += chunk.byteLength;
      }
      checkSize(size, options.size);
      if (options.volatile !== true) await syncFile(fd);
    } finally {
      closeSync(fd);
    }
    return size;
  }

  #openTemporary(path: string): number {
    try {
      return openSync(path, 'wx', 0o644);
    } catch (error) {
      if (!isAbsent(error)) throw error;
      makeDirectory(this.#temporary);
      return openSync(path, 'wx', 0o644);
    }
  }

  touch(key: string): Promise<void> {
    const path = this.#path(key);
    if (this.#fileStats(key) === undefined) return Promise.reject(new ObjectNotFound(key));
    const now = new Date();
    try {
      utimesSync(path, now, now);
      return Promise.resolve();
    } catch (error) {
      return Promise.reject(isAbsent(error) ? new ObjectNotFound(key) : storageError(error, key, path));
    }
  }

  commit(changes: readonly Change[]): Promise<void> {
    return commitChanges(changes, {
      of: (key) => this.#path(key),
      openTemporary: () => {
        const path = join(this.#temporary, temporaryName());
        return { path, fd: this.#openTemporary(path) };
      },
    });
  }

  async move(from: string, to: string, options: { readonly volatile?: boolean } = {}): Promise<void> {
    const source = this.#path(from);
    const target = this.#path(to);
    // Looked at once: by the time that the error is here, somebody else may have moved it back.
    let isMissing = false;
    const exists = (): boolean => {
      isMissing = this.#fileStats(from) === undefined;
      return !isMissing;
    };
    try {
      const changed = placeFile(source, target, exists);
      const left = dirname(source) === dirname(target) ? [] : pruneFolders(this.#root, [dirname(source)]);
      if (options.volatile === true) return;
      // The new name first, that no power cut leaves neither.
      await syncDirectories(changed);
      await syncDirectories(left);
    } catch (error) {
      if (!isMissing) throw systemFailure(error, target);
      pruneFolders(this.#root, [dirname(target)]);
      throw new ObjectNotFound(from);
    }
  }

  async openAppend(key: string, offset: number): Promise<AppendWriter> {
    return openAppend(key, this.#path(key), offset);
  }

  names(prefix: string): readonly string[] | Promise<readonly string[]> {
    return this.#directories.names(`${this.#root}/${prefix}`);
  }

  aliasOf(prefix: string, within: string): Alias | undefined {
    return this.#links.aliasOf(prefix, within);
  }

  realPrefix(prefix: string, within: string): string {
    return this.#links.realPrefix(prefix, within);
  }

  /** An object is looked for in its folder: a link in its own place is no object. */
  lostAt(keyOrPrefix: string): StorageFailure | undefined {
    return lostFolder(this.#root, `${this.#root}/${keyOrPrefix.slice(0, keyOrPrefix.lastIndexOf('/'))}`);
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncIterable<ObjectInfo> {
    if (prefix !== '' && !prefix.endsWith('/'))
      throw new Error(`a listing's prefix ends with "/": ${prefix}`);
    const { limit = Number.POSITIVE_INFINITY } = options;
    if (limit <= 0) return;
    let given = 0;
    const entries = options.delimiter === '/' ? this.#level(prefix, options) : this.#tree(prefix, options);
    for await (const entry of entries) {
      options.signal?.throwIfAborted();
      yield entry;
      given += 1;
      if (given >= limit) return;
    }
  }

  async *#level(prefix: string, { after = '' }: ListOptions): AsyncIterable<ObjectInfo> {
    const names = await this.#directories.names(`${this.#root}/${prefix}`);
    const last = after.startsWith(prefix) ? after.slice(prefix.length).replace(/\/$/, '') : '';
    if (last === '' && after > prefix) return;
    for (let index = last === '' ? 0 : firstAfter(names, last); index < names.length; index += 1) {
      const key = `${prefix}${names[index] ?? ''}`;
      if (key === this.#own) continue;
      const stats = entryStats(`${this.#root}/${key}`);
      if (stats === undefined) continue;
      if (stats.isDirectory()) yield { key: `${key}/`, size: 0, modified: 0 };
      else yield { key, size: stats.size, modified: stats.mtimeMs };
    }
  }

  async *#tree(prefix: string, options: ListOptions): AsyncIterable<ObjectInfo> {
    const { after = '' } = options;
    for (const { name, directory } of entriesInKeyOrder(`${this.#root}/${prefix}`)) {
      const key = `${prefix}${name}`;
      if (key === this.#own) continue;
      if (directory) {
        if (`${key}0` > after) yield* this.#tree(`${key}/`, options); // '0' follows '/': past all keys below
        continue;
      }
      const stats = key > after ? this.#fileStats(key) : undefined;
      if (stats !== undefined) yield { key, size: stats.size, modified: stats.mtimeMs };
    }
  }

  async delete(keys: readonly string[], options: DeleteOptions = {}): Promise<void> {
    const left = new Set<string>();
    let failure: unknown;
    for (const key of keys) {
      const tree = key.endsWith('/');
      const path = this.#path(tree ? key.slice(0, -1) : key);
      try {
        if (tree) await removeTree(path);
        else if (options.small === true) unlinkSync(path);
        else await this.#remove(key, path);
      } catch (error) {
        if (isAbsent(error)) continue;
        failure = storageError(error, key, path);
        break;
      }
      if (options.volatile !== true) left.add(dirname(path));
    }
    await syncDirectories(pruneFolders(this.#root, left));
    if (failure !== undefined) throw failure as Error;
  }

  /** Freeing a large file's blocks takes the disk's time, so that is left to another thread. */
  async #remove(key: string, path: string): Promise<void> {
    const size = this.#fileStats(key)?.size ?? 0;
    if (size < LARGE) unlinkSync(path);
    else await unlink(path);
  }

  /**
   * Whether the root can be written to; the message of what is thrown says why not. One that is full counts as one that can:
   * it has to be opened to be emptied.
   * @throws StorageFailure
   */
  probe(): void {
    const path = join(this.#temporary, temporaryName());
    try {
      closeSync(openSync(path, 'wx'));
      unlinkSync(path);
    } catch (error) {
      const failure = storageError(error, this.#own, this.#root);
      if (!isFull(failure)) throw failure;
    }
  }
}
