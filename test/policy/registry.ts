/** A registry with rules over some storage, and others over the same, as other processes have them. */
import type { StorageDriver } from '../../src/drivers/driver.ts';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import type { Repository } from '../../src/oci/registry.ts';
import { GuardedRegistry } from '../../src/policy/guarded-registry.ts';
import { type TagPatterns, TagRules } from '../../src/policy/tag-rules.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { nameOf, RULES } from '../store/subject.ts';

export interface Given {
  readonly immutable?: readonly Partial<TagPatterns>[];
  readonly protected?: readonly Partial<TagPatterns>[];
  readonly deleteReferenced?: boolean;
}

export function rulesOf({ immutable = [], protected: kept = [] }: Given): TagRules {
  const whole = (rule: Partial<TagPatterns>) => ({ repositories: ['*'], tags: ['*'], except: [], ...rule });
  return new TagRules({ immutable: immutable.map(whole), protected: kept.map(whole) });
}

export interface Guarded {
  readonly driver: StorageDriver;
  readonly registry: GuardedRegistry;
  repository(name?: string): Repository;
  /** The repository as another process has it. */
  another(driver?: StorageDriver, name?: string): Repository;
}

export function guarded(given: Given = {}, driver: StorageDriver = new MemoryDriver()): Guarded {
  const open = (over: StorageDriver) =>
    new GuardedRegistry(new LocalRegistry(over, RULES), {
      tags: rulesOf(given),
      deleteReferenced: given.deleteReferenced ?? false,
    });
  const registry = open(driver);
  return {
    driver,
    registry,
    repository: (name = 'lib/app') => registry.repository(nameOf(name)),
    another: (over = driver, name = 'lib/app') => open(over).repository(nameOf(name)),
  };
}
