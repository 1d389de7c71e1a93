/** What the filesystem driver does beyond the contract: leftovers, the directory cache, durability. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { syncDirectory } from '../../src/drivers/filesystem/durability.ts';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { SortedDirectories } from '../../src/drivers/filesystem/listing.ts';
import { temporaryName } from '../../src/drivers/filesystem/temporary.ts';
import { requireTool, run } from '../harness/tools.ts';
import { type FilesystemSubject, openFilesystem } from './filesystem-subject.ts';
import { bytes, fill, keysOf, textOf } from './subject.ts';

let subject: FilesystemSubject;
beforeEach(async () => {
  subject = await openFilesystem();
});
afterEach(async () => {
  await subject.dispose();
});

describe('leftovers of writers', () => {
  const names = () => readdirSync(join(subject.root, '_entrepot/tmp')).sort();

  test('those of dead processes are swept at the next start, those of living ones are not', async () => {
    const folder = join(subject.root, '_entrepot/tmp');
    const child = spawn(requireTool('sleep'), ['60'], { stdio: 'ignore' });
    const [host, pid, start] = temporaryName().split('-');
    const living = `${host}-${pid}-${start}-99999`;
    const reused = `${host}-${pid}-1-1`; // this process's number, but another beginning
    const ended = `${host}-4194305-77-1`; // above every pid_max
    const foreign = `0123456789ab-1-1-1`;
    const oldForeign = `0123456789ab-1-1-2`;
    for (const name of [living, reused, ended, foreign, oldForeign]) writeFileSync(join(folder, name), 'x');
    const twoDaysAgo = Date.now() / 1000 - 2 * 86_400;
    utimesSync(join(folder, oldForeign), twoDaysAgo, twoDaysAgo);
    const { stdout } = await run('cat', [`/proc/${child.pid}/stat`]);
    const childStart = stdout.slice(stdout.lastIndexOf(')') + 2).split(' ')[19];
    const childs = `${host}-${child.pid}-${childStart}-1`;
    writeFileSync(join(folder, childs), 'x');

    new FilesystemDriver(subject.root).prepare();
    expect(names()).toEqual([living, childs, foreign].sort());

    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
    new FilesystemDriver(subject.root).prepare();
    expect(names()).toEqual([living, foreign].sort());
  });

  test('those of a process that has ended but that its parent has not asked about are swept', async () => {
    // A parent that never waits: its child ends when the shell, which might, has become `sleep`.
    const child = 'until read c </proc/$$/comm && [ "$c" = sleep ]; do :; done';
    const script = `(${child}) & echo $!; exec sleep 60`;
    const parent = spawn(requireTool('sh'), ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'] });
    try {
      const pid = Number(String((await once(parent.stdout, 'data'))[0]));
      let stat = '';
      while (!stat.includes(') Z ')) stat = (await run('cat', [`/proc/${pid}/stat`])).stdout;
      const [host] = temporaryName().split('-');
      const start = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
      writeFileSync(join(subject.root, '_entrepot/tmp', `${host}-${pid}-${start}-1`), 'x');
      new FilesystemDriver(subject.root).prepare();
      expect(names()).toEqual([]);
    } finally {
      parent.kill('SIGKILL');
      await once(parent, 'exit');
    }
  });

  test('a folder for them that was removed under a running driver is made again', async () => {
    await rm(join(subject.root, '_entrepot'), { recursive: true });
    await subject.driver.write('a', bytes('x'));
    expect(await textOf(subject.driver, 'a')).toBe('x');
    expect(names()).toEqual([]);
  });
});

describe('the sorted directories', () => {
  /** A directory that looks as if it had been left alone for an hour. */
  function age(path: string, secondsAgo = 3600): void {
    const time = Math.floor(Date.now() / 1000) - secondsAgo;
    utimesSync(path, time, time);
  }

  test('a directory that stays as it is is read once', async () => {
    await fill(subject.driver, ['c/b', 'c/a', 'c/c']);
    const path = join(subject.root, 'c');
    const directories = new SortedDirectories();
    age(path);
    const first = await directories.names(path);
    expect(first).toEqual(['a', 'b', 'c']);
    expect(await directories.names(path)).toBe(first);
  });

  test('a directory that changed a moment ago is not trusted: a second change in the same tick shows', async () => {
    const path = join(subject.root, 'tick');
    await mkdir(path);
    const directories = new SortedDirectories();
    const now = Date.now() / 1000;
    for (let i = 0; i < 200; i += 1) {
      writeFileSync(join(path, String(i).padStart(3, '0')), '');
      // The clock stands still: every change has the same time.
      utimesSync(path, now, now);
      expect(await directories.names(path)).toHaveLength(i + 1);
    }
  });

  test('a change by another process, a replacement and a removal of the directory show at once', async () => {
    const path = join(subject.root, 'other');
    const directories = new SortedDirectories();
    expect(await directories.names(path)).toEqual([]);
    await mkdir(path);
    for (let i = 0; i < 100; i += 1) writeFileSync(join(path, `n${String(i).padStart(3, '0')}`), '');
    age(path);
    expect(await directories.names(path)).toHaveLength(100);
    await run('touch', [join(path, 'zz')]);
    expect(await directories.names(path)).toHaveLength(101);
    age(path, 7200);
    expect(await directories.names(path)).toHaveLength(101);
    // Another directory by the same name and with the same time, but not the same one.
    await mkdir(join(subject.root, 'fresh'));
    writeFileSync(join(subject.root, 'fresh/only'), '');
    age(join(subject.root, 'fresh'), 7200);
    await run('mv', [path, join(subject.root, 'old')]);
    await run('mv', [join(subject.root, 'fresh'), path]);
    expect(await directories.names(path)).toEqual(['only']);
    await rm(path, { recursive: true });
    expect(await directories.names(path)).toEqual([]);
  });

  test('a file in its place has no names', async () => {
    await subject.driver.write('file', bytes('x'));
    const directories = new SortedDirectories();
    expect(await directories.names(join(subject.root, 'file'))).toEqual([]);
    expect(await directories.names(`${join(subject.root, 'file')}/`)).toEqual([]);
    expect(await subject.driver.names('file/')).toEqual([]);
  });

  test('a driver’s listing shows what another process did in between', async () => {
    const keys = Array.from({ length: 100 }, (_, i) => `x/${String(i).padStart(3, '0')}/y`);
    await fill(subject.driver, keys);
    const folders = keys.map((key) => key.slice(0, -1));
    for (let round = 0; round < 5; round += 1) {
      age(join(subject.root, 'x'), 3600 - round);
      expect(await keysOf(subject.driver, 'x/', { delimiter: '/' })).toEqual(folders);
      await run('mkdir', [join(subject.root, 'x/new')]);
      expect(await keysOf(subject.driver, 'x/', { delimiter: '/' })).toEqual([...folders, 'x/new/']);
      await run('rmdir', [join(subject.root, 'x/new')]);
    }
  });
});

describe('durability', () => {
  test('those who wait for the same directory share one sync, which begins after they asked', async () => {
    const path = subject.root;
    const first = syncDirectory(path);
    const others = Array.from({ length: 99 }, () => syncDirectory(path));
    expect(new Set(others).size).toBe(1);
    expect(others[0]).not.toBe(first);
    await Promise.all([first, ...others]);
    const later = syncDirectory(path);
    expect(others).not.toContain(later);
    await later;
  });

  test('a directory that vanished needs no sync', async () => {
    await syncDirectory(join(subject.root, 'never/was'));
  });

  test('a write syncs the file, then names it, then syncs each folder that changed', async () => {
    const calls = await callsOf(`await driver.write('a/b/c', new Uint8Array([1]));`);
    const rename = calls.findIndex((call) => call.startsWith('rename'));
    expect(calls[rename]).toContain('/a/b/c"');
    expect(calls.slice(0, rename).filter((call) => call.startsWith('fsync'))).toHaveLength(1);
    expect(calls.slice(0, rename).join('\n')).toContain('_entrepot/tmp');
    const synced = syncedFolders(calls.slice(rename + 1));
    expect(synced).toEqual(['', '/a', '/a/b']);
  });

  test('a write into a folder that is there syncs that folder only; a volatile one syncs nothing', async () => {
    const calls = await callsOf(
      `await driver.write('a/b/c', new Uint8Array([1]), { volatile: true });
       process.chdir('/');
       await driver.write('a/b/d', new Uint8Array([1]));`,
    );
    const middle = calls.findIndex((call) => call.startsWith('chdir'));
    expect(calls.slice(0, middle).filter((call) => call.startsWith('fsync'))).toEqual([]);
    const rename = calls.findLastIndex((call) => call.startsWith('rename'));
    expect(syncedFolders(calls.slice(rename + 1))).toEqual(['/a/b']);
  });

  test('a move and a delete sync the folders whose names they change', async () => {
    const calls = await callsOf(
      `await driver.write('a/x', new Uint8Array([1]), { volatile: true });
       await driver.write('b/y', new Uint8Array([1]), { volatile: true });
       process.chdir('/');
       await driver.move('a/x', 'b/x');
       process.chdir('/tmp');
       await driver.delete(['b/x']);`,
    );
    const [one, two] = [calls.indexOf('chdir("/")'), calls.indexOf('chdir("/tmp")')];
    expect(syncedFolders(calls.slice(one, two))).toContain('/b');
    expect(syncedFolders(calls.slice(two))).toEqual(['/b']);
  });

  /** The system calls, without the process number and the result, of a program that uses a driver. */
  async function callsOf(program: string): Promise<string[]> {
    const script = join(subject.root, 'program.ts');
    const trace = join(subject.root, 'trace');
    const source = join(import.meta.dirname, '../../src/drivers/filesystem/filesystem-driver.ts');
    writeFileSync(
      script,
      `import { FilesystemDriver } from ${JSON.stringify(source)};
       const driver = new FilesystemDriver(${JSON.stringify(join(subject.root, 'data'))});
       driver.prepare();
       ${program}`,
    );
    const watched = 'trace=fsync,fdatasync,rename,renameat,renameat2,link,linkat,chdir';
    await run('strace', [
      '-f',
      '-qq',
      '-y',
      '-s',
      '500',
      '-e',
      watched,
      '-o',
      trace,
      process.execPath,
      script,
    ]);
    expect(existsSync(trace)).toBe(true);
    const lines = (await Bun.file(trace).text()).split('\n');
    return lines
      .map((line) => /^\d+\s+(?:<\.\.\. )?(.*?)\s*(?:= 0|<unfinished|resumed)/.exec(line)?.[1] ?? '')
      .filter((call) => call.includes('('));
  }

  /** The folders among the synced files, below the data, in order. */
  function syncedFolders(calls: readonly string[]): string[] {
    const data = join(subject.root, 'data');
    return calls
      .filter((call) => call.startsWith('fsync'))
      .map((call) => /<(.*)>/.exec(call)?.[1] ?? call)
      .map((path) => (path.startsWith(data) ? path.slice(data.length) : path))
      .filter((path) => !path.startsWith('/_entrepot'))
      .sort();
  }
});

test('writers whose folder others prune at the same moment all write', async () => {
  const drivers = [0, 1].map(() => new FilesystemDriver(subject.root));
  const failures: unknown[] = [];
  const writer = async (index: number) => {
    const driver = drivers[index % 2];
    for (let round = 0; round < 150; round += 1) {
      const key = `a/b/c/locks-${round % 3}/${index}`;
      try {
        await driver?.write(key, new Uint8Array([1]), { volatile: true });
        await driver?.delete([key]);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: 8 }, (_, index) => writer(index)));
  expect(failures).toEqual([]);
}, 300_000);

test('of two that take one object and give it back, the one that comes late finds none: nothing else', async () => {
  await subject.driver.write('u/data', new Uint8Array([1]));
  const movers = ['x', 'y'].map(
    (name) =>
      new Promise<{ taken: number; failures: readonly string[] }>((resolve, reject) => {
        const workerData = { root: subject.root, key: 'u/data', own: `u/_${name}`, rounds: 20_000 };
        const worker = new Worker(join(import.meta.dirname, 'mover.ts'), { workerData });
        worker.once('message', resolve);
        worker.once('error', reject);
      }),
  );
  for (const { taken, failures } of await Promise.all(movers)) {
    expect(failures).toEqual([]);
    expect(taken).toBeGreaterThan(0);
  }
}, 300_000);
