/** A collector in a process of its own, as that of another node: over a folder, again and again, until it is ended. */
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { DRIVER_FOLDER } from '../../src/store/layout.ts';
import { collectOnce } from '../upkeep/collecting.ts';

const [folder = '', graceMs = '0', rounds = '1', aheadMs = '0'] = process.argv.slice(2);
const driver = new FilesystemDriver(folder, DRIVER_FOLDER);
for (let round = 0; round < Number(rounds); round += 1) {
  let skipped = 0;
  const { summary } = await collectOnce(driver, {
    untagged: true,
    graceMs: Number(graceMs),
    now: () => Date.now() + Number(aheadMs) + skipped,
    // The times that it waits for readers and pushes are left out but for a moment: what is safe does not rest on them.
    wait: async (milliseconds) => {
      await new Promise((resolve) => setTimeout(resolve, 30));
      skipped += Math.max(0, milliseconds);
    },
  });
  process.stdout.write(`${JSON.stringify(summary)}\n`);
}
