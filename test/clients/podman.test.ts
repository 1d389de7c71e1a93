import { afterAll, beforeAll, expect, test } from 'bun:test';
import { appendFile } from 'node:fs/promises';
import { busyboxImage, multiArchImage } from '../harness/images.ts';
import type { LayoutImage } from '../harness/oci-layout.ts';
import { pullManifest, verifyImage } from '../harness/registry-client.ts';
import { type Finished, requireTool } from '../harness/tools.ts';
import { type ClientSandbox, openClientSandbox } from './client-sandbox.ts';

let sandbox: ClientSandbox;
let busybox: LayoutImage;

beforeAll(async () => {
  for (const tool of ['podman', 'conmon', 'runc', 'skopeo', 'umoci', 'busybox']) requireTool(tool);
  sandbox = await openClientSandbox('podman');
  busybox = await busyboxImage(sandbox.workspace.join('busybox'));
  const archive = sandbox.workspace.join('busybox.tar');
  await sandbox.run('tar', ['-C', sandbox.workspace.join('busybox-bundle', 'rootfs'), '-cf', archive, '.']);
  await podman('import', archive, 'localhost/imported');
}, 300_000);

afterAll(async () => {
  await podman('rm', '--all', '--force');
  await sandbox.close();
}, 300_000);

/** podman with its images, containers and networks in the sandbox. */
async function podman(...args: string[]): Promise<string> {
  return (await podmanAt('storage', args)).stdout.trim();
}

/** The same over another storage folder: a machine that has no image yet. */
async function podmanAt(storage: string, args: readonly string[], mayFail = false): Promise<Finished> {
  const { workspace } = sandbox;
  const place = [
    ['--root', workspace.join(storage)],
    ['--runroot', workspace.join(`${storage}-run`)],
    ['--tmpdir', workspace.join(`${storage}-tmp`)],
  ];
  return await sandbox.run('podman', [...place.flat(), ...args], { mayFail });
}

const remote = (name: string, host = sandbox.registry.host) => `${host}/${name}`;

test('pushes, pulls and runs', async () => {
  await podman('tag', 'localhost/imported', remote('podman/busybox:1'));
  await podman('push', remote('podman/busybox:1'));
  await verifyImage(sandbox.registry.url, 'podman/busybox', '1');

  await podmanAt('fresh', ['pull', remote('podman/busybox:1')]);
  const command = [
    'run',
    '--rm',
    '--network',
    'none',
    remote('podman/busybox:1'),
    '/bin/busybox',
    'echo',
    'alive',
  ];
  expect((await podmanAt('fresh', command)).stdout).toBe('alive\n');
  // By digest, and without asking the registry for what is here already.
  const { digest } = await pullManifest(sandbox.registry.url, 'podman/busybox', '1');
  await podmanAt('fresh', ['pull', remote(`podman/busybox@${digest}`)]);
});

test('finds repositories and lists tags', async () => {
  for (const tag of ['1', '2', 'latest']) {
    await podman('push', 'localhost/imported', `docker://${remote(`podman/search:${tag}`)}`);
  }
  expect(await podman('search', '--format', '{{.Name}}', remote('search'))).toContain(
    remote('podman/search'),
  );
  const tags = await podman('search', '--list-tags', remote('podman/search'));
  // This version prints the table with a headline whatever the format says.
  const listed = tags.split('\n').flatMap((line) => /^127\..* (\S+)$/.exec(line.trim())?.[1] ?? []);
  expect(listed.sort()).toEqual(['1', '2', 'latest']);
});

test('an index is pushed whole, and a manifest list made of what is in the registry', async () => {
  const multi = await multiArchImage(sandbox.workspace.join('multi'));
  const flags = ['--insecure-policy', 'copy', '--all'];
  await sandbox.run('skopeo', [...flags, multi.reference, `docker://${remote('podman/multi:1')}`]);
  await podman('pull', '--platform', 'linux/arm64', remote('podman/multi:1'));
  expect(await podman('image', 'inspect', '--format', '{{.Architecture}}', remote('podman/multi:1'))).toBe(
    'arm64',
  );

  await podman('manifest', 'create', 'list', `docker://${remote('podman/multi:1')}`, '--all');
  await podman('manifest', 'push', '--all', 'list', `docker://${remote('podman/list:1')}`);
  const list = await pullManifest(sandbox.registry.url, 'podman/list', '1');
  expect(list.document.manifests).toHaveLength(3);
  await verifyImage(sandbox.registry.url, 'podman/list', '1');
});

test('pulls another name through a mirror', async () => {
  await sandbox.run('skopeo', [
    '--insecure-policy',
    'copy',
    busybox.reference,
    `docker://${remote('mirrored/library/busybox:1')}`,
  ]);
  await appendFile(
    sandbox.env['CONTAINERS_REGISTRIES_CONF'] ?? '',
    [
      '',
      '[[registry]]',
      'location = "registry.example"',
      '[[registry.mirror]]',
      `location = "${sandbox.proxy.host}/mirrored"`,
      'insecure = true',
      '',
    ].join('\n'),
  );
  await podmanAt('mirror', ['pull', 'registry.example/library/busybox:1']);
  expect(sandbox.proxy.matching(/^GET \/v2\/mirrored\/library\/busybox\/manifests\/1/)).not.toBeEmpty();
});

test('an image that does not exist is a plain error', async () => {
  const { code, stderr } = await podmanAt('storage', ['pull', remote('no/such:thing')], true);
  expect(code).not.toBe(0);
  expect(stderr).toMatch(/(?:manifest|name) unknown/i);
});
