/** What users of real clients see of a quota, and what a refused push leaves. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { readdir } from 'node:fs/promises';
import { bigImage } from '../harness/images.ts';
import type { LayoutImage } from '../harness/oci-layout.ts';
import { requireTool } from '../harness/tools.ts';
import { type ClientSandbox, openClientSandbox } from '../clients/client-sandbox.ts';
import { type Dockerd, startDockerd } from '../clients/dockerd.ts';

const MB = 1_000_000;

let sandbox: ClientSandbox;
let daemon: Dockerd;
let big: LayoutImage;

beforeAll(async () => {
  for (const tool of ['dockerd', 'docker', 'containerd', 'runc', 'skopeo']) requireTool(tool);
  sandbox = await openClientSandbox('quota', {
    config: { quotas: [{ repositories: '{namespace}/*', bytes: '5MB', max_repositories: 1 }] },
  });
  daemon = await startDockerd(sandbox, 'docker');
  big = await bigImage(sandbox.workspace.join('big'), 20 * MB);
}, 60_000);

afterAll(async () => {
  await daemon.stop();
  await sandbox.close();
}, 60_000);

async function files(): Promise<string[]> {
  const all = await readdir(sandbox.registry.dataDirectory, { recursive: true });
  return all.filter((path) => /_uploads|blobs\/sha256\/..\/./.test(path) && !path.includes('_entrepot'));
}

test('skopeo', async () => {
  const done = await sandbox.run(
    'skopeo',
    ['--insecure-policy', 'copy', big.reference, `docker://${sandbox.registry.host}/team/big:1`],
    { mayFail: true, env: { _CONTAINERS_ROOTLESS_UID: '4711' } },
  );
  console.log(done.code, done.stdout, done.stderr);
  console.log(await files());
}, 60_000);

test('docker', async () => {
  await sandbox.run('skopeo', [
    '--insecure-policy',
    'copy',
    big.reference,
    `docker-archive:${sandbox.workspace.join('big.tar')}:127.0.0.1/x:1`,
  ]);
  await daemon.docker(['load', '-i', sandbox.workspace.join('big.tar')]);
  const image = `${sandbox.registry.host}/docker/big:1`;
  await daemon.docker(['tag', '127.0.0.1/x:1', image]);
  const done = await daemon.docker(['push', image], { mayFail: true });
  console.log(done.code, done.stdout, done.stderr);
  console.log(await files());
  console.log(sandbox.registry.logs());
}, 60_000);
