/** What the filesystem driver says when the system refuses: a `StorageFailure` that an operator can act on. */
import { chmod, chown, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, test } from 'bun:test';
import { canAppend, ObjectNotFound, type StorageDriver, StorageFailure } from '../../src/drivers/driver.ts';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { failureOf } from '../harness/failure-of.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { run } from '../harness/tools.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { leftoversIn } from './filesystem-subject.ts';
import { bytes, streamOf, textOf } from './subject.ts';
import { mountTmpfs, type Tmpfs } from './tmpfs.ts';

let workspace: Workspace | undefined;
let disk: Tmpfs | undefined;
afterEach(async () => {
  await disk?.unmount();
  await workspace?.remove();
  disk = undefined;
  workspace = undefined;
});

async function open(label: string): Promise<{ driver: FilesystemDriver; root: string }> {
  workspace = await createWorkspace(label);
  const driver = new FilesystemDriver(workspace.path);
  driver.prepare();
  return { driver, root: workspace.path };
}

async function openTmpfs(): Promise<{ driver: FilesystemDriver; root: string; disk: Tmpfs }> {
  workspace = await createWorkspace('tmpfs');
  disk = await mountTmpfs(await workspace.folder('disk'), '1m');
  const driver = new FilesystemDriver(disk.path);
  driver.prepare();
  return { driver, root: disk.path, disk };
}

/** Expects a failure of the storage with that code, whose message has all of the words. */
async function expectFailure(promise: Promise<unknown>, code: string, ...words: string[]): Promise<void> {
  const failure = await failureOf(promise);
  expect([failure.name, (failure as StorageFailure).code]).toEqual(['StorageFailure', code]);
  for (const word of words) expect(failure.message).toContain(word);
}

/** Every kind of change, each on an object of its own. */
function changes(driver: StorageDriver & Partial<FilesystemDriver>): Record<string, () => Promise<unknown>> {
  return {
    'write of bytes': () => driver.write('new/bytes', bytes('x')),
    'write of a stream': () => driver.write('new/stream', streamOf([bytes('x')])),
    'write if absent': () => driver.write('new/absent', bytes('x'), { ifAbsent: true }),
    replacing: () => driver.write('there/object', bytes('x')),
    'append to a new object': async () =>
      canAppend(driver) && (await driver.openAppend('new/append', 0)).close(),
    'append to an object': async () =>
      canAppend(driver) && (await driver.openAppend('there/upload', 5)).close(),
    move: async () => driver.move?.('there/object', 'new/place'),
    'commit of a write': async () => driver.commit?.([{ write: 'new/commit', bytes: bytes('x') }]),
    'commit of a move': async () => driver.commit?.([{ move: 'there/commit', to: 'new/committed' }]),
    delete: () => driver.delete(['there/object']),
    'delete of a tree': () => driver.delete(['there/']),
  };
}

test('a full disk: ENOSPC, nothing half-written stays, and the space is used again when there is some', async () => {
  const { driver, root } = await openTmpfs();
  const most = randomBytes('most', 900_000);
  await driver.write('there/most', most);
  await driver.write('there/small', bytes('small'));
  const large = randomBytes('large', 600_000);
  await expectFailure(driver.write('a/bytes', large), 'ENOSPC', root, 'the disk is full');
  const pieces = [large.subarray(0, 50_000), large.subarray(50_000)];
  const commit = [
    { move: 'there/small', to: 'a/moved' },
    { write: 'a/link', bytes: large },
  ];
  await expectFailure(driver.commit(commit), 'ENOSPC', root, 'the disk is full');
  await expectFailure(driver.write('a/stream', streamOf(pieces)), 'ENOSPC', root, 'the disk is full');
  expect(await textOf(driver, 'there/small')).toBe('small');
  expect((await leftoversIn(root)).filter((path) => path.startsWith('_entrepot'))).toEqual([]);

  const writer = await driver.openAppend('a/upload', 0);
  await expectFailure(writer.write([large.subarray(0, 300_000), large.subarray(300_000)]), 'ENOSPC', 'full');
  await writer.close();
  const { size } = await driver.stat('a/upload');
  expect(size).toBeLessThan(large.length);

  await driver.delete(['there/most']);
  const again = await driver.openAppend('a/upload', size);
  await again.write([large.subarray(size)]);
  await again.sync();
  await again.close();
  expect(Buffer.from(driver.readSmall('a/upload') ?? []).equals(large)).toBe(true);
});

test('a disk that is mounted read-only: EROFS for every change, and reads go on', async () => {
  const { driver, root, disk } = await openTmpfs();
  await driver.write('there/object', bytes('12345'));
  await driver.write('there/upload', bytes('12345'));
  await driver.write('there/commit', bytes('12345'));
  await disk.remount('ro');
  for (const [name, change] of Object.entries(changes(driver))) {
    const failure = await failureOf(change());
    expect([name, failure.name, (failure as StorageFailure).code]).toEqual([name, 'StorageFailure', 'EROFS']);
    expect(failure.message).toContain('read-only');
    expect(failure.message).toContain(root);
  }
  expect(await textOf(driver, 'there/object')).toBe('12345');
  expect(() => driver.probe()).toThrow(StorageFailure);
  await disk.remount('rw');
  for (const change of Object.values(changes(driver))) await change();
});

test('a folder of another user: EACCES for every change, told from what is absent', async () => {
  const { root } = await open('foreign');
  if (process.getuid?.() !== 0) throw new Error('this test needs root: it runs a program as another user');
  await chmod(root, 0o755);
  await mkdir(join(root, 'there'));
  await writeFile(join(root, 'there/object'), '12345');
  await mkdir(join(root, 'closed'), { mode: 0o700 });
  await writeFile(join(root, 'closed/object'), '12345');
  const script = join(import.meta.dirname, 'as-another-user.ts');
  const { stdout } = await run(process.execPath, [script, root]);
  const ended: Record<string, string> = JSON.parse(stdout);
  const { 'read there': read, 'list there': listed, ...refused } = ended;
  expect({ read, listed }).toEqual({ read: '12345', listed: 'there/object' });
  for (const [what, how] of Object.entries(refused))
    expect([what, how]).toEqual([what, 'StorageFailure EACCES']);
  expect(Object.keys(refused).length).toBeGreaterThan(8);
  expect(await readFile(join(root, 'there/object'), 'utf8')).toBe('12345');
});

test('a file where a folder is needed is a failure of the storage, not an absent object', async () => {
  const { driver, root } = await open('file');
  await writeFile(join(root, 'file'), 'in the way');
  await driver.write('source', bytes('source'));
  const writes: Record<string, () => Promise<unknown>> = {
    write: () => driver.write('file/below', bytes('x')),
    'deeper write': () => driver.write('file/below/and/below', bytes('x')),
    'write of a stream': () => driver.write('file/below', streamOf([bytes('x')])),
    'write if absent': () => driver.write('file/below', bytes('x'), { ifAbsent: true }),
    append: () => driver.openAppend('file/below', 0),
    'deeper append': () => driver.openAppend('file/below/and/below', 0),
    move: () => driver.move('source', 'file/below'),
    commit: () => driver.commit([{ write: 'file/below', bytes: bytes('x') }]),
    'deeper commit': () => driver.commit([{ move: 'source', to: 'file/below/and/below' }]),
    'deeper move': () => driver.move('source', 'file/below/and/below'),
  };
  for (const [name, write] of Object.entries(writes)) {
    const failure = await failureOf(write());
    expect([name, failure.name]).toEqual([name, 'StorageFailure']);
    expect(failure.message).toContain(join(root, 'file'));
  }
  expect(await textOf(driver, 'source')).toBe('source');
  expect(await readFile(join(root, 'file'), 'utf8')).toBe('in the way');
  expect(await readdir(join(root, '_entrepot/tmp'))).toEqual([]);
});

test('a folder where an object is to be is a failure of the storage', async () => {
  const { driver, root } = await open('folder');
  await driver.write('folder/object', bytes('x'));
  await driver.write('source', bytes('source'));
  for (const write of [
    () => driver.write('folder', bytes('x')),
    () => driver.write('folder', streamOf([bytes('x')])),
    () => driver.openAppend('folder', 0),
    () => driver.move('source', 'folder'),
    () => driver.commit([{ write: 'folder', bytes: bytes('x') }]),
    () => driver.commit([{ move: 'source', to: 'folder' }]),
  ]) {
    expect((await failureOf(write())).name).toBe('StorageFailure');
  }
  expect(await textOf(driver, 'folder/object')).toBe('x');
  expect(await textOf(driver, 'source')).toBe('source');
  expect(await readdir(join(root, '_entrepot/tmp'))).toEqual([]);
});

test('a root that cannot be one is told when the driver is prepared', async () => {
  const { root } = await open('root');
  await writeFile(join(root, 'file'), '');
  for (const path of ['file', 'file/below']) {
    const driver = new FilesystemDriver(join(root, path));
    expect(() => driver.prepare()).toThrow(/a file where a folder is needed|EEXIST|ENOTDIR/);
  }
  await chown(root, 0, 0);
  const made = new FilesystemDriver(join(root, 'not/there/yet'));
  made.prepare();
  made.probe();
  expect(await failureOf(made.stat('x'))).toBeInstanceOf(ObjectNotFound);
});

test('keys that would lead out of the root are refused by every method', async () => {
  const { driver, root } = await open('hostile');
  await mkdir(join(root, 'inside'));
  const inner = new FilesystemDriver(join(root, 'inside'));
  inner.prepare();
  await driver.write('outside', bytes('secret'));
  for (const key of [
    '../outside',
    '..',
    '/',
    '',
    'a/../../outside',
    'a//b',
    './x',
    'x/.',
    'x\0y',
    `${root}/outside`,
  ]) {
    const attempts = [
      async () => inner.stat(key),
      async () => inner.read(key),
      async () => inner.write(key, bytes('x')),
      async () => inner.openAppend(key, 0),
      async () => inner.move(key, 'to'),
      async () => inner.move('from', key),
      async () => inner.commit([{ write: key, bytes: bytes('x') }]),
      async () => inner.commit([{ move: key, to: 'to' }]),
      async () => inner.readSmall(key),
      async () => inner.statSmall(key),
      async () => inner.delete([key === '' || key === '/' ? '..' : key]),
      async () => inner.delete([`${key}/`]),
    ];
    for (const attempt of attempts)
      expect((await failureOf(attempt())).message).toContain('not a storage key');
  }
  expect(await textOf(driver, 'outside')).toBe('secret');
});
