import type {
  ListOptions,
  ObjectBody,
  ObjectInfo,
  ReadOptions,
  StorageDriver,
  WriteOptions,
} from '../../src/drivers/driver.ts';

/** A driver with its optional capabilities hidden: what an object store of the plainest kind can do. */
export class FiveMethods implements StorageDriver {
  readonly #driver: StorageDriver;

  constructor(driver: StorageDriver) {
    this.#driver = driver;
  }

  stat(key: string): Promise<ObjectInfo> {
    return this.#driver.stat(key);
  }

  read(key: string, options?: ReadOptions): Promise<Blob | ReadableStream<Uint8Array>> {
    return this.#driver.read(key, options);
  }

  write(key: string, body: ObjectBody, options?: WriteOptions): Promise<ObjectInfo> {
    return this.#driver.write(key, body, options);
  }

  list(prefix: string, options?: ListOptions): AsyncIterable<ObjectInfo> {
    return this.#driver.list(prefix, options);
  }

  delete(keys: readonly string[], options?: { readonly volatile?: boolean }): Promise<void> {
    return this.#driver.delete(keys, options);
  }
}
