/** What frees space works where there is none: deletion and upkeep on a disk without a free byte. */
import { mkdir, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mountTmpfs, type Tmpfs } from '../drivers/tmpfs.ts';
import { entrepotCommand, type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { ask, digestBy, pushBlob } from '../harness/registry-client.ts';
import { run } from '../harness/tools.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const QUOTA = [{ repositories: 'q/*', bytes: '20MB' }];

let workspace: Workspace;
let disk: Tmpfs;
let registry: RunningRegistry;
beforeAll(async () => {
  workspace = await createWorkspace('full-deletion');
  disk = await mountTmpfs(await workspace.folder('disk'), '24m');
  registry = await startEntrepot({ dataDirectory: disk.path, workers: 2, config: { quotas: QUOTA } });
});
afterAll(async () => {
  await registry?.dispose();
  await disk?.unmount();
  await workspace?.remove();
});

let fillers = 0;

/** Takes all that is free, again after each deletion. */
async function fillDisk(): Promise<void> {
  const { bavail, bsize } = await statfs(disk.path);
  fillers += 1;
  await writeFile(join(disk.path, `filler-${fillers}`), Buffer.alloc(bavail * bsize));
  expect((await statfs(disk.path)).bavail).toBe(0);
}

/** @returns the manifest's digest */
async function push(repository: string, tags: readonly string[], size = 200_000): Promise<string> {
  const layer = randomBytes(repository, size);
  for (const blob of [Buffer.from('{}'), layer]) await pushBlob(registry.url, repository, blob);
  const describe = (blob: Uint8Array, mediaType: string) => ({
    mediaType,
    digest: digestBy('sha256', blob),
    size: blob.length,
  });
  const body = JSON.stringify({
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: describe(Buffer.from('{}'), 'application/vnd.oci.image.config.v1+json'),
    layers: [describe(layer, 'application/vnd.oci.image.layer.v1.tar')],
    annotations: { repository },
  });
  for (const tag of tags) {
    await ask(registry.url, `/v2/${repository}/manifests/${tag}`, 201, {
      method: 'PUT',
      headers: { 'content-type': MANIFEST },
      body,
    });
  }
  return digestBy('sha256', Buffer.from(body));
}

async function entrepot(...args: readonly string[]) {
  const { command, args: before } = await entrepotCommand();
  return run(command, [...before, ...args], { mayFail: true });
}

test('tags, patterns, manifests, repositories, and every job', async () => {
  const repositories = ['q/one', 'q/two', 'q/three', 'q/four', 'plain/five', 'plain/six'];
  const digests = new Map<string, string>();
  for (const name of repositories) digests.set(name, await push(name, ['v1', 'dev-1', 'dev-2']));
  const gone = async (path: string) => {
    await fillDisk();
    await ask(registry.url, path, 202, { method: 'DELETE' });
    await ask(registry.url, path, 404, { method: 'DELETE' });
  };
  await gone('/v2/q/one/manifests/v1');
  await fillDisk();
  const matching = '/v2/q/one/_entrepot/tags?match=dev-*';
  const pattern = await ask(registry.url, matching, 202, { method: 'DELETE' });
  expect(await pattern.text()).toMatch(/"tag":"dev-1".*"tag":"dev-2"/);
  await gone(`/v2/q/one/manifests/${digests.get('q/one')}`);
  await gone('/v2/q/one/_entrepot/repository');
  await gone('/v2/q/two/_entrepot/repository');
  await gone(`/v2/plain/five/manifests/${digests.get('plain/five')}`);

  // By the commands: beside the server, and without one.
  for (const [name, tag] of [
    ['plain/six', 'v1'],
    ['q/three', 'v1'],
  ]) {
    await fillDisk();
    expect(await entrepot('delete', `${name}:${tag}`, registry.configFile)).toMatchObject({ code: 0 });
    await fillDisk();
    expect(await entrepot('delete', '--yes', `${name}:dev-*`, registry.configFile)).toMatchObject({
      code: 0,
    });
    await fillDisk();
    const manifest = `${name}@${digests.get(name ?? '')}`;
    expect(await entrepot('delete', manifest, registry.configFile)).toMatchObject({ code: 0 });
    await fillDisk();
    expect(await entrepot('delete', '--yes', String(name), registry.configFile)).toMatchObject({ code: 0 });
    if (name === 'plain/six') await registry.stop();
  }
  await fillDisk();
  const scrubbed = await entrepot('scrub', registry.configFile);
  expect([scrubbed.code, scrubbed.stdout]).toEqual([0, expect.stringContaining('not remembered')]);
  expect(scrubbed.stdout.match(/not remembered/g)).toHaveLength(1);
  // Nobody can be told that it is alone, so it spares what is young; then there is no room to count.
  const collected = await entrepot('gc', registry.configFile);
  const told = expect.stringMatching(/^kept plain\/five links 2 [^]*problem q\/\* [^]*problems 1,/m);
  expect([collected.code, collected.stdout]).toEqual([3, told]);
});

test('where no file can be made any more a server starts, and all that frees space works', async () => {
  const small = await mountTmpfs(await workspace.folder('inodes'), '24m,nr_inodes=600');
  const folder = join(small.path, 'fillers');
  const takeInodes = async (): Promise<void> => {
    await mkdir(folder, { recursive: true }).catch(() => undefined);
    while ((await statfs(small.path)).ffree > 0) {
      fillers += 1;
      await writeFile(join(folder, String(fillers)), '').catch(() => undefined);
    }
  };
  const commands = (isServed: boolean) => [
    ['delete', 'a/tag:v1'],
    ['delete', '--yes', 'a/repository'],
    // Beside a server it would wait for pushes that may want what it takes.
    ['gc', '--grace', '0s', ...(isServed ? [] : ['--delete-untagged'])],
    ['scrub'],
  ];
  try {
    for (const isServed of [true, false]) {
      await registry.dispose();
      // The first start makes its folders.
      await (isServed ? mkdir(folder) : takeInodes());
      registry = await startEntrepot({ dataDirectory: small.path, workers: 2 });
      await rm(folder, { recursive: true });
      for (const name of ['a/tag', 'a/repository']) await push(name, ['v1'], 100);
      if (!isServed) await registry.stop();
      for (const command of commands(isServed)) {
        await takeInodes();
        const { code, stderr } = await entrepot(...command, registry.configFile);
        expect([isServed, command, code, stderr]).toEqual([isServed, command, 0, expect.any(String)]);
      }
      if (isServed) continue;
      await takeInodes();
      // What cannot be done is told in one line.
      const { code, stderr } = await entrepot('read-only', 'on', registry.configFile);
      expect([code, stderr]).toEqual([1, expect.stringMatching(/^[^\n]*the disk is full \(ENOSPC\)\n$/)]);
    }
  } finally {
    await registry.dispose();
    await small.unmount();
  }
});
