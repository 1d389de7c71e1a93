/** Looks at a registry's files from outside, as an operator would after a crash. */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually } from '../harness/waiting.ts';

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** Hashes every blob. @throws Error for one that is not what its name says: its bytes were never verified */
export async function checkBlobs(data: string): Promise<number> {
  const files = await filesBelow(join(data, 'docker/registry/v2/blobs'));
  for (const file of files) {
    const [algorithm = '', , hex] = file.slice(join(data, 'docker/registry/v2/blobs/').length).split('/');
    const found = createHash(algorithm)
      .update(await readFile(file))
      .digest('hex');
    if (found !== hex || !file.endsWith('/data')) throw new Error(`${file} has in truth the digest ${found}`);
  }
  return files.length;
}

/** Files that were being written when their process died, below `data`. */
export async function halfWritten(data: string): Promise<string[]> {
  return filesBelow(join(data, 'docker/registry/v2/_entrepot/tmp'));
}

/** The upload sessions that have any file or folder. */
export async function uploadSessions(data: string): Promise<string[]> {
  const all = await readdir(data, { recursive: true });
  return all.filter((path) => /_uploads\/[^/]+$/.test(path));
}

/** Waits until there is none. @throws Error that names them when they are still there after a minute */
export async function untilGone(what: () => Promise<string[]>): Promise<void> {
  await eventually('nothing', what, (left) => left.length === 0);
}
