/** A thread that takes one object and gives it back until it is told to stop: `workerData` is `{ root, key, own }`. */
import { parentPort, workerData } from 'node:worker_threads';
import { ObjectNotFound } from '../../src/drivers/driver.ts';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';

const { root, key, own, rounds } = workerData as {
  readonly root: string;
  readonly key: string;
  readonly own: string;
  readonly rounds: number;
};
const driver = new FilesystemDriver(root);
let taken = 0;
const failures: string[] = [];
for (let round = 0; round < rounds; round += 1) {
  try {
    await driver.move(key, own, { volatile: true });
    await driver.move(own, key, { volatile: true });
    taken += 1;
  } catch (error) {
    if (!(error instanceof ObjectNotFound)) failures.push(String(error));
  }
}
parentPort?.postMessage({ taken, failures });
