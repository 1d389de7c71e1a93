/** Real clients pulling another registry's images through Entrepot: cold, warm, and with that registry stopped. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdir, writeFile } from 'node:fs/promises';
import { startDockerRegistry } from '../harness/docker-registry.ts';
import { busyboxImage, layeredImage } from '../harness/images.ts';
import { pause } from '../harness/waiting.ts';
import { verifyImage } from '../harness/registry-client.ts';
import type { RunningRegistry } from '../harness/running-registry.ts';
import { requireTool } from '../harness/tools.ts';
import { type ClientSandbox, openClientSandbox } from './client-sandbox.ts';
import { type Containerd, startContainerd } from './containerd.ts';
import { type Dockerd, startDockerd } from './dockerd.ts';

let upstream: RunningRegistry;
let sandbox: ClientSandbox;
let containerd: Containerd;
let dockerd: Dockerd;

beforeAll(async () => {
  for (const tool of ['docker-registry', 'skopeo', 'umoci', 'busybox', 'docker', 'ctr']) requireTool(tool);
  upstream = await startDockerRegistry({});
  const upstreams = [
    { name: 'upstream.example', url: upstream.url, tagttl: '0s' },
    { name: 'pushed', url: upstream.url, tagttl: '0s', push: true },
  ];
  sandbox = await openClientSandbox('proxy', { config: { proxy: { upstreams } } });
  containerd = await startContainerd(sandbox, 'containerd');
  dockerd = await startDockerd(sandbox, 'docker');
  const images = {
    'lib/busybox:1': await busyboxImage(sandbox.workspace.join('busybox')),
    'lib/layers:1': await layeredImage(sandbox.workspace.join('layers'), { layers: 20, seed: 'proxy' }),
  };
  for (const [name, image] of Object.entries(images)) {
    const args = [
      '--insecure-policy',
      'copy',
      '--dest-tls-verify=false',
      image.reference,
      `docker://${upstream.host}/${name}`,
    ];
    await sandbox.run('skopeo', args);
  }
}, 300_000);

afterAll(async () => {
  await containerd.daemon.stop();
  await dockerd.stop();
  await sandbox.close();
  await upstream.dispose();
}, 300_000);

const here = (name: string) => `${sandbox.registry.host}/proxy/upstream.example/${name}`;

/** Copies to a new folder and tells the manifest's digest. */
async function pull(name: string, folder: string): Promise<string> {
  const target = `dir:${await sandbox.workspace.folder(folder)}`;
  await sandbox.run('skopeo', ['--insecure-policy', 'copy', `docker://${here(name)}`, target]);
  const { stdout } = await sandbox.run('skopeo', [
    'inspect',
    '--format',
    '{{.Digest}}',
    `docker://${here(name)}`,
  ]);
  return stdout.trim();
}

test('skopeo: cold and warm, and the digest is the upstream’s', async () => {
  const { stdout } = await sandbox.run('skopeo', [
    'inspect',
    '--tls-verify=false',
    '--format',
    '{{.Digest}}',
    `docker://${upstream.host}/lib/layers:1`,
  ]);
  const before = upstream.logs().length;
  expect(await pull('lib/layers:1', 'cold')).toBe(stdout.trim());
  expect(await pull('lib/layers:1', 'warm')).toBe(stdout.trim());
  const gets =
    upstream
      .logs()
      .slice(before)
      .match(/GET \/v2\/lib\/layers\/blobs\/sha256:\w+/g) ?? [];
  expect(new Set(gets).size).toBe(gets.length);
}, 300_000);

test('docker pulls and runs', async () => {
  await dockerd.docker(['pull', here('lib/busybox:1')]);
  const command = [
    'run',
    '--rm',
    '--network',
    'none',
    here('lib/busybox:1'),
    '/bin/busybox',
    'echo',
    'alive',
  ];
  expect((await dockerd.docker(command)).stdout).toBe('alive\n');
}, 300_000);

test('containerd takes it for a mirror', async () => {
  const hosts = sandbox.workspace.join('certs.d');
  await mkdir(`${hosts}/upstream.example`, { recursive: true });
  const lines = [
    'server = "http://127.0.0.1:1"',
    `[host."${sandbox.registry.url}"]`,
    '  capabilities = ["pull", "resolve"]',
  ];
  await writeFile(`${hosts}/upstream.example/hosts.toml`, lines.join('\n'));
  await containerd.ctr('images', 'pull', '--hosts-dir', hosts, 'upstream.example/lib/busybox:1');
}, 300_000);

test('what is pushed to an upstream that takes pushes is there, and here; to others it is refused', async () => {
  const image = await layeredImage(sandbox.workspace.join('handed-on'), { layers: 4, seed: 'handed on' });
  const copy = (target: string) =>
    sandbox.run('skopeo', ['--insecure-policy', 'copy', '--dest-tls-verify=false', image.reference, target]);
  await copy(`docker://${sandbox.registry.host}/pushed/lib/handed-on:1`);
  expect(await verifyImage(upstream.url, 'lib/handed-on', '1')).not.toEqual([]);
  // Its log may come late.
  await pause(300);
  const asked = upstream.logs().length;
  expect(await verifyImage(sandbox.registry.url, 'pushed/lib/handed-on', '1')).not.toEqual([]);
  expect(upstream.logs().slice(asked)).not.toContain('GET /v2/lib/handed-on/blobs');
  const refusal = await copy(`docker://${here('lib/handed-on:2')}`).then(
    () => '',
    (error: unknown) => String(error),
  );
  expect(refusal).toContain('cannot be pushed to');
}, 300_000);

test('with the upstream stopped, what was pulled before still comes', async () => {
  await upstream.stop();
  await pull('lib/layers:1', 'stopped');
  await dockerd.docker(['rmi', '--force', here('lib/busybox:1')]);
  await dockerd.docker(['pull', here('lib/busybox:1')]);
}, 300_000);
