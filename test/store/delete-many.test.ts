/** What it costs to delete much, counted in what is asked of the storage: twice as much content may cost twice as much, not four times. */
import { expect, test } from 'bun:test';
import { existsSync } from 'node:fs';
import type { StorageDriver } from '../../src/drivers/driver.ts';
import type { DeletedContent } from '../../src/oci/registry.ts';
import { blobKey, layerLinkKey, revisionLinkKey, tagCurrentKey } from '../../src/store/layout.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { linkBytes } from '../../src/store/objects.ts';
import { openFilesystem } from '../drivers/filesystem-subject.ts';
import { imageBytes, sha256 } from './content.ts';
import { nameOf, RULES, tagOf } from './subject.ts';

const APP = nameOf('app');

/** Images with a layer and a tag each, as fast as they can be written. */
async function fill(driver: StorageDriver, images: number): Promise<void> {
  const write = (key: string, bytes: Uint8Array) => driver.write(key, bytes, { volatile: true });
  for (let number = 0; number < images; number += 1) {
    const layer = `layer ${number}`;
    const bytes = imageBytes({ layers: [layer] });
    const digest = sha256(bytes);
    await write(blobKey(digest), bytes);
    await write(revisionLinkKey(APP, digest), linkBytes(digest));
    await write(layerLinkKey(APP, sha256(layer)), linkBytes(sha256(layer)));
    await write(tagCurrentKey(APP, tagOf(`t${number}`)), linkBytes(digest));
  }
}

/** The driver, and how often it was called, with a name that it listed as one more. */
function counting(driver: StorageDriver): { readonly driver: StorageDriver; readonly asked: () => number } {
  let asked = 0;
  const counted = new Proxy(driver, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== 'function') return member;
      return (...given: unknown[]): unknown => {
        asked += 1;
        const result: unknown = Reflect.apply(member, target, given);
        if (name !== 'names') return result;
        const count = (names: readonly string[]) => {
          asked += names.length;
          return names;
        };
        return result instanceof Promise ? result.then(count) : count(result as readonly string[]);
      };
    },
  });
  return { driver: counted, asked: () => asked };
}

/** @returns what the work asked of a storage with so many images */
async function costOf(
  images: number,
  work: (registry: LocalRegistry) => Promise<unknown>,
  check: (root: string) => unknown = () => undefined,
): Promise<number> {
  const { driver, root, dispose } = await openFilesystem();
  try {
    await fill(driver, images);
    const counted = counting(driver);
    await work(new LocalRegistry(counted.driver, RULES));
    check(root);
    return counted.asked();
  } finally {
    await dispose();
  }
}

const FEW = 100;

test('a repository goes at a cost that is that of its content, and leaves no folder', async () => {
  const deleteAll = async (registry: LocalRegistry) => {
    const repository = registry.repository(APP);
    await repository.uploads.start();
    return repository.delete({ keeps: () => undefined });
  };
  const few = await costOf(FEW, deleteAll);
  let gone: DeletedContent | undefined;
  let isLeft = true;
  const many = await costOf(
    FEW * 4,
    async (registry) => (gone = await deleteAll(registry)),
    (root) => (isLeft = existsSync(`${root}/docker/registry/v2/repositories`)),
  );
  expect(gone).toEqual({ tags: FEW * 4, manifests: FEW * 4, blobs: FEW * 4, uploads: 1 });
  expect(many / few).toBeLessThan(6);
  expect(isLeft).toBe(false);
}, 300_000);
