/** A backup that is mounted to be read only, or belongs to another user, can be looked at by the commands that change nothing. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { blobKey, DRIVER_FOLDER, TRASH } from '../../src/store/layout.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { Objects } from '../../src/store/objects.ts';
import { mountTmpfs, type Tmpfs } from '../drivers/tmpfs.ts';
import { run } from '../harness/tools.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { pushBlob, pushImage } from '../store/content.ts';
import { nameOf, RULES } from '../store/subject.ts';
import { keysIn } from '../upkeep/collecting.ts';
import { runAll } from './reading-commands.ts';

let workspace: Workspace;
let tmpfs: Tmpfs;
let file: string;
let driver: FilesystemDriver;
beforeAll(async () => {
  workspace = await createWorkspace('read-only');
  await chmod(workspace.path, 0o755);
  await mkdir(workspace.join('data'));
  tmpfs = await mountTmpfs(workspace.join('data'), '8m');
  driver = new FilesystemDriver(tmpfs.path, DRIVER_FOLDER);
  driver.prepare();
  // What a server has left, of which nobody else can see whether it runs.
  await mkdir(`${tmpfs.path}/_entrepot`, { mode: 0o700 });
  const repository = new LocalRegistry(driver, RULES).repository(nameOf('team/a'));
  await pushImage(repository, ['v1', 'old'], { layers: ['layer'] });
  const { digest } = await pushBlob(repository, 'left by a crash');
  const objects = new Objects(driver);
  await objects.driver.delete([`docker/registry/v2/repositories/team/a/_layers/sha256/${digest.slice(7)}/`]);
  await objects.move(blobKey(digest), `${TRASH}${digest.replace(':', '-')}`);
  file = workspace.join('config.yml');
  await writeFile(
    file,
    [
      'version: 0.1',
      `storage: {filesystem: {rootdirectory: ${tmpfs.path}}}`,
      'retention: {rules: [{repositories: "**", delete: "old", keep: [{tags: "v*"}]}]}',
      'quotas: [{repositories: "{namespace}/*", bytes: 5MB}]',
      '',
    ].join('\n'),
  );
});
afterAll(async () => {
  await tmpfs.unmount();
  await workspace.remove();
});

function check(ended: Awaited<ReturnType<typeof runAll>>, code: string): void {
  const unasked = `^the server cannot be asked: .*/admin\\.sock: permission denied: .*; this is done without it$`;
  const codes = Object.fromEntries(Object.entries(ended).map(([name, one]) => [name, one.code]));
  expect({ codes, ended }).toMatchObject({
    codes: {
      scrub: 0,
      // The mark of what a crash has left in the trash cannot be written.
      'gc --dry-run': 3,
      'garbage-collect --dry-run': 3,
      'retention run --dry-run': 0,
      'retention explain': 0,
      usage: 0,
      gc: 1,
      'scrub --repair': 1,
    },
  });
  for (const name of ['scrub', 'gc --dry-run', 'retention run --dry-run', 'retention explain'])
    expect([name, ended[name]?.err.split('\n')]).toEqual([
      name,
      [
        ...(code === 'EACCES' ? [expect.stringMatching(new RegExp(unasked))] : []),
        expect.stringMatching(new RegExp(`^the storage can only be read \\(${code}\\): `)),
        '',
      ],
    ]);
  expect(ended['scrub']?.out).toContain('repositories 1');
  expect(ended['retention explain']?.out).toMatch(/team\/a:old goes/);
  expect(ended['usage']?.out).toMatch(/^team +1 +2 /m);
  expect(ended['gc']?.err).toContain(code === 'EACCES' ? 'permission denied' : code);
}

test('on a mount that is read-only, and as a user that may only read, what changes nothing is done without a lock', async () => {
  const before = await keysIn(driver);
  const { stdout } = await run(process.execPath, [`${import.meta.dirname}/reading-commands.ts`, file]);
  check(JSON.parse(stdout), 'EACCES');
  await tmpfs.remount('ro');
  check(await runAll(file), 'EROFS');
  expect(await keysIn(driver)).toEqual(before);
});
