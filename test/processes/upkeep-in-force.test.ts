/** Settings of upkeep that change while the server runs, and commands that are given other ones than it has. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { entrepotCommand, type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { freePort } from '../harness/ports.ts';
import { pushBlob, pushManifest, verifyImage } from '../harness/registry-client.ts';
import { type Finished, run } from '../harness/tools.ts';
import { untilHolds, untilLogged } from '../harness/waiting.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

// Only a server that hangs ever meets this limit (milliseconds); a busy machine must not.
setDefaultTimeout(120_000);

let workspace: Workspace;
let registry: RunningRegistry;

beforeAll(async () => {
  workspace = await createWorkspace('upkeep-in-force');
  const configFile = workspace.join('config.yml');
  const port = await freePort();
  const config = [
    'version: 0.1',
    `storage: {filesystem: {rootdirectory: ${await workspace.folder('data')}}, delete: {enabled: true}}`,
    `http: {addr: "127.0.0.1:${port}", workers: 2}`,
    'log: {level: info}',
    'garbage_collector: {enabled: false, grace: 1d}',
    'retention: {enabled: false, rules: [{repositories: "ci/*", keep: [{tags: "v*"}]}]}',
    'tags: {protected: [{repositories: "ci/*", tags: "v*"}]}',
    '',
  ].join('\n');
  await writeFile(configFile, config);
  registry = await startEntrepot({ configFile, port, dataDirectory: workspace.join('data') });
  for (const tag of ['v1', 'build-1', 'build-2']) await pushImage(tag);
});

afterAll(async () => {
  await registry.dispose();
  await workspace.remove();
});

async function pushImage(tag: string): Promise<void> {
  const config = Buffer.from(JSON.stringify({ tag }));
  const mediaType = 'application/vnd.oci.image.config.v1+json';
  const digest = await pushBlob(registry.url, 'ci/app', config);
  await pushManifest(registry.url, 'ci/app', tag, {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType, digest, size: config.length },
    layers: [],
  });
}

async function entrepot(...args: readonly string[]): Promise<Finished> {
  const { command, args: before } = await entrepotCommand();
  return run(command, [...before, ...args], { mayFail: true });
}

/** Replaced as an editor does it. */
async function replace(from: string, to: string, file = registry.configFile): Promise<void> {
  const text = await readFile(registry.configFile, 'utf8');
  expect(text).toContain(from);
  await writeFile(`${file}.new`, text.replace(from, to));
  await rename(`${file}.new`, file);
}

const tags = async (): Promise<unknown> => (await fetch(`${registry.url}/v2/ci/app/tags/list`)).json();

test('a command goes by what the file says when it is given, also where the server has been asked by nobody else', async () => {
  const { configFile } = registry;
  expect((await entrepot('retention', '--dry-run', configFile)).stdout).toContain('tags 3, goes 2, ');
  await replace('{tags: "v*"}', '{tags: "v*"}, {newest: 1}');
  expect((await entrepot('retention', '--dry-run', configFile)).stdout).toContain('tags 3, goes 1, ');
  // What was loosened a moment ago protects.
  await replace('{newest: 1}', '{tags: "build-*"}');
  expect((await entrepot('retention', configFile)).stdout).toContain('tags 3, deleted 0, ');
  expect(await tags()).toEqual({ name: 'ci/app', tags: ['build-1', 'build-2', 'v1'] });
  await verifyImage(registry.url, 'ci/app', 'build-1');
  const digest = await pushBlob(registry.url, 'ci/app', Buffer.from('nobody needs it'));
  expect((await entrepot('gc', '--dry-run', configFile)).stdout).not.toContain(digest);
  await replace('grace: 1d', 'grace: 1ms');
  expect((await entrepot('gc', '--dry-run', configFile)).stdout).toContain(digest);
  await untilLogged(registry, 'the settings of garbage_collector are taken up');
  await untilLogged(registry, 'the settings of retention are taken up');
  expect(registry.logs()).not.toContain('counts from the next start');
});

test('other settings than those of the server: what only tells goes by them and says so, what deletes is refused', async () => {
  const other = workspace.join('other.yml');
  await replace('{tags: "build-*"}', '{newest: 1}', other);
  const dry = await entrepot('retention', '--dry-run', other);
  expect(dry).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('tags 3, goes 1, '),
    stderr: expect.stringContaining(
      `the server that runs goes by other settings (retention) than ${other}: this is what they would do`,
    ),
  });
  const explained = await entrepot('retention', 'explain', 'ci/app:build-1', other);
  expect(explained.stdout).toStartWith('build-1 goes');
  for (const refused of [await entrepot('retention', other), await entrepot('gc', other)])
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringContaining('the server that runs goes by other settings (retention) than'),
    ]);
  expect(await tags()).toEqual({ name: 'ci/app', tags: ['build-1', 'build-2', 'v1'] });
  // What a command says itself counts anyway, and when it runs is no matter of it.
  await replace('grace: 1ms', 'grace: 2d', other);
  const asked = await entrepot('gc', '--grace', '3d', other);
  expect([asked.code, asked.stderr]).toEqual([0, '']);
  expect((await entrepot('gc', other)).stderr).toContain('(garbage_collector.grace)');
  // Another storage by the same socket.
  const away = await workspace.folder('away');
  const socket = join(registry.dataDirectory, '_entrepot/admin.sock');
  await replace('storage: {', `admin: {socket: ${socket}}\nstorage: {`, other);
  const text = await readFile(other, 'utf8');
  await writeFile(other, text.replace(`rootdirectory: ${registry.dataDirectory}`, `rootdirectory: ${away}`));
  expect((await entrepot('retention', other)).stderr).toContain('(storage)');
  const elsewhere = `${socket}: the server that listens there has another storage than ${other}`;
  const switched = await entrepot('read-only', 'on', other);
  expect([switched.code, switched.stderr]).toEqual([1, `${elsewhere}: nothing was done\n`]);
  expect((await entrepot('read-only', 'status', registry.configFile)).stdout).toBe('read-only mode is off\n');
  expect((await entrepot('jobs', other)).stderr).toBe(`${elsewhere}\n`);
  await replace('retention: {enabled: false,', 'retention: {enabled: true, interval: 5h,', other);
  expect((await entrepot('retention', other)).code).toBe(0);
});

test('what the rules of the server keep is not deleted by a command whose file has none', async () => {
  const other = workspace.join('other.yml');
  await replace('tags: {protected: [{repositories: "ci/*", tags: "v*"}]}', '', other);
  const differ = `the server that runs goes by other settings (tags) than ${other}`;
  const dry = await entrepot('delete', '--dry-run', 'ci/app:v1', other);
  expect([dry.code, dry.stderr]).toEqual([0, `${differ}: this is what they would do\n`]);
  const refused = await entrepot('delete', '--yes', 'ci/app:v1', other);
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining(`${differ} and`)]);
  const { configFile } = registry;
  expect((await entrepot('delete', '--yes', 'ci/app:v1', configFile)).stderr).toContain('is protected');
  await verifyImage(registry.url, 'ci/app', 'v1');
});

test('a timetable that changes is kept to; quotas are told to be other ones', async () => {
  const { configFile } = registry;
  const next = async (): Promise<string> => (await entrepot('jobs', configFile)).stdout;
  expect(await next()).toMatch(/^gc does not run by itself/m);
  await replace('garbage_collector: {enabled: false', 'garbage_collector: {enabled: true, interval: 5h');
  await untilHolds(async () => /^gc runs next at/m.test(await next()));
  expect((await entrepot('usage', configFile)).stderr).toBe('');
  await writeFile(
    configFile,
    `${await readFile(configFile, 'utf8')}quotas: [{repositories: "ci/*", bytes: 1GB}]\n`,
  );
  expect((await entrepot('usage', configFile)).stderr).toContain('holds to other quotas than');
  await untilHolds(() => registry.logs().includes('quotas counts from the next start'));
});
