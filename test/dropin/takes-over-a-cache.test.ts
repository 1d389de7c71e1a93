/** A `registry:2` that was a mirror: Entrepot opens its folder and its file, and goes on as the cache that it was. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { startDockerRegistry } from '../harness/docker-registry.ts';
import { type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { layeredImage } from '../harness/images.ts';
import { ACCEPT, ask, jsonOf, verifyImage } from '../harness/registry-client.ts';
import { run } from '../harness/tools.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { untilHolds, untilLogged } from '../harness/waiting.ts';

let workspace: Workspace;
let upstream: RunningRegistry;
beforeAll(async () => {
  workspace = await createWorkspace('takes-over-a-cache');
  upstream = await startDockerRegistry();
});
afterAll(async () => {
  await upstream.dispose();
  await workspace.remove();
}, 300_000);

async function publish(seed: string): Promise<string> {
  const image = await layeredImage(workspace.join(seed), { layers: 3, seed });
  const target = `docker://${upstream.host}/team/app:latest`;
  await run('skopeo', ['--insecure-policy', 'copy', '--dest-tls-verify=false', image.reference, target]);
  return image.digest;
}

async function digestAt(url: string): Promise<string> {
  const answer = await ask(url, '/v2/team/app/manifests/latest', 200, { headers: { accept: ACCEPT } });
  await answer.arrayBuffer();
  return answer.headers.get('docker-content-digest') ?? '';
}

test('what it had cached is cached still, follows the upstream, and does not count as pushed', async () => {
  const first = await publish('first');
  const config = { proxy: { remoteurl: upstream.url }, log: { level: 'info' } };
  const mirror = await startDockerRegistry({ config });
  const { dataDirectory, configFile, host } = mirror;
  expect(await verifyImage(mirror.url, 'team/app', 'latest')).not.toEqual([]);
  expect(await digestAt(mirror.url)).toBe(first);
  // It writes what it remembers every few seconds.
  const state = join(dataDirectory, 'scheduler-state.json');
  await untilHolds(() => existsSync(state));
  await mirror.stop();

  let registry = await startEntrepot({ dataDirectory, configFile, port: Number(host.split(':')[1]) });
  try {
    await untilLogged(registry, 'what registry:2 had cached is taken over');
    expect(existsSync(state)).toBe(false);
    const asked = upstream.logs().length;
    expect(await verifyImage(registry.url, 'team/app', 'latest')).not.toEqual([]);
    expect(upstream.logs().slice(asked)).not.toContain('GET /v2/team/app/blobs');
    const { repositories } = await jsonOf<{ repositories: string[] }>(
      await ask(registry.url, '/v2/_catalog', 200),
    );
    expect(repositories).toEqual([expect.stringMatching(/^proxy\/127\.0\.0\.1-\d+\/team\/app$/)]);

    const second = await publish('second');
    expect(await digestAt(registry.url)).toBe(second);
    // On this machine alone it takes pushes too, and what is pushed wins.
    const own = await layeredImage(workspace.join('own'), { layers: 1, seed: 'own' });
    const target = `docker://${registry.host}/team/app:latest`;
    await run('skopeo', ['--insecure-policy', 'copy', '--dest-tls-verify=false', own.reference, target]);
    expect(await digestAt(registry.url)).toBe(own.digest);
    await registry.stop();
    registry = await startEntrepot({ dataDirectory, configFile, port: Number(host.split(':')[1]) });
    expect(await digestAt(registry.url)).toBe(own.digest);
  } finally {
    await registry.dispose();
    await mirror.dispose();
  }
}, 300_000);
