import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { folderRemoved, reapFolder } from './reaper.ts';

/** A temporary folder of one test. */
export interface Workspace {
  /** Absolute path. */
  readonly path: string;
  /** The path of something within; its parent folders are not created. */
  join(...parts: string[]): string;
  /** Creates a folder within, with its parents, and returns its path. */
  folder(...parts: string[]): Promise<string>;
  /** Removes the folder with all that is in it. May be called twice. */
  remove(): Promise<void>;
}

/**
 * Creates an empty temporary folder whose name begins with `entrepot-` and the label. If the test does not
 * remove it, it goes when the test process ends.
 */
export async function createWorkspace(label = 'test'): Promise<Workspace> {
  const path = await mkdtemp(join(tmpdir(), `entrepot-${label}-`));
  reapFolder(path);
  return {
    path,
    join: (...parts) => join(path, ...parts),
    folder: async (...parts) => {
      const folder = join(path, ...parts);
      await mkdir(folder, { recursive: true });
      return folder;
    },
    remove: async () => {
      await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
      folderRemoved(path);
    },
  };
}
