import { afterAll, beforeAll, expect, test } from 'bun:test';
import { writeFile } from 'node:fs/promises';
import { pullManifest, verifyImage } from '../harness/registry-client.ts';
import { requireTool } from '../harness/tools.ts';
import { type ClientSandbox, openClientSandbox } from './client-sandbox.ts';

let sandbox: ClientSandbox;

beforeAll(async () => {
  requireTool('buildah');
  requireTool('runc');
  requireTool('busybox');
  sandbox = await openClientSandbox('buildah');
  await sandbox.workspace.folder('empty');
}, 300_000);

afterAll(async () => {
  await buildah('rm', '--all');
  await sandbox.close();
}, 300_000);

/** buildah with its images and containers in the sandbox. */
async function buildah(...args: string[]): Promise<string> {
  return await buildahAt('storage', ...args);
}

/** The same over another storage folder: a machine that has no image yet. */
async function buildahAt(storage: string, ...args: string[]): Promise<string> {
  const { workspace } = sandbox;
  const place = ['--root', workspace.join(storage), '--runroot', workspace.join(`${storage}-run`)];
  return (await sandbox.run('buildah', [...place, ...args])).stdout.trim();
}

const remote = (name: string, host = sandbox.registry.host) => `docker://${host}/${name}`;

/** Commits an image with one small layer, and busybox in it. */
async function commit(name: string, text: string, ...flags: string[]): Promise<void> {
  const file = sandbox.workspace.join(`${name}.txt`);
  await writeFile(file, text);
  const container = await buildah('from', 'scratch');
  await buildah('copy', container, requireTool('busybox'), '/bin/busybox');
  await buildah('copy', container, file, '/text');
  await buildah('config', '--cmd', '["/bin/busybox","cat","/text"]', container);
  await buildah('commit', ...flags, '--rm', container, name);
}

test('builds, pushes and pulls on a machine that has nothing', async () => {
  await commit('plain', 'plain');
  await buildah('push', 'plain', remote('buildah/plain:1'));
  expect(await verifyImage(sandbox.registry.url, 'buildah/plain', '1')).toHaveLength(3);
  await buildahAt('fresh', 'pull', remote('buildah/plain:1').replace('docker://', ''));
  const container = await buildahAt('fresh', 'from', `${sandbox.registry.host}/buildah/plain:1`);
  const mount = await buildahAt('fresh', 'mount', container);
  expect((await sandbox.run('cat', [`${mount}/text`])).stdout).toBe('plain');
  await buildahAt('fresh', 'rm', '--all');
});

test('pushes both formats', async () => {
  await commit('formats', 'formats');
  await buildah('push', '--format', 'v2s2', 'formats', remote('buildah/formats:docker'));
  await buildah('push', '--format', 'oci', 'formats', remote('buildah/formats:oci'));
  const docker = await pullManifest(sandbox.registry.url, 'buildah/formats', 'docker');
  const oci = await pullManifest(sandbox.registry.url, 'buildah/formats', 'oci');
  expect(docker.mediaType).toBe('application/vnd.docker.distribution.manifest.v2+json');
  expect(oci.mediaType).toBe('application/vnd.oci.image.manifest.v1+json');
});

test('layers compressed by zstd', async () => {
  await commit('zstd', 'zstd');
  await buildah('push', '--format', 'oci', '--compression-format', 'zstd', 'zstd', remote('buildah/zstd:1'));
  const { bytes } = await pullManifest(sandbox.registry.url, 'buildah/zstd', '1');
  expect(bytes.toString()).toContain('application/vnd.oci.image.layer.v1.tar+zstd');
  await verifyImage(sandbox.registry.url, 'buildah/zstd', '1');
  await buildahAt('fresh-zstd', 'pull', `${sandbox.registry.host}/buildah/zstd:1`);
});

test('a manifest list with all of its images', async () => {
  await commit('amd', 'amd64');
  await commit('arm', 'arm64');
  await buildah('manifest', 'create', 'both');
  await buildah('manifest', 'add', '--arch', 'amd64', 'both', 'amd');
  await buildah('manifest', 'add', '--arch', 'arm64', '--variant', 'v8', 'both', 'arm');
  await buildah('manifest', 'push', '--all', 'both', remote('buildah/both:1'));
  const list = await pullManifest(sandbox.registry.url, 'buildah/both', '1');
  expect(list.document.manifests).toHaveLength(2);
  await verifyImage(sandbox.registry.url, 'buildah/both', '1');

  const shown: { manifests: { platform: { architecture: string } }[] } = JSON.parse(
    await buildah('manifest', 'inspect', `${sandbox.registry.host}/buildah/both:1`),
  );
  expect(shown.manifests.map((one) => one.platform.architecture).sort()).toEqual(['amd64', 'arm64']);
  const name = `${sandbox.registry.host}/buildah/both:1`;
  const container = await buildahAt('fresh-list', 'from', '--arch', 'arm64', name);
  const mount = await buildahAt('fresh-list', 'mount', container);
  expect((await sandbox.run('cat', [`${mount}/text`])).stdout).toBe('arm64');
  await buildahAt('fresh-list', 'rm', '--all');
});

test('builds on a base that it pulls, with RUN, and mounts the base when it pushes', async () => {
  const { proxy } = sandbox;
  await commit('base', 'base');
  await buildah('push', 'base', remote('buildah/base:1', proxy.host));
  const context = await sandbox.workspace.folder('context');
  await writeFile(
    `${context}/Dockerfile`,
    `FROM ${proxy.host}/buildah/base:1\nRUN ["/bin/busybox", "touch", "/made"]\nCMD ["/bin/busybox", "true"]\n`,
  );
  const bud = ['bud', '--isolation', 'chroot', '--layers', '--tag', 'child', context];
  await buildahAt('builder', ...bud);
  await buildahAt('builder', 'push', 'child', remote('buildah/child:1', proxy.host));
  await verifyImage(sandbox.registry.url, 'buildah/child', '1');
  const mounts = proxy.matching(/^POST \/v2\/buildah\/child\/blobs\/uploads\/\?.*mount=/);
  expect(mounts.map((one) => one.status)).toContain(201);
});
