/** A scrub in a process of its own, to be killed: `bun scrub-child.ts ROOT`. It tells each look, and takes its time. */
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { DRIVER_FOLDER } from '../../src/store/layout.ts';
import { scrubbed } from './scrubbing.ts';

const driver = new FilesystemDriver(process.argv[2] ?? '', DRIVER_FOLDER);
const pace = async (objects: number): Promise<void> => {
  if (objects > 0) process.stdout.write('.');
  await new Promise((resolve) => setTimeout(resolve, 2));
};
await scrubbed(driver, { noteEveryMs: 0 }, { pace });
