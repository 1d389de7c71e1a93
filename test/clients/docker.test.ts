import { afterAll, beforeAll, expect, test } from 'bun:test';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { layeredImage, multiArchImage } from '../harness/images.ts';
import { pullManifest, verifyImage } from '../harness/registry-client.ts';
import { requireTool } from '../harness/tools.ts';
import { type ClientSandbox, openClientSandbox } from './client-sandbox.ts';
import { type Dockerd, startDockerd } from './dockerd.ts';

let sandbox: ClientSandbox;
let first: Dockerd;
/** A machine that has no image yet; its daemon takes the registry for a mirror of the public hub. */
let second: Dockerd;

beforeAll(async () => {
  for (const tool of ['dockerd', 'docker', 'containerd', 'runc', 'skopeo', 'busybox']) requireTool(tool);
  sandbox = await openClientSandbox('docker');
  first = await startDockerd(sandbox, 'first');
  second = await startDockerd(sandbox, 'second', { 'registry-mirrors': [sandbox.proxy.url] });
  await mkdir(sandbox.workspace.join('rootfs', 'bin'), { recursive: true });
  await copyFile(requireTool('busybox'), sandbox.workspace.join('rootfs', 'bin', 'busybox'));
}, 300_000);

afterAll(async () => {
  await first.stop();
  await second.stop();
  await sandbox.close();
}, 300_000);

const remote = (name: string, host = sandbox.registry.host) => `${host}/${name}`;

/** An image of one layer with busybox and a text in it, in the first daemon. */
async function importImage(name: string, text: string): Promise<void> {
  const rootfs = sandbox.workspace.join('rootfs');
  await writeFile(`${rootfs}/text`, text);
  const archive = sandbox.workspace.join('rootfs.tar');
  await sandbox.run('tar', ['-C', rootfs, '-cf', archive, '.']);
  await first.docker(['import', '--change', 'CMD ["/bin/busybox","cat","/text"]', archive, name]);
}

test('pushes, pulls on a machine that has nothing, and runs', async () => {
  await importImage(remote('docker/plain:1'), 'plain');
  const pushed = await first.docker(['push', remote('docker/plain:1')]);
  const { digest } = await pullManifest(sandbox.registry.url, 'docker/plain', '1');
  expect(pushed.stdout).toContain(digest);
  await verifyImage(sandbox.registry.url, 'docker/plain', '1');

  const pulled = await second.docker(['pull', remote('docker/plain:1')]);
  expect(pulled.stdout).toContain(digest);
  const { stdout } = await second.docker(['run', '--rm', '--network', 'none', remote('docker/plain:1')]);
  expect(stdout).toBe('plain');
  await second.docker(['pull', remote(`docker/plain@${digest}`)]);
});

test('pushes all tags, and pulls all tags', async () => {
  for (const tag of ['1', '2', '3']) await importImage(remote(`docker/tags:${tag}`), `tag ${tag}`);
  await first.docker(['push', '--all-tags', remote('docker/tags')]);
  await second.docker(['pull', '--all-tags', remote('docker/tags')]);
  const { stdout } = await second.docker(['images', '--format', '{{.Tag}}', remote('docker/tags')]);
  expect(stdout.trim().split('\n').sort()).toEqual(['1', '2', '3']);
});

test('pushes to a second repository by mounting', async () => {
  const { proxy } = sandbox;
  await importImage(remote('docker/from:1', proxy.host), 'mount');
  await first.docker(['push', remote('docker/from:1', proxy.host)]);
  await first.docker(['tag', remote('docker/from:1', proxy.host), remote('docker/to:1', proxy.host)]);
  const { stdout } = await first.docker(['push', remote('docker/to:1', proxy.host)]);
  expect(stdout).toContain('Mounted from docker/from');
  const mounts = proxy.matching(/^POST \/v2\/docker\/to\/blobs\/uploads\/\?.*mount=/);
  expect(mounts.map((one) => one.status)).toEqual([201]);
  await verifyImage(sandbox.registry.url, 'docker/to', '1');
});

test('two pushes of one image at once, and of two that share a layer', async () => {
  await importImage(remote('docker/race:a'), 'race');
  await first.docker(['tag', remote('docker/race:a'), remote('docker/race:b')]);
  await first.docker(['tag', remote('docker/race:a'), remote('docker/race-too:a')]);
  const names = ['docker/race:a', 'docker/race:a', 'docker/race:b', 'docker/race-too:a'];
  await Promise.all(names.map((name) => first.docker(['push', remote(name)])));
  const all = await verifyImage(sandbox.registry.url, 'docker/race', 'a');
  expect(await verifyImage(sandbox.registry.url, 'docker/race', 'b')).toEqual(all);
  expect(await verifyImage(sandbox.registry.url, 'docker/race-too', 'a')).toEqual(all);
});

test('an image of many layers', async () => {
  const image = await layeredImage(sandbox.workspace.join('layers'), { layers: 60, seed: 'docker' });
  const target = remote('docker/layers:1');
  await sandbox.run('skopeo', ['--insecure-policy', 'copy', image.reference, `docker://${target}`]);
  await second.docker(['pull', target]);
  await second.docker(['tag', target, remote('docker/layers-copy:1')]);
  await second.docker(['push', remote('docker/layers-copy:1')]);
  await verifyImage(sandbox.registry.url, 'docker/layers-copy', '1');
}, 300_000);

test('an OCI index is pulled and inspected; a manifest list is made and pushed', async () => {
  const multi = await multiArchImage(sandbox.workspace.join('multi'), { architectures: ['amd64', 'arm64'] });
  const copy = ['--insecure-policy', 'copy', '--all'];
  await sandbox.run('skopeo', [...copy, multi.reference, `docker://${remote('docker/multi:1')}`]);
  await second.docker(['pull', '--platform', 'linux/arm64', remote('docker/multi:1')]);
  const format = ['--format', '{{.Architecture}}'];
  const { stdout } = await second.docker(['image', 'inspect', ...format, remote('docker/multi:1')]);
  expect(stdout.trim()).toBe('arm64');

  const list = [...copy, '--format', 'v2s2', multi.reference, `docker://${remote('docker/list:1')}`];
  await sandbox.run('skopeo', list);
  const inspected = await first.docker(['manifest', 'inspect', '--insecure', remote('docker/list:1')]);
  const shown: { manifests: { platform: { architecture: string } }[] } = JSON.parse(inspected.stdout);
  expect(shown.manifests.map((one) => one.platform.architecture)).toEqual(['amd64', 'arm64']);

  for (const name of ['x', 'y']) {
    await importImage(remote(`docker/made:${name}`), name);
    await first.docker(['push', remote(`docker/made:${name}`)]);
  }
  const parts = [remote('docker/made:x'), remote('docker/made:y')];
  await first.docker(['manifest', 'create', '--insecure', remote('docker/made:both'), ...parts]);
  const last = ['--arch', 'arm64', remote('docker/made:both'), remote('docker/made:y')];
  await first.docker(['manifest', 'annotate', ...last]);
  await first.docker(['manifest', 'push', '--insecure', remote('docker/made:both')]);
  const made = await pullManifest(sandbox.registry.url, 'docker/made', 'both');
  expect(made.document.manifests).toHaveLength(2);
  await verifyImage(sandbox.registry.url, 'docker/made', 'both');
});

test('BuildKit builds on a base from the registry, and the result is pushed', async () => {
  await importImage(remote('docker/base:1'), 'base');
  await first.docker(['push', remote('docker/base:1')]);
  const context = await sandbox.workspace.folder('context');
  await writeFile(
    `${context}/Dockerfile`,
    `FROM ${remote('docker/base:1')}\nRUN ["/bin/busybox", "sh", "-c", "echo built > /text"]\nLABEL made=by-test\n`,
  );
  const build = ['build', '--network', 'none', '--tag', remote('docker/built:1'), context];
  await second.docker(build, { env: { DOCKER_BUILDKIT: '1' } });
  await second.docker(['push', remote('docker/built:1')]);
  await verifyImage(sandbox.registry.url, 'docker/built', '1');
  await first.docker(['pull', remote('docker/built:1')]);
  const { stdout } = await first.docker(['run', '--rm', '--network', 'none', remote('docker/built:1')]);
  expect(stdout).toBe('built\n');
});

test('the daemon takes it for a mirror of the public hub', async () => {
  await importImage(remote('library/from-mirror:1'), 'mirror');
  await first.docker(['push', remote('library/from-mirror:1')]);
  await second.docker(['pull', 'from-mirror:1']);
  expect(sandbox.proxy.matching(/^GET \/v2\/library\/from-mirror\/blobs\//)).not.toBeEmpty();
});

test('an image that does not exist is a plain error', async () => {
  const { code, stderr } = await first.docker(['pull', remote('no/such:thing')], { mayFail: true });
  expect(code).not.toBe(0);
  expect(stderr).toMatch(/(?:manifest|name) .*(?:unknown|not found)/i);
});

test('a search is answered, if only by "not found"', async () => {
  const { stdout, stderr } = await first.docker(['search', remote('docker')], { mayFail: true });
  expect(`${stdout}${stderr}`).toMatch(/404|NAME/);
});
