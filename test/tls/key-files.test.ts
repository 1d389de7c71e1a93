/** Files of keys and certificates as they may be found, and as they are left. */
import { afterEach, beforeEach, expect, test } from 'bun:test';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readPem } from '../../src/app-certificates.ts';
import { withFileLock } from '../../src/file-lock.ts';
import { AcmeFolder } from '../../src/tls/acme-folder.ts';
import { placeText, readText, writeText } from '../../src/tls/key-files.ts';
import { failureOf } from '../harness/failure-of.ts';
import { run } from '../harness/tools.ts';
import { mountTmpfs } from '../drivers/tmpfs.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'entrepot-keys-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

test('what is no file is told at once', async () => {
  const path = join(folder, 'pipe');
  await run('mkfifo', [path]);
  for (const other of [path, folder, '/dev/null', '/dev/zero']) {
    expect((await failureOf(readText(other))).message).toBe(`${other} is no file`);
    expect(() => readPem('http.tls.certificate', other)).toThrow(
      `http.tls.certificate: ${other}: it is no file`,
    );
  }
  expect(await readText(join(folder, 'none'))).toBeUndefined();
});

test('a file is placed once, and what is there stays', async () => {
  const path = join(folder, 'a');
  expect([await placeText(path, 'one', 0o600), await placeText(path, 'two', 0o600)]).toEqual([true, false]);
  expect([await readFile(path, 'utf8'), (await stat(path)).mode & 0o777]).toEqual(['one', 0o600]);
  expect(await readdir(folder)).toEqual(['a']);
});

test('a write that fails leaves nothing behind, on a full disk neither', async () => {
  await mkdir(join(folder, 'taken'));
  await failureOf(writeText(join(folder, 'taken'), 'text', 0o600));
  expect(await readdir(folder)).toEqual(['taken']);
  const disk = await mountTmpfs(join(folder, 'taken'), '64k');
  try {
    const failed = await failureOf(writeText(join(disk.path, 'key'), 'x'.repeat(100_000), 0o600));
    expect([failed.message, await readdir(disk.path)]).toEqual([expect.stringContaining('ENOSPC'), []]);
    // Nor a lock that names nobody.
    await writeFile(join(disk.path, 'fill'), Buffer.alloc(64 * 1024));
    const locked = await failureOf(withFileLock(join(disk.path, 'key'), () => Promise.resolve()));
    expect([locked.message, await readdir(disk.path)]).toEqual([expect.stringContaining('ENOSPC'), ['fill']]);
  } finally {
    await disk.unmount();
  }
});

test('the keys of a directory’s account are for this user alone', async () => {
  const acme = new AcmeFolder(join(folder, 'acme'));
  await acme.accountKey();
  const path = join(acme.path, 'account.key');
  await chmod(path, 0o640);
  const warnings: string[] = [];
  for (const _ of [1, 2]) await acme.tighten((message) => warnings.push(message));
  expect(warnings).toEqual([expect.stringContaining(`${path} could be read by others (0640)`)]);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
});
