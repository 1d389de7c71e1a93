import { readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { createWorkspace } from '../harness/workspace.ts';
import type { Subject } from './subject.ts';

/** Where the driver keeps files that are being written. */
const TEMPORARY = '_entrepot/tmp';

export interface FilesystemSubject extends Subject {
  readonly driver: FilesystemDriver;
  readonly root: string;
}

/** A filesystem driver over a new temporary folder. */
export async function openFilesystem(): Promise<FilesystemSubject> {
  const workspace = await createWorkspace('driver');
  const root = workspace.path;
  const driver = new FilesystemDriver(root);
  driver.prepare();
  return { driver, root, leftovers: () => leftoversIn(root), dispose: () => workspace.remove() };
}

/** Files in the folder for half-written ones, and folders with nothing in them, as paths below `root`. */
export async function leftoversIn(root: string): Promise<string[]> {
  const found: string[] = [];
  const walk = async (folder: string): Promise<void> => {
    const entries = await readdir(folder, { withFileTypes: true });
    const path = relative(root, folder);
    if (entries.length === 0 && path !== '' && path !== TEMPORARY) found.push(`${path}/`);
    for (const entry of entries) {
      if (entry.isDirectory()) await walk(join(folder, entry.name));
      else if (path === TEMPORARY) found.push(join(path, entry.name));
    }
  };
  await walk(root);
  return found.sort();
}
