/** `entrepot delete` on the storage of a registry. */
import { afterAll, beforeEach, expect, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { type DeleteCommandOptions, deleteContent } from '../../src/cli/delete.ts';
import type { CommandIo } from '../../src/cli/command-io.ts';
import { DRIVER_FOLDER } from '../../src/store/layout.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { noteReadOnly } from '../../src/store/notes.ts';
import { Objects } from '../../src/store/objects.ts';
import { useStorageAlone } from '../../src/store/storage-users.ts';
import type { Repository } from '../../src/oci/registry.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { pushImage } from '../store/content.ts';
import { nameOf, RULES } from '../store/subject.ts';
import { captured } from './captured-io.ts';

const workspaces: Workspace[] = [];
let file: string;
let data: string;
let digest: string;

beforeEach(async () => {
  const workspace = await createWorkspace('delete');
  workspaces.push(workspace);
  file = workspace.join('config.yml');
  data = workspace.join('data');
  await configure('enabled: true');
  digest = (await pushImage(repository(), ['v1', 'dev-1', 'dev-2', 'latest'])).digest;
});
afterAll(async () => {
  for (const workspace of workspaces) await workspace.remove();
});

function repository(): Repository {
  return new LocalRegistry(new FilesystemDriver(data, DRIVER_FOLDER), RULES).repository(nameOf('team/app'));
}

async function configure(deletion: string, maintenance = '{}'): Promise<void> {
  const lines = [
    'version: 0.1',
    `storage: {filesystem: {rootdirectory: ${data}}, delete: {${deletion}}, maintenance: ${maintenance}}`,
    'tags: {protected: [{repositories: team/*, tags: latest}]}',
    'proxy: {upstreams: [{name: lab, url: "http://127.0.0.1:1"}]}',
  ];
  await writeFile(file, lines.join('\n'));
}

function run(what: string, options: Partial<DeleteCommandOptions> = {}, answer?: string) {
  return captured((io) =>
    deleteContent({ what, file, ...options }, answer === undefined ? io : asked(io, answer)),
  );
}

/** A terminal at which somebody types. */
function asked(io: CommandIo, answer: string): CommandIo {
  const input = Object.assign(
    (async function* () {
      yield `${answer}\n`;
    })(),
    { isTTY: true },
  );
  return { env: io.env, out: io.out, err: io.err, input: input as unknown as CommandIo['input'] };
}

async function tags(): Promise<readonly string[]> {
  return (await repository().tags.list({ limit: 10 })).items.map(String);
}

test('a tag, and what it pointed at', async () => {
  expect(await run('team/app:dev-1', { dryRun: true })).toMatchObject({
    code: 0,
    out: `team/app:dev-1 would be deleted (${digest})\n`,
  });
  expect(await run('team/app:dev-1')).toMatchObject({ code: 0, out: `team/app:dev-1 deleted (${digest})\n` });
  expect(await tags()).toEqual(['dev-2', 'latest', 'v1']);
  expect(await run('team/app:latest')).toMatchObject({
    code: 1,
    err: 'team/app:latest: the tag latest is protected: it cannot be deleted\n',
  });
});

test('a manifest tells of its tags, and is kept by one that must stay', async () => {
  expect((await run(`team/app@${digest}`)).code).toBe(1);
  expect(await tags()).toEqual(['dev-1', 'dev-2', 'latest', 'v1']);
  const other = await pushImage(repository(), ['x', 'y'], { annotations: { other: 'one' } });
  const told = `team/app@${other.digest} deleted, with its tags x, y\n`;
  expect(await run(`team/app@${other.digest}`)).toMatchObject({ code: 0, out: told });
});

test('a pattern asks first, tells of each tag, and fails when one stays', async () => {
  const refused = await run('team/app:dev-*', {}, 'n');
  expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('nothing is deleted')]);
  const told = `team/app:dev-1 deleted (${digest})\nteam/app:dev-2 deleted (${digest})\n2 tags deleted, 0 stay\n`;
  expect(await run('team/app:dev-*', {}, 'y')).toMatchObject({ code: 0, out: told });
  const all = await run('team/app:*', { yes: true });
  expect([all.code, all.out]).toEqual([
    1,
    expect.stringContaining('team/app:latest stays: the tag latest is protected'),
  ]);
  expect(await tags()).toEqual(['latest']);
  const none = { code: 0, out: 'team/app: no tag matches none*\n', err: '' };
  expect(await run('team/app:none*', { yes: true })).toEqual(none);
  expect(await run('team/app:none*', { dryRun: true, json: true })).toEqual({ ...none, out: '' });
});

test('a repository only when that is said, and not with a tag that must stay', async () => {
  expect((await run('team/app', { yes: true })).code).toBe(1);
  expect(await tags()).toHaveLength(4);
  await writeFile(
    file,
    `version: 0.1\nstorage: {filesystem: {rootdirectory: ${data}}, delete: {enabled: true}}`,
  );
  const counted = '4 tags, 1 manifest, 1 blob, 0 uploads';
  expect(await run('team/app', { dryRun: true })).toMatchObject({
    code: 0,
    out: `team/app would be deleted: ${counted}\n`,
  });
  expect((await run('team/app', {}, '')).err).toContain(`Delete team/app with all in it (${counted})? [y/N]`);
  expect(await repository().exists()).toBe(true);
  expect(await run('team/app', {}, 'yes')).toMatchObject({ code: 0, out: `team/app deleted: ${counted}\n` });
  expect(await repository().exists()).toBe(false);
  expect(await run('team/app', { yes: true })).toMatchObject({
    code: 1,
    err: expect.stringContaining('not known'),
  });
});

test.each([
  ['enabled: false', '{}', 'storage.delete.enabled'],
  ['enabled: true', '{readonly: {enabled: true}}', 'storage.maintenance.readonly'],
])('with %s and %s nothing is deleted', async (deletion, maintenance, message) => {
  await configure(deletion, maintenance);
  const told = await run('team/app:v1');
  expect([told.code, told.err]).toEqual([1, expect.stringContaining(message)]);
});

test.each([
  ['Team', 2, 'Team is no repository'],
  ['team/app:v[1]', 2, 'v[1] is no tag, and no pattern'],
  ['team/app@sha256:1', 2, 'sha256:1 is no digest'],
  ['team/app:none', 1, 'not known'],
  ['proxy/lab/x', 1, 'a cache of another registry'],
] as const)('%s: exit code %d, %s', async (what, code, message) => {
  const told = await run(what, { yes: true });
  expect([told.code, told.err]).toEqual([code, expect.stringContaining(message)]);
});

test('nothing is deleted in read-only mode, nor beside a job that has the storage to itself', async () => {
  const objects = new Objects(new FilesystemDriver(data, DRIVER_FOLDER));
  await noteReadOnly(objects, { reason: 'a backup', since: 1 });
  expect(await run('team/app:v1')).toMatchObject({
    code: 1,
    err: expect.stringContaining('the registry is read-only (a backup)'),
  });
  await noteReadOnly(objects, undefined);
  const alone = await useStorageAlone(objects, 'gc');
  const deleting = run('team/app:v1');
  const disturbed = new Promise((resolve) => alone.disturbed.addEventListener('abort', resolve));
  await disturbed;
  expect(await tags()).toContain('v1');
  await alone.end();
  expect(await deleting).toMatchObject({ code: 0, err: expect.stringMatching(/^waiting for a job/) });
  expect(await tags()).not.toContain('v1');
});

test('a folder that is not there is told, and not made', async () => {
  data += '-nowhere';
  await configure('enabled: true');
  expect((await run('team/app:v1')).err).toContain('there is no such folder');
  expect(existsSync(data)).toBe(false);
});

test('what is deleted is told to programs, a line of JSON each', async () => {
  const lines = async (what: string) =>
    (await run(what, { yes: true, json: true })).out
      .trim()
      .split('\n')
      .map((line): unknown => JSON.parse(line));
  const common = { what: 'tag', repository: 'team/app', digest };
  expect(await lines('team/app:v1')).toEqual([{ ...common, tag: 'v1', deleted: true }]);
  expect(await lines('team/app:*')).toEqual([
    { ...common, tag: 'dev-1', deleted: true },
    { ...common, tag: 'dev-2', deleted: true },
    { ...common, tag: 'latest', stays: true, why: 'the tag latest is protected: it cannot be deleted' },
  ]);
});
