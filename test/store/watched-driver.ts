import type { StorageDriver } from '../../src/drivers/driver.ts';

/** What is done around the calls of a driver. What it throws, the call throws. */
export interface Watcher {
  /** Before a call takes effect. For methods that answer at once (`readSmall`, `localPath`, …) it must not wait. */
  before?(method: string, key: string): void | Promise<void>;
  /** After a call took effect, before its promise is fulfilled. Not for methods that answer at once. */
  after?(method: string, key: string): void | Promise<void>;
}

const AT_ONCE = new Set(['readSmall', 'statSmall', 'localPath', 'names', 'list']);

/** The driver with all its capabilities, and the watcher told of each call. */
export function watched<D extends StorageDriver>(driver: D, watcher: Watcher): D {
  return new Proxy(driver, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== 'function' || typeof name !== 'string') return member;
      return (...given: unknown[]) => {
        const [first] = given;
        const key = Array.isArray(first) ? first.join(' ') : String(first);
        if (AT_ONCE.has(name)) {
          void watcher.before?.(name, key);
          return Reflect.apply(member, target, given) as unknown;
        }
        return (async () => {
          await watcher.before?.(name, key);
          const result: unknown = await Reflect.apply(member, target, given);
          await watcher.after?.(name, key);
          return result;
        })();
      };
    },
  });
}
