import type { RepositoryName } from '../oci/name.ts';
import { repositoryPrefix } from './layout.ts';
import type { Objects } from './objects.ts';

/** Those of one repository; not those of the repositories below it. */
export async function removeEmptyRepositoryFolders(objects: Objects, name: RepositoryName): Promise<void> {
  for (const folder of await objects.names(repositoryPrefix(name))) {
    if (folder.startsWith('_')) await removeEmptyFolders(objects, `${repositoryPrefix(name)}${folder}/`);
  }
}

/**
 * Folders without anything in them, as a crash or `registry:2` leaves them, where the storage has folders. Something is put
 * into each and removed again, by which the driver removes what is empty then: what others put there meanwhile stays. It has a
 * name that no tag, digest or upload can have.
 */
export async function removeEmptyFolders(objects: Objects, prefix: string): Promise<void> {
  let isEmpty = true;
  for await (const { key } of objects.level(prefix)) {
    isEmpty = false;
    if (key.endsWith('/')) await removeEmptyFolders(objects, key);
  }
  if (!isEmpty) return;
  const probe = `${prefix}~empty`;
  await objects.driver.write(probe, new Uint8Array(), { volatile: true });
  await objects.driver.delete([probe]);
}
