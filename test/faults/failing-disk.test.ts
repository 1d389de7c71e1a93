/** A disk that reports errors, and one that is mounted read-only. */
import { afterEach, describe, expect, test } from 'bun:test';
import { mountTmpfs, type Tmpfs } from '../drivers/tmpfs.ts';
import { entrepotCommand, startEntrepot } from '../harness/entrepot.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import {
  ask,
  closing,
  digestBy,
  jsonOf,
  locationOf,
  pushBlob,
  verifyBlob,
} from '../harness/registry-client.ts';
import { run } from '../harness/tools.ts';
import { untilHolds, untilLogged } from '../harness/waiting.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { nothingYet, pushImage, verifyAll } from './pushes.ts';
import { startInjected } from './strace.ts';
import { childrenOf } from './worker-pids.ts';

let workspace: Workspace | undefined;
let disk: Tmpfs | undefined;
afterEach(async () => {
  await disk?.unmount();
  await workspace?.remove();
  disk = undefined;
  workspace = undefined;
});

async function expectRefusal(answer: Response): Promise<void> {
  expect(answer.status).toBe(503);
  const { errors } = await jsonOf<{ errors: { code: string; message: string }[] }>(answer);
  expect(errors[0]?.message).toMatch(/storage|store/);
  expect(JSON.stringify(errors)).not.toContain('/tmp');
}

describe('EIO', () => {
  for (const call of ['fsync', 'fdatasync', 'fsync,fdatasync', 'rename']) {
    test(`at every ${call}: nothing is acknowledged, the log says so, the process lives`, async () => {
      workspace = await createWorkspace('eio');
      const dataDirectory = await workspace.folder('data');
      // Only what the push does fails, not what the start does.
      const injected = await startInjected(`${call}:error=EIO`, { dataDirectory });
      const [strace] = childrenOf(injected.pid);
      const workers = childrenOf(strace ?? -1);
      const content = randomBytes('eio', 100_000);
      const digest = digestBy('sha256', content);
      const begun = await fetch(`${injected.url}/v2/eio/blobs/uploads/`, { method: 'POST' });
      if (begun.status === 202) {
        const location = locationOf(begun);
        // Of a chunk only the bytes are synced.
        const chunk = await fetch(location, { method: 'PATCH', body: content });
        if (call !== 'fsync') await expectRefusal(chunk);
        // What a failed sync may have lost cannot be acknowledged by a later one: the upload is over.
        if (call.includes('fdatasync')) await ask(injected.url, location.pathname, 404);
        for (let time = 0; time < 2; time += 1) {
          if ((await fetch(location)).status === 404) break;
          await expectRefusal(await fetch(closing(location, digest), { method: 'PUT' }));
        }
      } else await expectRefusal(begun);
      await ask(injected.url, `/v2/eio/blobs/${digest}`, 404, { method: 'HEAD' });
      await ask(injected.url, '/v2/', 200);
      await untilLogged(injected, 'input/output error (EIO)');
      expect(injected.logs()).not.toContain('ended unasked');
      expect(childrenOf(strace ?? -1)).toEqual(workers);
      await injected.dispose();

      const healthy = await startEntrepot({ dataDirectory, workers: 1 });
      await pushBlob(healthy.url, 'eio', content);
      await verifyBlob(healthy.url, 'eio', { digest, size: content.length });
      await healthy.dispose();
    }, 300_000);
  }

  test('at any single sync of a push: refused or done, and a repetition is done and whole', async () => {
    for (const call of ['fsync', 'fdatasync', 'rename']) {
      for (let step = 1, failed = true; failed; step += 2) {
        const injected = await startInjected(`${call}:error=EIO:when=${step}`);
        const done = nothingYet();
        failed = await pushImage(injected.url, 'eio/once', 'v1', 'once', done).then(
          () => false,
          (error: unknown) => {
            expect(String(error)).toContain('answered 503');
            return true;
          },
        );
        await verifyAll(injected.url, done);
        // The failure was the only one of its thread; another thread may have one still.
        for (let attempt = 0; done.tags.size === 0; attempt += 1) {
          if (attempt > 8) throw new Error(`${call} ${step}: ${injected.logs().slice(-2000)}`);
          await pushImage(injected.url, 'eio/once', 'v1', 'once', done).catch(() => undefined);
        }
        await verifyAll(injected.url, done);
        await injected.dispose();
      }
    }
  }, 300_000);
});

describe('a disk that is mounted read-only', () => {
  test('while the registry runs: reads go on, changes are refused, and work again afterwards', async () => {
    workspace = await createWorkspace('erofs');
    disk = await mountTmpfs(await workspace.folder('disk'), '8m');
    const registry = await startEntrepot({ dataDirectory: disk.path, workers: 1 });
    const done = nothingYet();
    await pushImage(registry.url, 'ro/image', 'v1', 'ro', done);
    const unneeded = await pushBlob(registry.url, 'ro/image', Buffer.from('no manifest needs it'));
    const location = locationOf(
      await ask(registry.url, '/v2/ro/image/blobs/uploads/', 202, { method: 'POST' }),
    );
    const digest = done.tags.get('ro/image:v1') ?? '';
    const manifest = await (await ask(registry.url, `/v2/ro/image/manifests/${digest}`, 200)).text();
    await disk.remount('ro');
    await verifyAll(registry.url, done);
    await ask(registry.url, '/v2/_catalog', 200);
    await ask(registry.url, '/v2/ro/image/tags/list', 200);
    await ask(registry.url, `/v2/ro/image/referrers/${digest}`, 200);
    const type = { 'content-type': 'application/vnd.oci.image.manifest.v1+json' };
    const changes: Record<string, () => Promise<Response>> = {
      POST: () => fetch(`${registry.url}/v2/ro/image/blobs/uploads/`, { method: 'POST' }),
      'POST elsewhere': () => fetch(`${registry.url}/v2/ro/new/blobs/uploads/`, { method: 'POST' }),
      PATCH: () => fetch(location, { method: 'PATCH', body: 'x' }),
      PUT: () => fetch(closing(location, digestBy('sha256', Buffer.from('x'))), { method: 'PUT', body: 'x' }),
      'DELETE of the upload': () => fetch(location, { method: 'DELETE' }),
      'PUT of a manifest': () =>
        fetch(`${registry.url}/v2/ro/image/manifests/v2`, { method: 'PUT', headers: type, body: manifest }),
      'DELETE of a manifest': () =>
        fetch(`${registry.url}/v2/ro/image/manifests/${digest}`, { method: 'DELETE' }),
      'DELETE of a tag': () => fetch(`${registry.url}/v2/ro/image/manifests/v1`, { method: 'DELETE' }),
      'DELETE of a blob': () => fetch(`${registry.url}/v2/ro/image/blobs/${unneeded}`, { method: 'DELETE' }),
    };
    for (const [name, change] of Object.entries(changes)) {
      const answer = await change();
      expect([name, answer.status]).toEqual([name, 503]);
      await expectRefusal(answer);
    }
    await untilLogged(registry, 'mounted read-only (EROFS)');
    await verifyAll(registry.url, done);
    await disk.remount('rw');
    await ask(registry.url, closing(location, digestBy('sha256', Buffer.from('x'))), 201, {
      method: 'PUT',
      body: 'x',
    });
    await registry.dispose();
  }, 300_000);

  test('at the start: one clear line and exit code 1; with `readonly` it serves what is there', async () => {
    workspace = await createWorkspace('erofs');
    disk = await mountTmpfs(await workspace.folder('disk'), '8m');
    const writable = await startEntrepot({ dataDirectory: disk.path, workers: 1 });
    const done = nothingYet();
    await pushImage(writable.url, 'ro/image', 'v1', 'ro', done);
    await writable.stop();
    await disk.remount('ro');
    const { command, args } = await entrepotCommand();
    const failed = await run(command, [...args, 'serve', writable.configFile], { mayFail: true });
    expect(failed.code).toBe(1);
    const said = `${failed.stdout}${failed.stderr}`.trim().split('\n');
    expect(said).toHaveLength(1);
    expect(said[0]).toContain(disk.path);
    expect(said[0]).toContain('read-only');
    await writable.dispose();

    const readonly = { enabled: true };
    const reading = await startEntrepot({
      dataDirectory: disk.path,
      workers: 1,
      config: { storage: { maintenance: { readonly } } },
    });
    await verifyAll(reading.url, done);
    await ask(reading.url, '/v2/ro/image/blobs/uploads/', 405, { method: 'POST' });
    await reading.dispose();
  }, 300_000);
});

test('a disk that is mounted on `repositories`: the start warns, pushes are refused and told why, and pulls go on', async () => {
  workspace = await createWorkspace('parted');
  const root = await workspace.folder('root');
  const before = await startEntrepot({ dataDirectory: root, workers: 1 });
  const done = nothingYet();
  await pushImage(before.url, 'parted/image', 'v1', 'parted', done);
  expect(before.logs()).not.toContain('another file system');
  await before.stop();
  const repositories = `${root}/docker/registry/v2/repositories`;
  disk = await mountTmpfs(await workspace.folder('disk'), '8m');
  await run('cp', ['-a', `${repositories}/parted`, disk.path]);
  await run('rm', ['-r', repositories]);
  await run('ln', ['-s', disk.path, repositories]);
  const registry = await startEntrepot({ dataDirectory: root, workers: 1 });
  await untilLogged(registry, /repositories is on another file system than .*_entrepot: pushes will fail/);
  await verifyAll(registry.url, done);
  const content = randomBytes('parted', 1000);
  const begun = await fetch(`${registry.url}/v2/parted/image/blobs/uploads/`, { method: 'POST' });
  const refused =
    begun.status === 202
      ? await fetch(closing(locationOf(begun), digestBy('sha256', content)), { method: 'PUT', body: content })
      : begun;
  await expectRefusal(refused);
  const told = ['EXDEV', 'only the whole root directory, or `docker` in it'];
  // The log may come later than the answer.
  await untilHolds(
    () => told.every((text) => registry.logs().includes(text)),
    () => registry.logs(),
  );
  await registry.dispose();
}, 300_000);

test('a disk that is mounted on the folder `docker` of the root takes pushes', async () => {
  workspace = await createWorkspace('mounted');
  const root = await workspace.folder('root');
  disk = await mountTmpfs(await workspace.folder('root/docker'), '8m');
  const registry = await startEntrepot({ dataDirectory: root, workers: 1 });
  const done = nothingYet();
  await pushImage(registry.url, 'mounted/image', 'v1', 'mounted', done);
  await verifyAll(registry.url, done);
  await registry.dispose();
}, 300_000);
