/** `entrepot cache` beside a running server: what one does the other sees. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { writeFile } from 'node:fs/promises';
import { cacheList, cachePurge, cacheWarm } from '../../src/cli/cache.ts';
import type { CommandIo } from '../../src/cli/command-io.ts';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { DRIVER_FOLDER } from '../../src/store/layout.ts';
import { noteReadOnly } from '../../src/store/notes.ts';
import { Objects } from '../../src/store/objects.ts';
import { captured } from './captured-io.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { imageOf } from '../proxy/cache.ts';
import { startUpstream, type UpstreamServer } from '../proxy/upstream-server.ts';

let workspace: Workspace;
let upstream: UpstreamServer;
let file: string;
beforeAll(async () => {
  workspace = await createWorkspace('cache');
  upstream = await startUpstream();
  file = workspace.join('config.yml');
  const lines = [
    'version: 0.1',
    'log: {level: error}',
    `storage: {filesystem: {rootdirectory: ${workspace.join('data')}}}`,
    `proxy: {remoteurl: "${upstream.url}", upstreams: [{name: lab, url: "${upstream.url}"}]}`,
  ];
  await writeFile(file, lines.join('\n'));
  upstream.manifest(imageOf(upstream.blob(Buffer.from('{}')), upstream.blob(Buffer.from('layer'))), '1.0');
});
afterAll(async () => {
  await upstream.stop();
  await workspace.remove();
});

test('warm, list and purge an image, by each of its names', async () => {
  const { host } = new URL(upstream.url);
  for (const reference of [
    'lab/team/app:1.0',
    'proxy/lab/team/app:1.0',
    'team/app:1.0',
    `${host}/team/app:1.0`,
  ]) {
    const warm = await captured((io) => cacheWarm({ file, reference }, io));
    expect([reference, warm.code, warm.out]).toEqual([
      reference,
      0,
      expect.stringMatching(/@sha256:\w+: 1 manifests and 2 blobs are here/),
    ]);
    const list = await captured((io) => cacheList({ file }, io));
    expect(list.out).toMatch(/^proxy\/lab\/team\/app +1 manifest +\d+\.?\d* B +used \d{4}-/);
    const purge = await captured((io) => cachePurge({ file, reference }, io));
    expect([purge.code, purge.out]).toEqual([0, expect.stringContaining('1 manifests and 2 blobs are gone')]);
  }
  expect((await captured((io) => cacheList({ file }, io))).out).toBe(
    '0 repositories, 0 B (what several share counts once)\n',
  );
});

test.each([
  ['lab/team/app:none', {}, 1, 'lab/team/app:none: the manifest is not known to the upstream'],
  ['elsewhere.example:5000/x', {}, 2, 'no registry of that name is cached'],
  ['lab/team/app:1.0', { platform: 'x' }, 2, '--platform: x is none'],
] as const)('%s %p cannot be fetched, and it is said why', async (reference, options, code, message) => {
  const warm = await captured((io) => cacheWarm({ file, reference, ...options }, io));
  expect([warm.code, warm.err]).toEqual([code, expect.stringContaining(message)]);
});

test('everything is let go only when that is said', async () => {
  await captured((io) => cacheWarm({ file, reference: 'lab/team/app:1.0' }, io));
  expect((await captured((io) => cachePurge({ file }, io))).code).toBe(2);
  const all = await captured((io) => cachePurge({ file, all: true }, io));
  expect([all.code, all.out]).toEqual([0, expect.stringContaining('3 manifests and blobs are gone')]);
});

test('what changes the cache is refused in read-only mode', async () => {
  const objects = new Objects(new FilesystemDriver(workspace.join('data'), DRIVER_FOLDER));
  await noteReadOnly(objects, { reason: 'a backup', since: 1 });
  for (const command of [
    (io: CommandIo) => cacheWarm({ file, reference: 'lab/team/app:1.0' }, io),
    (io: CommandIo) => cachePurge({ file, all: true }, io),
  ]) {
    const told = await captured(command);
    expect([told.code, told.err]).toEqual([1, expect.stringContaining('read-only (a backup)')]);
  }
  expect((await captured((io) => cacheList({ file }, io))).code).toBe(0);
  await noteReadOnly(objects, undefined);
});
