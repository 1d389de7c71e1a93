/**
 * Run by root as `as-another-user.ts ROOT`: becomes the user `nobody`, tries everything on a storage that belongs
 * to root, and prints how each attempt ended as JSON.
 */
import { type StorageFailure } from '../../src/drivers/driver.ts';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { bytes, keysOf, streamOf, textOf } from './subject.ts';

const NOBODY = 65_534;

const driver = new FilesystemDriver(process.argv[2] ?? '');
const attempts: Record<string, () => Promise<unknown>> = {
  'read there': () => textOf(driver, 'there/object'),
  'list there': async () => (await keysOf(driver, 'there/')).join(),
  'write bytes': () => driver.write('new/bytes', bytes('x')),
  'write a stream': () => driver.write('new/stream', streamOf([bytes('x')])),
  replace: () => driver.write('there/object', bytes('x')),
  'append anew': () => driver.openAppend('new/append', 0),
  'append beside': () => driver.openAppend('there/append', 0),
  append: () => driver.openAppend('there/object', 5),
  move: () => driver.move('there/object', 'there/other'),
  'move elsewhere': () => driver.move('there/object', 'new/place'),
  delete: () => driver.delete(['there/object']),
  'delete a tree': () => driver.delete(['there/']),
  'stat in a closed folder': async () => driver.stat('closed/object'),
  'read in a closed folder': () => textOf(driver, 'closed/object'),
  'read small in a closed folder': async () => driver.readSmall('closed/object'),
  'list a closed folder': () => keysOf(driver, 'closed/', { delimiter: '/' }),
  'list a closed tree': () => keysOf(driver, 'closed/'),
  probe: async () => driver.probe(),
};

const ended: Record<string, unknown> = {};
// The first touch loads what is loaded lazily, while everything can still be read.
await textOf(driver, 'there/object');
process.setgroups?.([]);
process.setgid?.(NOBODY);
process.setuid?.(NOBODY);
for (const [name, attempt] of Object.entries(attempts)) {
  try {
    ended[name] = (await attempt()) ?? 'done';
  } catch (error) {
    const { name: kind, code } = error as StorageFailure;
    ended[name] = `${kind} ${code}`;
  }
}
console.log(JSON.stringify(ended));
