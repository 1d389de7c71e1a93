/**
 * Running digests of growing content, computed off the event loop where that pays.
 *
 * Content of up to `INLINE_LIMIT` bytes is hashed as it passes. Beyond that, and where the storage's objects
 * are files of this machine, a thread chases the writer through the file: the writer says how far it has
 * written, the thread reads that much from the page cache, and the writer waits when it is `MAX_LEAD` ahead.
 * Measured for 512 MiB: 1.01-1.07 × the time of the hash alone, where hashing inline takes 1.6 ×.
 */
import { createHash, type Hash } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import type { Algorithm } from '../oci/digest.ts';

/** Bytes that are hashed on the main thread, about 0.2-0.6 ms of its time, before the thread takes over. */
const INLINE_LIMIT = 256 * 1024;
/** Bytes that the writer may be ahead of the hash. */
const MAX_LEAD = 8 * 1024 * 1024;
/** Bytes of a file that are read at a time where the rate is bounded. */
const PACED_STEP = 4 * 1024 * 1024;

/** What the thread is told. Offsets and targets are in bytes from the file's begin. */
export type ToHasher =
  | { readonly kind: 'start'; readonly id: number; readonly path: string; readonly algorithm: Algorithm }
  | { readonly kind: 'advance'; readonly id: number; readonly target: number }
  | { readonly kind: 'digest'; readonly id: number; readonly request: number; readonly at: number }
  | { readonly kind: 'stop'; readonly id: number };

/** What the thread says. After `failed` it has forgotten the id. */
export type FromHasher =
  | { readonly kind: 'position'; readonly id: number; readonly position: number }
  | { readonly kind: 'digest'; readonly id: number; readonly request: number; readonly hex: string }
  | { readonly kind: 'failed'; readonly id: number; readonly message: string };

/** The digest of content that is still growing. */
export interface RunningDigest {
  readonly algorithm: Algorithm;
  /** Bytes added so far. */
  readonly offset: number;
  /** Says where the content's file is now: its name changes with its writer. */
  moved(path: string | undefined): void;
  /**
   * Adds what was just written to the storage. A promise, where given, must be awaited before more is added:
   * the hash is far behind.
   */
  add(chunks: readonly Uint8Array[]): Promise<void> | undefined;
  /** The hexadecimal digest of all bytes added so far; more can be added afterwards. */
  digest(): Promise<string>;
  /** Forgets it. */
  stop(): void;
}

/** Starts running digests; owns the thread, which is made when the first large upload comes. */
export class Hashing {
  #thread: HashThread | undefined;

  /** `path` is the file that the content is written to from its begin, if it is one. */
  start(algorithm: Algorithm, path: string | undefined): RunningDigest {
    return new Handover(algorithm, path, () => this.#chaser());
  }

  /**
   * The hexadecimal digest of the first `size` bytes of a file. With `pace`, which waits as long as reading so many bytes
   * more shall take, it is read in steps.
   */
  async ofFile(
    algorithm: Algorithm,
    path: string,
    size: number,
    pace?: (bytes: number) => Promise<void> | undefined,
  ): Promise<string> {
    const chase = new Chase(this.#chaser(), algorithm, path);
    try {
      if (pace !== undefined) await advanceSlowly(chase, size, pace);
      chase.skipTo(size);
      return await chase.digest();
    } finally {
      chase.stop();
    }
  }

  #chaser(): HashThread {
    if (this.#thread === undefined || this.#thread.dead) this.#thread = new HashThread();
    return this.#thread;
  }
}

async function advanceSlowly(
  chase: Chase,
  size: number,
  pace: (bytes: number) => Promise<void> | undefined,
): Promise<void> {
  for (let at = 0; at < size;) {
    const step = Math.min(PACED_STEP, size - at);
    await pace(step);
    at += step;
    await chase.advance(at);
  }
}

/** Hashes inline first and hands over to the thread, which begins anew, when the content turns out large. */
class Handover implements RunningDigest {
  readonly algorithm: Algorithm;
  offset = 0;
  #path: string | undefined;
  readonly #thread: () => HashThread;
  #hash: Hash | undefined;
  #chase: Chase | undefined;

  constructor(algorithm: Algorithm, path: string | undefined, thread: () => HashThread) {
    this.algorithm = algorithm;
    this.#path = path;
    this.#thread = thread;
    this.#hash = createHash(algorithm);
  }

  moved(path: string | undefined): void {
    this.#path = path;
  }

  add(chunks: readonly Uint8Array[]): Promise<void> | undefined {
    for (const chunk of chunks) this.offset += chunk.byteLength;
    if (this.#hash !== undefined) {
      if (this.offset <= INLINE_LIMIT || this.#path === undefined) {
        for (const chunk of chunks) this.#hash.update(chunk);
        return undefined;
      }
      this.#hash = undefined;
      this.#chase = new Chase(this.#thread(), this.algorithm, this.#path);
    }
    return this.#chase?.advance(this.offset);
  }

  async digest(): Promise<string> {
    return (
      this.#hash?.copy().digest('hex') ??
      (await (this.#chase?.digest() ?? Promise.reject(new Error('stopped'))))
    );
  }

  stop(): void {
    this.#hash = undefined;
    this.#chase?.stop();
    this.#chase = undefined;
  }
}

/** One file that the thread reads behind its writer. */
class Chase {
  readonly #thread: HashThread;
  readonly #id: number;
  #target = 0;
  #position = 0;
  #failure: Error | undefined;
  #waiting: { until: number; resolve: () => void; reject: (error: Error) => void } | undefined;
  readonly #digests = new Map<number, { resolve: (hex: string) => void; reject: (error: Error) => void }>();

  constructor(thread: HashThread, algorithm: Algorithm, path: string) {
    this.#thread = thread;
    this.#id = thread.register(this);
    thread.send({ kind: 'start', id: this.#id, path, algorithm });
  }

  advance(target: number): Promise<void> | undefined {
    this.skipTo(target);
    const until = target - MAX_LEAD;
    if (this.#position >= until) return undefined;
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) reject(this.#failure);
      else this.#waiting = { until, resolve, reject };
    });
  }

  skipTo(target: number): void {
    this.#target = target;
    this.#thread.send({ kind: 'advance', id: this.#id, target });
  }

  digest(): Promise<string> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure);
        return;
      }
      const request = this.#thread.nextNumber();
      this.#digests.set(request, { resolve, reject });
      this.#thread.send({ kind: 'digest', id: this.#id, request, at: this.#target });
    });
  }

  receive(message: FromHasher): void {
    if (message.kind === 'failed') this.fail(new Error(`hashing failed: ${message.message}`));
    else if (message.kind === 'position') {
      this.#position = message.position;
      const waiting = this.#waiting;
      if (waiting !== undefined && this.#position >= waiting.until) {
        this.#waiting = undefined;
        waiting.resolve();
      }
    } else {
      this.#digests.get(message.request)?.resolve(message.hex);
      this.#digests.delete(message.request);
    }
  }

  fail(error: Error): void {
    this.#failure = error;
    this.#waiting?.reject(error);
    this.#waiting = undefined;
    for (const { reject } of this.#digests.values()) reject(error);
    this.#digests.clear();
  }

  stop(): void {
    this.#thread.unregister(this.#id);
    this.#thread.send({ kind: 'stop', id: this.#id });
    this.fail(new Error('hashing was stopped'));
  }
}

class HashThread {
  dead = false;
  readonly #worker: Worker;
  readonly #chases = new Map<number, Chase>();
  #number = 0;

  constructor() {
    // Beside this file, as .ts in the sources and as .js in what is built (scripts/build.ts).
    const script = `./hash-worker.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`;
    this.#worker = new Worker(new URL(script, import.meta.url));
    this.#worker.on('message', (message: FromHasher) => this.#chases.get(message.id)?.receive(message));
    this.#worker.on('error', (error) => this.#end(error instanceof Error ? error : new Error(String(error))));
    this.#worker.on('exit', (code) => this.#end(new Error(`the hashing thread ended with code ${code}`)));
    this.#worker.unref();
  }

  nextNumber(): number {
    this.#number += 1;
    return this.#number;
  }

  register(chase: Chase): number {
    const id = this.nextNumber();
    this.#chases.set(id, chase);
    return id;
  }

  unregister(id: number): void {
    this.#chases.delete(id);
  }

  send(message: ToHasher): void {
    if (!this.dead) this.#worker.postMessage(message);
  }

  #end(error: Error): void {
    this.dead = true;
    for (const chase of this.#chases.values()) chase.fail(error);
    this.#chases.clear();
  }
}
