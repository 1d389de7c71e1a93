/** What `entrepot usage` takes for its file, and what the help of upkeep tells. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { Command } from 'commander';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { addStorageCommands } from '../../src/cli/check-storage-commands.ts';
import { printUsage } from '../../src/cli/usage.ts';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { DRIVER_FOLDER } from '../../src/store/layout.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { pushImage } from '../store/content.ts';
import { nameOf, RULES } from '../store/subject.ts';
import { captured } from './captured-io.ts';

let workspace: Workspace;
let file: string;
beforeAll(async () => {
  workspace = await createWorkspace('usage');
  file = workspace.join('config.yml');
  await writeFile(file, `version: 0.1\nstorage: {filesystem: {rootdirectory: ${workspace.join('data')}}}\n`);
});
afterAll(() => workspace.remove());

test('usage of a storage that is not there fails, and makes none', async () => {
  const told = await captured((io) => printUsage({ file }, io));
  expect([told.code, told.err]).toEqual([1, expect.stringContaining('there is no such folder')]);
  expect(existsSync(workspace.join('data'))).toBe(false);
  const nowhere = await captured((io) => printUsage({ file: workspace.join('nope.yml') }, io));
  expect([nowhere.code, nowhere.err]).toEqual([1, expect.stringContaining('there is no such file')]);
  const pattern = await captured((io) => printUsage({ file: 'team/*' }, io));
  expect([pattern.code, pattern.err]).toEqual([2, expect.stringContaining('--repositories')]);
});

test('usage tells of the repositories of a pattern', async () => {
  const registry = new LocalRegistry(new FilesystemDriver(workspace.join('data'), DRIVER_FOLDER), RULES);
  for (const name of ['team/a', 'other/b']) await pushImage(registry.repository(nameOf(name)), ['v1']);
  const told = await captured((io) => printUsage({ file, repositories: 'team/*' }, io));
  expect(told.code).toBe(0);
  expect(told.out).toMatch(/^REPOSITORY .*\nteam\/a +1 .*\n\n/);
  // What a file manager or a crash leaves is no tag.
  const tags = workspace.join('data/docker/registry/v2/repositories/team/a/_manifests/tags');
  await writeFile(`${tags}/.DS_Store`, '');
  await mkdir(`${tags}/v2/current`, { recursive: true });
  expect((await captured((io) => printUsage({ file, repositories: 'team/*' }, io))).out).toBe(told.out);
});

test('the help of retention tells what can be said without a command', () => {
  const program = new Command('entrepot');
  addStorageCommands(program, () => undefined);
  const retention = program.commands.find((one) => one.name() === 'retention');
  let help = '';
  retention?.configureOutput({ writeOut: (text) => void (help += text) }).outputHelp();
  expect(help).toContain('explain');
  expect(help).toContain('--dry-run');
});
