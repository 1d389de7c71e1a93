/** What becomes of a command whose output breaks: the process as a shell starts it. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { blobKey, DRIVER_FOLDER } from '../../src/store/layout.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { entrepotCommand } from '../harness/entrepot.ts';
import { digestBy } from '../harness/registry-client.ts';
import { type Finished, run } from '../harness/tools.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { pushImage } from '../store/content.ts';
import { nameOf, RULES } from '../store/subject.ts';

let workspace: Workspace;
let driver: FilesystemDriver;
let file = '';
const bytes = Buffer.from('nobody wants this');
const garbage = digestBy('sha256', bytes) as Digest;

beforeAll(async () => {
  workspace = await createWorkspace('output');
  file = workspace.join('config.yml');
  const storage = `{filesystem: {rootdirectory: ${workspace.join('data')}}, delete: {enabled: true}}`;
  await writeFile(file, `version: 0.1\nstorage: ${storage}\n`);
  driver = new FilesystemDriver(workspace.join('data'), DRIVER_FOLDER);
  driver.prepare();
  await pushImage(new LocalRegistry(driver, RULES).repository(nameOf('team/app')), ['a', 'b', 'c']);
  await run('mkfifo', [workspace.join('pipe')]);
});

afterAll(() => workspace.remove());

/** Its output is a pipe of which the reader has gone before. */
const UNREAD = 'exec 3<>"$0"; exec 4>"$0"; exec 3<&-; exec "$@" >&4';
const FULL = 'exec "$@" >/dev/full';

async function entrepot(way: string, ...words: readonly string[]): Promise<Finished> {
  const { command, args } = await entrepotCommand();
  return run('sh', ['-c', way, workspace.join('pipe'), command, ...args, ...words], { mayFail: true });
}

const isThere = () => existsSync(workspace.join('data', blobKey(garbage)));

test('a listing that nobody reads ends as by SIGPIPE; work goes on to its end, with its own exit code', async () => {
  for (const listing of [['usage'], ['config'], ['retention', 'explain', 'team/app'], ['--help']]) {
    const { code, stderr } = await entrepot(UNREAD, ...listing, ...(listing[0] === '--help' ? [] : [file]));
    expect([listing, code, stderr]).toEqual([listing, listing[0] === '--help' ? 0 : 141, '']);
  }
  await driver.write(blobKey(garbage), bytes);
  expect(await entrepot(UNREAD, 'gc', file)).toMatchObject({ code: 0, stderr: '' });
  expect(isThere()).toBe(false);
  expect(await entrepot(UNREAD, 'scrub', file)).toMatchObject({ code: 0, stderr: '' });
  expect(await entrepot(UNREAD, 'delete', '--yes', 'team/app:a*', file)).toMatchObject({
    code: 0,
    stderr: '',
  });
  expect(existsSync(workspace.join('data/docker/registry/v2/repositories/team/app/_manifests/tags/a'))).toBe(
    false,
  );
});

test('where the output has no room one line says so at the end, and the exit code is 1', async () => {
  await driver.write(blobKey(garbage), bytes);
  for (const words of [['usage'], ['gc']]) {
    const { code, stderr } = await entrepot(FULL, ...words, file);
    expect([code, stderr.trimEnd().split('\n')]).toEqual([
      1,
      [expect.stringMatching(/^standard output: ENOSPC.*: what was told is not complete$/)],
    ]);
  }
  expect(isThere()).toBe(false);
});

test('options of registry:2 are taken in the forms that Go takes', async () => {
  await driver.write(blobKey(garbage), bytes);
  const collected = (...words: readonly string[]) => entrepot('exec "$@"', 'garbage-collect', ...words, file);
  const eligible = `blob eligible for deletion: ${garbage}`;
  const dry = await collected('--dry-run=true', '--delete-untagged=true');
  expect([dry.code, dry.stdout.includes(eligible), isThere()]).toEqual([0, true, true]);
  expect((await collected('-d', '-m=maybe')).code).toBe(2);
  const real = await collected('-d', '-q=1', '--dry-run=false');
  expect([real.code, real.stdout, isThere()]).toEqual([0, '', false]);
});
