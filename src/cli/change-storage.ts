/** Commands that change the storage themselves, beside a server that runs or not: what they have to ask first. */
import { openStorage } from '../app.ts';
import { readOnlyReason } from '../app-upkeep.ts';
import type { Config } from '../config/config.ts';
import type { StorageDriver } from '../drivers/driver.ts';
import { Objects } from '../store/objects.ts';
import { StorageTaken, useStorage } from '../store/storage-users.ts';
import { CommandFailure, type CommandIo } from './command-io.ts';

/**
 * Does the work as a user of the storage, so that no job believes that it has it to itself.
 * @param what the command, for who waits for it
 * @throws CommandFailure while changes are refused, or when a job keeps the storage to itself
 * @throws StartFailure when the storage cannot be used
 */
export async function changeStorage<T>(
  config: Config,
  what: string,
  io: CommandIo,
  work: (driver: StorageDriver) => Promise<T>,
): Promise<T> {
  const driver = openStorage(config);
  const objects = new Objects(driver);
  const refuse = async () => {
    const reason = await readOnlyReason(config, objects);
    if (reason !== undefined) throw new CommandFailure(reason);
  };
  await refuse();
  try {
    const use = await useStorage(objects, what, {
      onWait: (holder) => io.err(`waiting for ${holder}\n`),
    });
    try {
      // It may have been switched on while this waited.
      await refuse();
      return await work(driver);
    } finally {
      await use.end();
    }
  } catch (error) {
    if (error instanceof StorageTaken) throw new CommandFailure(error.message);
    throw error;
  }
}
