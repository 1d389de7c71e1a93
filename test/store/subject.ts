import type { StorageDriver } from '../../src/drivers/driver.ts';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import type { RepositoryName, Tag } from '../../src/oci/name.ts';
import { parseRepositoryName } from '../../src/oci/name.ts';
import { RegistryError } from '../../src/oci/errors.ts';
import type { Registry, Repository } from '../../src/oci/registry.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import type { ManifestRules } from '../../src/store/manifest-rules.ts';
import { openFilesystem } from '../drivers/filesystem-subject.ts';
import { FiveMethods } from '../drivers/five-methods.ts';
import type { Subject } from '../drivers/subject.ts';

/** Rules as without a `validation` section. */
export const RULES: ManifestRules = { enabled: true, requireChild: () => true, allowUrl: () => false };

/** The storages that a registry must behave the same over. */
export const STORAGES: Readonly<Record<string, () => Promise<Subject>>> = {
  memory: () => Promise.resolve(openMemory(new MemoryDriver())),
  filesystem: openFilesystem,
  'memory, five methods only': () => Promise.resolve(openMemory(new FiveMethods(new MemoryDriver()))),
  'filesystem, five methods only': async () => {
    const subject = await openFilesystem();
    return { ...subject, driver: new FiveMethods(subject.driver) };
  },
};

function openMemory(driver: StorageDriver): Subject {
  return { driver, leftovers: () => Promise.resolve([]), dispose: () => Promise.resolve() };
}

/** What a case needs: storage, and any number of processes' registries over it. */
export interface Case {
  readonly driver: StorageDriver;
  /** The registry of one process. */
  readonly registry: Registry;
  /** A registry that shares nothing with the first but the storage, as that of another process. */
  another(driver?: StorageDriver): Registry;
  /** A repository of `registry`. */
  repository(name?: string): Repository;
}

/** Gives the case of the test that runs. */
export type GetCase = () => Case;

export function newCase(driver: StorageDriver): Case {
  const registry = new LocalRegistry(driver, RULES);
  return {
    driver,
    registry,
    another: (other = driver) => new LocalRegistry(other, RULES),
    repository: (name = 'lib/app') => registry.repository(nameOf(name)),
  };
}

export function nameOf(text: string): RepositoryName {
  return parseRepositoryName(text);
}

export function tagOf(text: string): Tag {
  return text as Tag;
}

/** The code of the `RegistryError` that the promise is rejected with, with the status if it has one of its own. */
export async function refusalOf(promise: Promise<unknown>): Promise<string> {
  try {
    const value = await promise;
    return `done: ${JSON.stringify(value)}`;
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    return error.status === undefined ? error.code : `${error.code} ${error.status}`;
  }
}
