import { ObjectExists, ObjectNotFound, type StorageDriver } from '../drivers/driver.ts';
import { endOwner, isAlive, newOwner } from './owner.ts';

/**
 * A move for drivers that have none: a copy, guarded by a mark beside the source, which names its maker. A mark
 * of a dead one is removed; what it had copied is copied again.
 * @throws ObjectNotFound when there is nothing at `from`, or another mover is at it
 */
export async function moveByCopy(
  driver: StorageDriver,
  from: string,
  to: string,
  options: { readonly volatile?: boolean },
): Promise<void> {
  const owner = newOwner();
  const slash = from.lastIndexOf('/') + 1;
  const mark = `${from.slice(0, slash)}_moving.${from.slice(slash)}`;
  try {
    await driver.stat(from);
    await takeMark(driver, mark, owner, from);
    try {
      const body = await driver.read(from);
      await driver.write(to, body instanceof Blob ? body.stream() : body, options);
      await driver.delete([from], options);
    } finally {
      await driver.delete([mark]);
    }
  } finally {
    endOwner(owner);
  }
}

async function takeMark(driver: StorageDriver, mark: string, owner: string, from: string): Promise<void> {
  try {
    await driver.write(mark, Buffer.from(owner), { ifAbsent: true, volatile: true });
  } catch (error) {
    if (!(error instanceof ObjectExists)) throw error;
    await removeDeadMark(driver, mark);
    throw new ObjectNotFound(from);
  }
}

async function removeDeadMark(driver: StorageDriver, mark: string): Promise<void> {
  let maker: string;
  let modified: number;
  try {
    ({ modified } = await driver.stat(mark));
    maker = await new Response(await driver.read(mark)).text();
  } catch {
    return; // it has just ended
  }
  if (!isAlive(maker, modified)) await driver.delete([mark]);
}
