import { type ListOptions, ObjectNotFound, type StorageDriver } from '../../src/drivers/driver.ts';

/** A driver with empty storage, made anew for each test. */
export interface Subject {
  readonly driver: StorageDriver;
  /** What lies in the storage without being, or leading to, an object: half-written files, empty folders. */
  leftovers(): Promise<readonly string[]>;
  dispose(): Promise<void>;
}

/** Gives the driver of the test that runs. */
export type Driver = () => StorageDriver;

export function bytes(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

/** Everything that a body gives. */
export async function collect(body: Blob | ReadableStream<Uint8Array>): Promise<Buffer> {
  return Buffer.from(await new Response(body).arrayBuffer());
}

/** The object as text; undefined when there is none. */
export async function textOf(driver: StorageDriver, key: string): Promise<string | undefined> {
  try {
    return (await collect(await driver.read(key))).toString();
  } catch (error) {
    if (error instanceof ObjectNotFound) return undefined;
    throw error;
  }
}

export async function keysOf(
  driver: StorageDriver,
  prefix: string,
  options?: ListOptions,
): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of driver.list(prefix, options)) keys.push(key);
  return keys;
}

/** Stores each key with itself as its content. */
export async function fill(driver: StorageDriver, keys: readonly string[]): Promise<void> {
  for (const key of keys) await driver.write(key, bytes(key), { volatile: true });
}

/** A body that gives the chunks one by one. */
export function streamOf(chunks: Iterable<Uint8Array>): ReadableStream<Uint8Array> {
  const rest = chunks[Symbol.iterator]();
  return new ReadableStream({
    pull(controller) {
      const { done, value } = rest.next();
      if (done === true) controller.close();
      else controller.enqueue(value);
    },
  });
}

/** A body that gives one chunk and then nothing, not even its end. `onStall` is called once that was taken. */
export function stalledStream(first: Uint8Array, onStall: () => void): ReadableStream<Uint8Array> {
  let given = false;
  return new ReadableStream(
    {
      pull(controller) {
        if (given) onStall();
        else controller.enqueue(first);
        given = true;
      },
    },
    { highWaterMark: 0 },
  );
}

/** A body that breaks off with the error after its chunks. */
export function brokenStream(chunks: readonly Uint8Array[], error: Error): ReadableStream<Uint8Array> {
  let next = 0;
  return new ReadableStream({
    pull(controller) {
      const chunk = chunks[next];
      next += 1;
      if (chunk === undefined) controller.error(error);
      else controller.enqueue(chunk);
    },
  });
}

/** How each of the promises ended, in order: the value, or the error. */
export async function outcomes<T>(promises: readonly Promise<T>[]): Promise<(T | Error)[]> {
  return Promise.all(
    promises.map((promise) =>
      promise.catch((error: unknown) => (error instanceof Error ? error : new Error(String(error)))),
    ),
  );
}
