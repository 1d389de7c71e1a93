import { afterAll, beforeAll, expect, test } from 'bun:test';
import { writeFile } from 'node:fs/promises';
import { busyboxImage, layeredImage, multiArchImage } from '../harness/images.ts';
import type { LayoutImage } from '../harness/oci-layout.ts';
import { pullManifest, verifyImage } from '../harness/registry-client.ts';
import { requireTool } from '../harness/tools.ts';
import { type ClientSandbox, openClientSandbox } from './client-sandbox.ts';
import { type Containerd, startContainerd } from './containerd.ts';

let sandbox: ClientSandbox;
let containerd: Containerd;
let busybox: LayoutImage;
let multi: LayoutImage;

beforeAll(async () => {
  for (const tool of ['containerd', 'ctr', 'runc', 'skopeo', 'umoci', 'busybox']) requireTool(tool);
  sandbox = await openClientSandbox('containerd');
  containerd = await startContainerd(sandbox, 'first');
  busybox = await busyboxImage(sandbox.workspace.join('busybox'));
  multi = await multiArchImage(sandbox.workspace.join('multi'));
}, 300_000);

afterAll(async () => {
  await containerd.daemon.stop();
  await sandbox.close();
}, 300_000);

const remote = (name: string, host = sandbox.registry.host) => `${host}/${name}`;

/** Puts an image into the registry by other means. */
async function seed(image: LayoutImage, name: string): Promise<void> {
  const target = `docker://${remote(name)}`;
  await sandbox.run('skopeo', ['--insecure-policy', 'copy', '--all', image.reference, target]);
}

test('pulls, runs, and pushes under another name', async () => {
  await seed(busybox, 'ctr/busybox:1');
  await containerd.ctr('images', 'pull', '--plain-http', remote('ctr/busybox:1'));
  const command = [remote('ctr/busybox:1'), 'alive', '/bin/busybox', 'echo', 'alive'];
  const { stdout } = await containerd.ctr('run', '--rm', '--net-host', ...command);
  expect(stdout).toBe('alive\n');
  await containerd.ctr('images', 'tag', remote('ctr/busybox:1'), remote('ctr/pushed:1'));
  await containerd.ctr('images', 'push', '--plain-http', remote('ctr/pushed:1'));
  expect(await verifyImage(sandbox.registry.url, 'ctr/pushed', '1')).toContain(busybox.digest);
});

test('pushes what it did not have from this registry', async () => {
  const image = await layeredImage(sandbox.workspace.join('import'), { seed: 'import', layers: 8 });
  const archive = sandbox.workspace.join('import.tar');
  await sandbox.run('tar', ['-C', image.layout, '-cf', archive, '.']);
  await containerd.ctr('images', 'import', '--base-name', remote('ctr/import'), archive);
  await containerd.ctr('images', 'push', '--plain-http', remote('ctr/import:latest'));
  expect(await verifyImage(sandbox.registry.url, 'ctr/import', 'latest')).toContain(image.digest);
});

test('an index with all its platforms, there and back', async () => {
  await seed(multi, 'ctr/multi:1');
  await containerd.ctr('images', 'pull', '--plain-http', '--all-platforms', remote('ctr/multi:1'));
  await containerd.ctr('images', 'tag', remote('ctr/multi:1'), remote('ctr/multi-copy:1'));
  await containerd.ctr('images', 'push', '--plain-http', remote('ctr/multi-copy:1'));
  expect((await pullManifest(sandbox.registry.url, 'ctr/multi-copy', '1')).digest).toBe(multi.digest);
  expect(await verifyImage(sandbox.registry.url, 'ctr/multi-copy', '1')).toHaveLength(13);
});

test('one platform of an index, by digest', async () => {
  await seed(multi, 'ctr/platform:1');
  const name = remote(`ctr/platform@${multi.digest}`);
  await containerd.ctr('images', 'pull', '--plain-http', '--platform', 'linux/arm64', name);
});

test('a mirror named in hosts.toml is asked with ?ns=', async () => {
  await seed(busybox, 'library/busybox:1');
  const hosts = await sandbox.workspace.folder('certs.d', 'registry.example');
  await writeFile(
    `${hosts}/hosts.toml`,
    `server = "https://registry.example"\n[host."${sandbox.proxy.url}"]\n  capabilities = ["pull", "resolve"]\n`,
  );
  // Content that is stored is not fetched again: only an empty store shows that all of it came from here.
  const fresh = await startContainerd(sandbox, 'second');
  const name = 'registry.example/library/busybox:1';
  await fresh.ctr('images', 'pull', '--hosts-dir', sandbox.workspace.join('certs.d'), name);
  await fresh.daemon.stop();
  const asked = sandbox.proxy.matching(/[?&]ns=registry\.example(?:&|$)/);
  expect(asked.map((one) => one.status)).toEqual(asked.map(() => 200));
  expect(asked.map((one) => `${one.method} ${one.target}`)).toEqual(
    expect.arrayContaining([
      'HEAD /v2/library/busybox/manifests/1?ns=registry.example',
      `GET /v2/library/busybox/manifests/${busybox.digest}?ns=registry.example`,
      ...busybox.children.map((blob) => `GET /v2/library/busybox/blobs/${blob.digest}?ns=registry.example`),
    ]),
  );
});

test('pushes under a name that hosts.toml sends here', async () => {
  await seed(busybox, 'ctr/ns:1');
  const hosts = await sandbox.workspace.folder('push.d', 'push.example');
  await writeFile(
    `${hosts}/hosts.toml`,
    `server = "${sandbox.proxy.url}"\n[host."${sandbox.proxy.url}"]\n  capabilities = ["pull", "resolve", "push"]\n`,
  );
  await containerd.ctr('images', 'pull', '--plain-http', remote('ctr/ns:1'));
  await containerd.ctr('images', 'tag', remote('ctr/ns:1'), 'push.example/ctr/pushed-ns:1');
  await containerd.ctr(
    'images',
    'push',
    '--hosts-dir',
    sandbox.workspace.join('push.d'),
    'push.example/ctr/pushed-ns:1',
  );
  // containerd 1.6 adds ?ns= to pulls only.
  const puts = sandbox.proxy.matching(/^PUT \/v2\/ctr\/pushed-ns\/manifests\/1/);
  expect(puts.map((one) => one.status)).toEqual([201]);
  expect(await verifyImage(sandbox.registry.url, 'ctr/pushed-ns', '1')).toContain(busybox.digest);
});
