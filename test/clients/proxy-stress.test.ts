/** A crowd at one cold blob, and kill -9 in the middle of caching. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checkBlobs } from '../faults/data-folder.ts';
import { childrenOf, descendantsOf, residentBytes, untilEnded } from '../faults/worker-pids.ts';
import type { ConfigObject } from '../harness/config-file.ts';
import { freePort } from '../harness/ports.ts';
import { startEntrepot } from '../harness/entrepot.ts';
import { ofBlobs } from '../harness/fault.ts';
import { layeredImage } from '../harness/images.ts';
import { digestOf, type LayoutImage } from '../harness/oci-layout.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { pushBlob, verifyImage } from '../harness/registry-client.ts';
import type { RunningRegistry } from '../harness/running-registry.ts';
import { requireTool, run } from '../harness/tools.ts';
import { startUpstreamRegistry, type UpstreamRegistry } from '../harness/upstreams.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { pause, untilHolds } from '../harness/waiting.ts';

const MEBIBYTE = 1024 * 1024;
const NAME = 'up.example';

let upstream: UpstreamRegistry;
let workspace: Workspace;
let config: ConfigObject;

beforeAll(async () => {
  for (const tool of ['docker-registry', 'skopeo']) requireTool(tool);
  workspace = await createWorkspace('proxy-stress');
  upstream = await startUpstreamRegistry('plain');
  config = { proxy: { upstreams: [{ name: NAME, ...upstream.settings, timeout: '5s' }] } };
}, 300_000);

afterAll(async () => {
  await upstream.dispose();
  await workspace.remove();
}, 300_000);

const blobUrl = (registry: RunningRegistry, repository: string, digest: string) =>
  `${registry.url}/v2/proxy/${NAME}/${repository}/blobs/${digest}`;

/** Reads an answer and compares it piece by piece: that costs less than hashing, and finds the same. */
async function isExactly(url: string, content: Buffer): Promise<boolean> {
  const answer = await fetch(url);
  let at = 0;
  let isSame = answer.status === 200;
  for await (const piece of answer.body ?? []) {
    isSame &&= content.subarray(at, at + piece.length).equals(piece);
    at += piece.length;
  }
  return isSame && at === content.length;
}

/** The highest sum of what the processes have in memory while `work` goes on, above what they had before, in bytes. */
async function growthDuring(pids: readonly number[], work: Promise<unknown>): Promise<number> {
  const sum = () => pids.reduce((total, pid) => total + residentBytes(pid), 0);
  const before = sum();
  let highest = before;
  const timer = setInterval(() => (highest = Math.max(highest, sum())), 20);
  await work.finally(() => clearInterval(timer));
  return highest - before;
}

/**
 * Two workers that both take connections. A server answers as soon as one of them does, and all clients would be its.
 * The kernel lists a socket for each listener (state 0A) of the port.
 */
async function startTwoWorkers(): Promise<RunningRegistry> {
  const registry = await startEntrepot({ config, workers: 2 });
  const port = Number(new URL(registry.url).port).toString(16).toUpperCase().padStart(4, '0');
  const listener = new RegExp(`:${port} [0-9A-F]{8}:0000 0A `, 'g');
  const count = () => readFileSync('/proc/net/tcp', 'latin1').match(listener)?.length;
  await untilHolds(() => count() === 2);
  return registry;
}

test('fifty clients at once for a cold blob of 256 MiB: one GET, right bytes, little memory', async () => {
  const content = randomBytes('crowd', 256 * MEBIBYTE);
  const digest = await pushBlob(upstream.direct, 'lib/crowd', content);
  const registry = await startTwoWorkers();
  try {
    const pids = [registry.pid, ...descendantsOf(registry.pid)];
    // Each worker has answered something, and its memory is what it is at rest.
    await Promise.all(Array.from({ length: 20 }, () => fetch(`${registry.url}/v2/`)));
    const crowd = Promise.all(
      Array.from({ length: 50 }, () => isExactly(blobUrl(registry, 'lib/crowd', digest), content)),
    );
    const growth = await growthDuring(pids, crowd);
    expect((await crowd).filter((isRight) => !isRight)).toEqual([]);
    expect([...upstream.front.gets(/\/lib\/crowd\/blobs\//).values()]).toEqual([1]);
    // Less than one copy of it, however many want one.
    expect(growth).toBeLessThan(256 * MEBIBYTE);
  } finally {
    await registry.dispose();
  }
}, 300_000);

describe('kill -9 in the middle of caching', () => {
  const content = randomBytes('killed', 8 * MEBIBYTE);
  let digest: string;
  beforeAll(async () => {
    digest = await pushBlob(upstream.direct, 'lib/killed', content);
  });

  test.each([
    ['after a byte', 1],
    ['in the middle', 4 * MEBIBYTE],
    ['before the last byte', 8 * MEBIBYTE - 1],
  ] as const)(
    '%s of a blob: nobody takes it for whole, and after a restart it is fetched',
    async (_, bytes) => {
      const dataDirectory = await workspace.folder(`blob-${bytes}`);
      const port = await freePort();
      const first = await startEntrepot({ config, workers: 2, dataDirectory, port });
      upstream.front.inject({ kind: 'hang-after', bytes }, ofBlobs);
      const asked = upstream.front.asked.length;
      const url = blobUrl(first, 'lib/killed', digest);
      const readers = Array.from({ length: 6 }, () => isExactly(url, content).catch(() => false));
      await untilHolds(() => upstream.front.asked.slice(asked).some(ofBlobs));
      // What has come is on its way to the disk and to the readers, and how far it is differs from time to time.
      await pause(100);
      const all = [first.pid, ...descendantsOf(first.pid)];
      await first.kill9();
      await untilEnded(all);
      upstream.front.heal();
      expect([...new Set(await Promise.all(readers))]).toEqual([false]);
      await checkBlobs(dataDirectory);

      const second = await startEntrepot({ config, workers: 2, dataDirectory, port });
      try {
        expect(await isExactly(url, content)).toBe(true);
        await checkBlobs(dataDirectory);
      } finally {
        await second.dispose();
        await first.dispose();
      }
    },
    300_000,
  );

  test('at each request of an image’s pull: what is there afterwards is right, and a new pull succeeds', async () => {
    const image = await layeredImage(workspace.join('image'), {
      layers: 3,
      layerBytes: 50_000,
      seed: 'kill',
    });
    await upstream.seed(image, 'lib/image:1');
    // The tag, the manifest, the config and the layers.
    for (let step = 1; step <= 6; step += 1) {
      const dataDirectory = await workspace.folder(`image-${step}`);
      const port = await freePort();
      const first = await startEntrepot({ config, workers: 2, dataDirectory, port });
      let count = 0;
      upstream.front.inject({ kind: 'hang' }, () => (count += 1) >= step);
      const broken = verifyImage(first.url, `proxy/${NAME}/lib/image`, '1').then(
        () => 'whole',
        () => 'broken',
      );
      await untilHolds(() => count >= step);
      const all = [first.pid, ...descendantsOf(first.pid)];
      await first.kill9();
      await untilEnded(all);
      upstream.front.heal();
      expect([step, await broken]).toEqual([step, 'broken']);
      await checkBlobs(dataDirectory);

      const second = await startEntrepot({ config, workers: 2, dataDirectory, port });
      try {
        await expectPulled(second, 'lib/image:1', image, `again-${step}`);
        await checkBlobs(dataDirectory);
      } finally {
        await second.dispose();
        await first.dispose();
      }
    }
  }, 300_000);

  test.each([0, 1])(
    'of worker %d: others go on or end with an error, and a new pull succeeds',
    async (victim) => {
      const registry = await startTwoWorkers();
      try {
        upstream.front.inject({ kind: 'hang-after', bytes: 4 * MEBIBYTE }, ofBlobs);
        const asked = upstream.front.asked.length;
        const url = blobUrl(registry, 'lib/killed', digest);
        const readers = Array.from({ length: 12 }, () =>
          isExactly(url, content).then(
            (isRight) => (isRight ? 'right' : 'wrong'),
            () => 'error',
          ),
        );
        await untilHolds(() => upstream.front.asked.slice(asked).some(ofBlobs));
        await pause(100);
        const worker = childrenOf(registry.pid)[victim];
        if (worker === undefined) throw new Error(`there is no worker ${victim}`);
        process.kill(worker, 'SIGKILL');
        await untilEnded([worker]);
        upstream.front.heal();
        expect(await Promise.all(readers)).not.toContain('wrong');
        // Who comes to the end of a failed transfer shares its error; soon after there is none to share.
        let again = await isExactly(url, content).catch(() => false);
        for (let time = 0; !again && time < 100; time += 1) {
          await pause(100);
          again = await isExactly(url, content).catch(() => false);
        }
        expect(again).toBe(true);
      } finally {
        await registry.dispose();
      }
    },
    300_000,
  );
});

/** skopeo checks each digest itself; the manifest is compared with the upstream's. */
async function expectPulled(
  registry: RunningRegistry,
  name: string,
  image: LayoutImage,
  folder: string,
): Promise<void> {
  const target = workspace.join(folder);
  const source = `docker://${registry.host}/proxy/${NAME}/${name}`;
  await run('skopeo', ['--insecure-policy', 'copy', '--src-tls-verify=false', source, `dir:${target}`]);
  expect(digestOf(await readFile(join(target, 'manifest.json')))).toBe(image.digest);
}
