import type { MemoryDriver } from '../../src/drivers/memory.ts';

const CHANGES = new Set(['write', 'delete', 'move', 'touch', 'openAppend']);

/** The process that used the driver is no more. */
export class Crash extends Error {}

/** A driver that does so many changes and then nothing at all: what a process leaves that is killed there. */
export function crashingAfter(driver: MemoryDriver, changes: number): MemoryDriver {
  let left = changes;
  return new Proxy(driver, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      const call = value as (...args: unknown[]) => unknown;
      return (...args: unknown[]) => {
        if (CHANGES.has(String(name))) left -= 1;
        if (left >= 0) return call.apply(target, args);
        if (name === 'statSmall' || name === 'readSmall' || name === 'list') throw new Crash();
        return Promise.reject(new Crash());
      };
    },
  });
}
