/** What users of real clients see of a quota, and what a refused push leaves. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { bigImage, layeredImage } from '../harness/images.ts';
import type { LayoutImage } from '../harness/oci-layout.ts';
import { verifyImage } from '../harness/registry-client.ts';
import { requireTool } from '../harness/tools.ts';
import { untilLogged } from '../harness/waiting.ts';
import { type ClientSandbox, openClientSandbox } from '../clients/client-sandbox.ts';
import { type Dockerd, startDockerd } from '../clients/dockerd.ts';

const MB = 1_000_000;

let sandbox: ClientSandbox;
let daemon: Dockerd;
/** More than the quota, and something that fits. */
let big: LayoutImage;
let small: LayoutImage;

beforeAll(async () => {
  for (const tool of ['dockerd', 'docker', 'containerd', 'runc', 'skopeo']) requireTool(tool);
  sandbox = await openClientSandbox('quota', {
    config: { quotas: [{ repositories: '{namespace}/*', bytes: '5MB', max_repositories: 1 }] },
  });
  daemon = await startDockerd(sandbox, 'docker');
  big = await bigImage(sandbox.workspace.join('big'), 20 * MB);
  small = await layeredImage(sandbox.workspace.join('small'), { layers: 2 });
}, 300_000);

afterAll(async () => {
  await daemon.stop();
  await sandbox.close();
}, 300_000);

const USED_UP = /denied: the quota of [a-z]+\/\* is used up: .* of 5 MB are in use/;
const TOO_MANY = /denied: the quota of [a-z]+\/\* allows 1 repositories, and there are 1/;

async function skopeo(image: LayoutImage, to: string): Promise<{ code: number; said: string }> {
  const { code, stderr } = await sandbox.run(
    'skopeo',
    ['--insecure-policy', 'copy', image.reference, `docker://${sandbox.registry.host}/${to}`],
    { mayFail: true, env: { _CONTAINERS_ROOTLESS_UID: '4711' } },
  );
  return { code, said: stderr };
}

/** Upload sessions, and bytes that no repository has a link to. */
async function debris(): Promise<string[]> {
  const root = `${sandbox.registry.dataDirectory}/docker/registry/v2`;
  const blobs = existsSync(`${root}/blobs`) ? await readdir(`${root}/blobs`, { recursive: true }) : [];
  const links = await readdir(`${root}/repositories`, { recursive: true });
  const linked = (hex: string) => links.some((path) => path.endsWith(`/sha256/${hex}/link`));
  return [
    ...links.filter((path) => path.includes('_uploads/')),
    ...blobs.filter((path) => path.endsWith('/data') && !linked(path.split('/').at(-2) ?? '')),
  ];
}

test('skopeo is told why, and what it pushed before stays', async () => {
  expect((await skopeo(small, 'tools/small:1')).code).toBe(0);
  const refused = await skopeo(big, 'tools/small:2');
  expect(refused.said).toMatch(USED_UP);
  expect(refused.code).not.toBe(0);
  const other = await skopeo(small, 'tools/other:1');
  expect(other.said).toMatch(TOO_MANY);
  expect(await debris()).toEqual([]);
  await verifyImage(sandbox.registry.url, 'tools/small', '1');
  expect(sandbox.registry.logs()).not.toContain('PUT /v2/tools/small/manifests/2');
}, 300_000);

test('docker is told why, and does not try again', async () => {
  const archive = sandbox.workspace.join('big.tar');
  const copied = ['--insecure-policy', 'copy', big.reference, `docker-archive:${archive}:127.0.0.1/big:1`];
  await sandbox.run('skopeo', copied);
  await daemon.docker(['load', '-i', archive]);
  const image = `${sandbox.registry.host}/docker/big:1`;
  await daemon.docker(['tag', '127.0.0.1/big:1', image]);
  const { code, stdout, stderr } = await daemon.docker(['push', image], { mayFail: true });
  expect(stdout + stderr).toMatch(USED_UP);
  expect(code).not.toBe(0);
  await untilLogged(sandbox.registry, '"POST /v2/docker/big/blobs/uploads/');
  const asked = sandbox.registry.logs().match(/.*\/v2\/docker\/big\/.*/g) ?? [];
  const begun = asked.filter((line) => line.includes('"POST /v2/docker/big/blobs/uploads/'));
  expect({ begun: begun.length, asked }).toEqual({ begun: 1, asked });
  expect(await debris()).toEqual([]);
  const names = await readdir(`${sandbox.registry.dataDirectory}/docker/registry/v2/repositories`);
  expect(names).toEqual(['tools']);
}, 300_000);
