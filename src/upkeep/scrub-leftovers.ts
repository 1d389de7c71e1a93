/** What a scrub finds beside the content: uploads that nobody goes on with, files that were never finished, strays. */
import type { StorageFailure } from '../drivers/driver.ts';
import { isRepositoryName } from '../oci/name.ts';
import { isRunning } from '../process-identity.ts';
import { abandonedUploads, lastTouched } from '../store/abandoned-uploads.ts';
import { DRIVER_FOLDER, EVERYTHING, QUARANTINE, REPOSITORIES, TEMPORARY } from '../store/layout.ts';
import { leftOut } from '../store/repository-alias.ts';
import type { Fault } from './scrub-faults.ts';
import type { ScrubTools } from './scrub-tools.ts';

/** A file of a process of which nothing is known, and that nobody has written to for so long (milliseconds). */
const ABANDONED_AFTER = 3600_000;

/** What is drawn in store/layout.ts. */
const TOP = new Set(['blobs', 'repositories', DRIVER_FOLDER.slice(EVERYTHING.length)]);
const IN_REPOSITORY = new Set([
  '_layers',
  '_locks',
  '_manifests',
  '_pulls',
  '_referrers',
  '_trash',
  '_uploads',
]);

/** @param uploadAgeMs how long an upload may lie there without being written to, in milliseconds */
export async function scrubLeftovers(tools: ScrubTools, uploadAgeMs: number): Promise<void> {
  const { objects, faults, signal } = tools;
  const before = Date.now() - uploadAgeMs;
  const onUnreadable = (error: StorageFailure) => faults.unreadable({}, error);
  for await (const prefix of abandonedUploads(objects, before, { signal, onUnreadable })) {
    await faults.look('leftovers', async (): Promise<Fault | undefined> => {
      if ((await objects.names(prefix)).length === 0 || (await lastTouched(objects, prefix)) >= before)
        return undefined;
      const mend = async () => {
        await objects.driver.delete([prefix]);
        return 'removed';
      };
      return { what: 'orphan upload', about: { upload: prefix }, mend };
    });
  }
  await faults.part({ folder: TEMPORARY }, async () => {
    for await (const { key } of objects.driver.list(TEMPORARY, { signal }))
      await faults.look('leftovers', () => lookAtTemporary(tools, key));
  });
  for (const name of await objects.names(EVERYTHING)) if (!TOP.has(name)) faults.stray(EVERYTHING + name);
  await findStrays(tools, REPOSITORIES);
}

async function lookAtTemporary({ objects }: ScrubTools, key: string): Promise<Fault | undefined> {
  const running = isRunning(key.slice(TEMPORARY.length));
  const info = await objects.info(key);
  if (info === undefined || running === true) return undefined;
  if (running === undefined && Date.now() - info.modified < ABANDONED_AFTER) return undefined;
  const mend = async () => {
    await objects.driver.delete([key]);
    return 'removed';
  };
  return { what: 'orphan temporary', about: { key, bytes: info.size }, mend };
}

/** Beside repositories and in them there is nothing but what registries put there. */
async function findStrays(tools: ScrubTools, parent: string): Promise<void> {
  await tools.faults.part({ folder: parent }, () => findStraysIn(tools, parent));
}

async function findStraysIn(tools: ScrubTools, parent: string): Promise<void> {
  for await (const { key } of tools.objects.level(parent, { signal: tools.signal })) {
    await tools.pace(1);
    const entry = key.slice(parent.length).replace(/\/$/, '');
    if (IN_REPOSITORY.has(entry) && parent !== REPOSITORIES) continue;
    const name = key.slice(REPOSITORIES.length, -1);
    if (!key.endsWith('/') || !isRepositoryName(name)) tools.faults.stray(key);
    else if (leftOut(tools.objects, name) === undefined) await findStrays(tools, key);
  }
}

/** What was put aside by this and earlier scrubs. */
export async function countQuarantine({
  objects,
  signal,
}: Pick<ScrubTools, 'objects' | 'signal'>): Promise<number> {
  let count = 0;
  for await (const { key } of objects.driver.list(QUARANTINE, { signal })) if (key !== '') count += 1;
  return count;
}
