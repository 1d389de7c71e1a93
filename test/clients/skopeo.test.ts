import { afterAll, beforeAll, expect, test } from 'bun:test';
import { bigImage, busyboxImage, layeredImage, multiArchImage } from '../harness/images.ts';
import { type LayoutImage, readLayoutImage } from '../harness/oci-layout.ts';
import { pullManifest, verifyImage } from '../harness/registry-client.ts';
import { requireTool } from '../harness/tools.ts';
import { type ClientSandbox, openClientSandbox } from './client-sandbox.ts';

let sandbox: ClientSandbox;
/** Images that the tests share; a test that changes a repository has one of its own. */
let busybox: LayoutImage;
let multi: LayoutImage;

beforeAll(async () => {
  requireTool('skopeo');
  requireTool('umoci');
  requireTool('busybox');
  sandbox = await openClientSandbox('skopeo');
  busybox = await busyboxImage(sandbox.workspace.join('busybox'));
  multi = await multiArchImage(sandbox.workspace.join('multi'));
}, 300_000);

afterAll(async () => {
  await sandbox.close();
});

/** skopeo, made to keep its blob cache in the sandbox: for root it would be in /var/lib/containers. */
async function skopeo(...args: string[]): Promise<string> {
  return await skopeoOf('xdg/data', ...args);
}

/** The same with another blob cache: what one user's skopeo knows, another's does not. */
async function skopeoOf(cache: string, ...args: string[]): Promise<string> {
  const env = { _CONTAINERS_ROOTLESS_UID: '4711', XDG_DATA_HOME: sandbox.workspace.join(cache) };
  return (await sandbox.run('skopeo', ['--insecure-policy', ...args], { env, timeout: 240_000 })).stdout;
}

const remote = (name: string, host = sandbox.registry.host) => `docker://${host}/${name}`;

test('pushes, inspects, lists, pulls and deletes an image made by umoci', async () => {
  await skopeo('copy', busybox.reference, remote('library/busybox:1'));
  await skopeo('copy', busybox.reference, remote('library/busybox:2'));
  expect(await verifyImage(sandbox.registry.url, 'library/busybox', '1')).toHaveLength(3);

  const shown: { Digest: string; RepoTags: string[]; Architecture: string; Layers: string[] } = JSON.parse(
    await skopeo('inspect', remote('library/busybox:1')),
  );
  expect(shown.Digest).toBe(busybox.digest);
  expect(shown.RepoTags.sort()).toEqual(['1', '2']);
  expect(shown.Layers).toEqual(busybox.children.slice(1).map((layer) => layer.digest));
  expect(await skopeo('inspect', '--raw', remote('library/busybox:1'))).toBe(
    Buffer.from(busybox.bytes).toString(),
  );
  const listed: { Tags: string[] } = JSON.parse(await skopeo('list-tags', remote('library/busybox')));
  expect(listed.Tags.sort()).toEqual(['1', '2']);

  const copy = sandbox.workspace.join('busybox-copy');
  await skopeo('copy', remote('library/busybox:1'), `oci:${copy}:back`);
  expect((await readLayoutImage(copy, 'back')).digest).toBe(busybox.digest);
  await skopeo('copy', remote(`library/busybox@${busybox.digest}`), `dir:${sandbox.workspace.join('dir')}`);

  await skopeo('delete', remote('library/busybox:1'));
  const gone = await fetch(`${sandbox.registry.url}/v2/library/busybox/manifests/${busybox.digest}`);
  expect(gone.status).toBe(404);
  // skopeo deletes the manifest by its digest, and with it every tag of it.
  const { stderr } = await sandbox.run(
    'skopeo',
    ['--insecure-policy', 'inspect', remote('library/busybox:2')],
    { mayFail: true },
  );
  expect(stderr).toContain('manifest unknown');
});

test('the image that was pulled runs', async () => {
  await skopeo('copy', busybox.reference, remote('run/busybox:1'));
  const copy = sandbox.workspace.join('run-copy');
  await skopeo('copy', remote('run/busybox:1'), `oci:${copy}:back`);
  const bundle = sandbox.workspace.join('run-bundle');
  await sandbox.run('umoci', ['unpack', '--rootless', '--image', `${copy}:back`, bundle]);
  expect((await sandbox.run(`${bundle}/rootfs/bin/busybox`, ['echo', 'alive'])).stdout).toBe('alive\n');
});

test('an index goes there and back with --all, its digest unchanged', async () => {
  await skopeo('copy', '--all', multi.reference, remote('multi/all:1'));
  expect((await pullManifest(sandbox.registry.url, 'multi/all', '1')).digest).toBe(multi.digest);
  // The index, and three images of a manifest, a config and two layers.
  expect(await verifyImage(sandbox.registry.url, 'multi/all', '1')).toHaveLength(13);

  const copy = sandbox.workspace.join('multi-copy');
  await skopeo('copy', '--all', remote('multi/all:1'), `oci:${copy}:back`);
  expect((await readLayoutImage(copy, 'back')).digest).toBe(multi.digest);
});

test('one image of an index is chosen by architecture', async () => {
  await skopeo('copy', '--all', multi.reference, remote('multi/one:1'));
  const config: { architecture: string } = JSON.parse(
    await skopeo('--override-arch', 'arm64', 'inspect', '--config', remote('multi/one:1')),
  );
  expect(config.architecture).toBe('arm64');
  const copy = sandbox.workspace.join('arm64');
  await skopeo('--override-arch', 'arm64', 'copy', remote('multi/one:1'), `oci:${copy}:back`);
  expect((await readLayoutImage(copy, 'back')).digest).toBe(multi.children[1]?.digest ?? '');
});

test('converts to Docker schema 2 and to a manifest list on the way', async () => {
  await skopeo('copy', '--format', 'v2s2', busybox.reference, remote('docker/busybox:1'));
  const image = await pullManifest(sandbox.registry.url, 'docker/busybox', '1');
  expect(image.mediaType).toBe('application/vnd.docker.distribution.manifest.v2+json');
  await skopeo('copy', '--all', '--format', 'v2s2', multi.reference, remote('docker/multi:1'));
  const list = await pullManifest(sandbox.registry.url, 'docker/multi', '1');
  expect(list.mediaType).toBe('application/vnd.docker.distribution.manifest.list.v2+json');
  expect(await verifyImage(sandbox.registry.url, 'docker/multi', '1')).toHaveLength(13);
});

test('copies between repositories by mounting, without sending a layer', async () => {
  const image = await layeredImage(sandbox.workspace.join('mount'), { seed: 'mount', layers: 3 });
  const { proxy } = sandbox;
  await skopeo('copy', image.reference, remote('mount/from:1', proxy.host));
  await skopeo('copy', remote('mount/from:1', proxy.host), remote('mount/to:1', proxy.host));
  const mounts = proxy.matching(/^POST \/v2\/mount\/to\/blobs\/uploads\/\?.*mount=/);
  expect(mounts.map((one) => one.status)).toEqual(mounts.map(() => 201));
  expect(mounts.length).toBeGreaterThanOrEqual(3);
  // The config it has at hand, and sends.
  const sent = proxy.matching(/^PUT \/v2\/mount\/to\/blobs\//).map((one) => decodeURIComponent(one.target));
  expect(sent).toEqual([expect.stringContaining(image.children[0]?.digest ?? '')]);
  expect(await verifyImage(sandbox.registry.url, 'mount/to', '1')).toContain(image.digest);
});

test('two hundred small layers', async () => {
  const image = await layeredImage(sandbox.workspace.join('layers'), { layers: 200, layerBytes: 500 });
  await skopeo('copy', image.reference, remote('many/layers:1'));
  expect(await verifyImage(sandbox.registry.url, 'many/layers', '1')).toHaveLength(202);
  const copy = sandbox.workspace.join('layers-copy');
  await skopeo('copy', remote('many/layers:1'), `oci:${copy}:back`);
  expect((await readLayoutImage(copy, 'back')).digest).toBe(image.digest);
}, 300_000);

test('a layer of 1 GiB', async () => {
  const image = await bigImage(sandbox.workspace.join('big'), 1024 ** 3);
  await skopeo('copy', '--preserve-digests', image.reference, remote('big/layer:1'));
  const manifest = await pullManifest(sandbox.registry.url, 'big/layer', '1');
  expect(manifest.digest).toBe(image.digest);
  // skopeo compares every blob with its digest as it comes.
  const copy = sandbox.workspace.join('big-copy');
  await skopeo('copy', '--preserve-digests', remote('big/layer:1'), `dir:${copy}`);
}, 240_000);

test('one image pushed four times at once', async () => {
  const image = await layeredImage(sandbox.workspace.join('race'), { seed: 'race', layers: 5 });
  const names = ['race/same:a', 'race/same:a', 'race/same:b', 'race/other:a'];
  await Promise.all(
    names.map((name, user) => skopeoOf(`user-${user}`, 'copy', image.reference, remote(name))),
  );
  for (const [repository, tag] of [
    ['race/same', 'a'],
    ['race/same', 'b'],
    ['race/other', 'a'],
  ] as const) {
    expect(await verifyImage(sandbox.registry.url, repository, tag)).toContain(image.digest);
  }
});

test('synchronises a repository with all its tags and architectures', async () => {
  await skopeo('copy', '--all', multi.reference, remote('sync/me:1'));
  await skopeo('copy', '--all', multi.reference, remote('sync/me:2'));
  const folder = await sandbox.workspace.folder('synced');
  const source = `${sandbox.registry.host}/sync/me`;
  await skopeo('sync', '--all', '--src', 'docker', '--dest', 'dir', source, folder);
  await skopeo(
    'sync',
    '--all',
    '--src',
    'docker',
    '--dest',
    'docker',
    source,
    `${sandbox.registry.host}/copied`,
  );
  expect(await verifyImage(sandbox.registry.url, 'copied/me', '2')).toContain(multi.digest);
});

test('an image that does not exist is a plain error', async () => {
  const { code, stderr } = await sandbox.run(
    'skopeo',
    ['--insecure-policy', 'inspect', remote('no/such:thing')],
    { mayFail: true },
  );
  expect(code).not.toBe(0);
  expect(stderr).toMatch(/(?:manifest|name) unknown/i);
});
