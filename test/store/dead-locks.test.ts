/** Locks whose owner died, also one that died while it removed the lock of another that had died. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { readdir, writeFile } from 'node:fs/promises';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { withFileLock } from '../../src/file-lock.ts';
import { isRunning, PROCESS } from '../../src/process-identity.ts';
import { DRIVER_FOLDER } from '../../src/store/layout.ts';
import { removeDeadLocks, withLease, withLocks } from '../../src/store/locks.ts';
import { Objects } from '../../src/store/objects.ts';
import { lifeOf } from '../../src/store/owner.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

/** A process of this machine that is no more: its number is another's now. */
const DEAD = PROCESS.replace(/\d+$/, '1');

let workspace: Workspace;
beforeAll(async () => {
  workspace = await createWorkspace('dead-locks');
});
afterAll(async () => {
  await workspace.remove();
});

test('of whom it cannot be told, silence tells; of another machine for as long more as clocks differ', () => {
  const [host = ''] = PROCESS.split('-');
  const otherSpace = `${host.slice(0, -4)}${host.endsWith('0000') ? '1111' : '0000'}-12-34-5`;
  const otherName = `${host.slice(0, 8)}${'0'.repeat(20)}-12-34-5`;
  const otherStart = `00000000${host.slice(8, 16)}${'0'.repeat(12)}-12-34-5`;
  const since = (seconds: number) => Date.now() - seconds * 1000;
  for (const owner of [otherSpace, otherName, otherStart, ''])
    expect([owner, lifeOf(owner, since(18), 20_000), lifeOf(owner, since(22), 20_000)]).toEqual([
      owner,
      'alive',
      'dead',
    ]);
  const stranger = `${'0'.repeat(28)}-12-34-5`;
  expect([lifeOf(stranger, since(78), 20_000), lifeOf(stranger, since(82), 20_000)]).toEqual([
    'alive',
    'dead',
  ]);
});

for (const guards of [0, 1, 2, 5]) {
  test(`a lock with ${guards} guards that the dead have left is free at once`, async () => {
    expect(isRunning(DEAD)).toBe(false);
    const objects = new Objects(new FilesystemDriver(workspace.join(`storage${guards}`), DRIVER_FOLDER));
    const leave = async (key: string): Promise<void> => {
      for (let guard = 0; guard <= guards; guard += 1)
        await objects.driver.write(key + '~'.repeat(guard), Buffer.from(`${DEAD}-0123456789abcdef`));
    };
    const left = async (): Promise<readonly string[]> =>
      Array.fromAsync(objects.driver.list('locks/'), ({ key }) => key);
    await leave('locks/a');
    expect(await withLease(objects, 'locks/a', () => Promise.resolve(1))).toEqual({ result: 1 });
    expect(await left()).toEqual([]);
    await leave('locks/a');
    await leave('locks/b');
    let inside = 0;
    // Of several that find them dead, each has its turn.
    const all = Array.from({ length: 8 }, () =>
      withLocks(objects, ['locks/a', 'locks/b'], async () => {
        inside += 1;
        expect(inside).toBe(1);
        await new Promise((resolve) => setTimeout(resolve, 5));
        inside -= 1;
      }),
    );
    await Promise.all(all);
    expect(await left()).toEqual([]);
    await leave('locks/a');
    await removeDeadLocks(objects, 'locks/');
    expect(await left()).toEqual([]);

    const file = workspace.join(`file${guards}`);
    for (let guard = 0; guard <= guards; guard += 1)
      await writeFile(`${file}.lock${'~'.repeat(guard)}`, DEAD);
    await withFileLock(file, () => Promise.resolve(), { wait: 5_000 });
    expect((await readdir(workspace.path)).filter((name) => name.startsWith('file'))).toEqual([]);
  });
}
