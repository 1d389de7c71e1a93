import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SlowResult } from '../clients/slow-transfers.ts';
import type { Bench, Measurement } from '../harness/bench.ts';
import { run } from '../harness/command.ts';
import { ACCEPT, digestOfFile, linkLayer, randomFile, storeFile, storeImage } from '../harness/content.ts';
import { dockerRegistry, entrepot } from '../harness/contenders.ts';
import { projectRoot } from '../harness/options.ts';
import { comparison, figure } from '../harness/row.ts';
import type { Server } from '../harness/server.ts';
import { load } from '../harness/wrk.ts';

const REPOSITORY = 'library/slow';
const MIB = 1024 * 1024;
const clients = join(projectRoot, 'bench', 'clients');

interface SlowMemory {
  /** The most that one process of the server had at a moment, in MiB. */
  readonly resident: number;
  readonly anonymous: number;
  readonly transfers: SlowResult;
}

/** Memory while the slow transfers go on, sampled four times a second. */
async function slowMemory(bench: Bench, server: Server, digest: string): Promise<SlowMemory> {
  const half = String(bench.scale.slowTransfers / 2);
  const args = [server.origin, REPOSITORY, digest, half, half, String(bench.scale.slowSeconds)];
  const over = new AbortController();
  const sampling = (async (): Promise<{ resident: number; anonymous: number }> => {
    const most = { resident: 0, anonymous: 0 };
    while (!over.signal.aborted) {
      const { resident, anonymous } = server.largestProcess();
      most.resident = Math.max(most.resident, resident / MIB);
      most.anonymous = Math.max(most.anonymous, anonymous / MIB);
      await sleep(250);
    }
    return most;
  })();
  const client = run(process.execPath, [join(clients, 'slow-transfers.ts'), ...args]);
  const { stdout } = await client.finally(() => over.abort());
  const transfers = JSON.parse(stdout) as SlowResult;
  return { ...(await sampling), transfers };
}

/** Memory of the largest process with slow downloads and slow uploads, half of each. */
export const slowTransfers: Measurement = {
  name: 'memory',
  async run(bench) {
    const file = join(bench.folder, 'blob');
    await randomFile(file, bench.scale.bigBlob);
    const digest = await digestOfFile(file);
    const place = await bench.place('entrepot');
    const peerPlace = await bench.place('docker-registry');
    for (const { root } of [place, peerPlace]) {
      await storeFile(root, file, digest);
      linkLayer(root, REPOSITORY, digest);
    }
    // One after the other: at a transfer's own pace there is nothing to pair, and memory does not swing with load.
    const ours = await slowMemory(bench, await bench.start(entrepot(place)), digest);
    const registry = await slowMemory(bench, await bench.start(dockerRegistry(peerPlace)), digest);
    const { alive, transfers } = ours.transfers;
    const work = `memory of a process, ${transfers} slow transfers`;
    const peer = { name: 'docker-registry', samples: [registry.resident] };
    return [
      figure({
        work,
        unit: 'MiB',
        samples: [ours.resident],
        // A server that drops slow clients has little to remember: that must not count as met.
        bound: { kind: 'at most', value: 80 },
        valid: alive === transfers,
        note:
          `${alive} of ${transfers} transfers were alive at the end; ` +
          `${ours.anonymous.toFixed(1)} MiB of it are the process's own (docker-registry ${registry.anonymous.toFixed(1)} MiB)`,
      }),
      comparison({ work, unit: 'MiB', ours: [ours.resident], peer, ratio: 'cost' }),
    ];
  },
};

/** A mix of what clients ask for: found and absent, by tag and by digest, blobs, pages. */
function mixedTargets(image: { digest: string; layers: readonly string[] }): string[] {
  const base = `/v2/${REPOSITORY}`;
  return [
    '/v2/',
    `${base}/manifests/latest`,
    `${base}/manifests/${image.digest}`,
    `${base}/manifests/absent`,
    ...image.layers.map((layer) => `${base}/blobs/${layer}`),
    `${base}/blobs/sha256:${'0'.repeat(64)}`,
    `${base}/tags/list?n=10`,
    '/v2/_catalog?n=10',
    '/nowhere',
  ];
}

/** Sends about `count` requests: nine in ten read, the others push images. */
async function mixedRequests(
  server: Server,
  targets: readonly string[],
  count: number,
  run_: number,
): Promise<number> {
  const images = Math.ceil(count / 10 / 25);
  const args = [server.origin, String(images), '8', `growth-${run_}`];
  await run(process.execPath, [join(clients, 'push-images.ts'), ...args]);
  let sent = images * 25;
  while (sent < count) {
    const part = { origin: server.origin, targets, connections: 32, seconds: 1, headers: { Accept: ACCEPT } };
    sent += (await load({ ...part, refusalsExpected: true })).requests;
  }
  return sent;
}

/** The least memory of the whole tree within some quiet seconds, in MiB: garbage collectors need a moment. */
async function quietMemory(server: Server, seconds: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let sample = 0; sample < seconds * 4; sample++) {
    await sleep(250);
    least = Math.min(least, server.residentBytes() / MIB);
  }
  return least;
}

/**
 * Growth of the whole process tree over 100 000 requests, after as many that warm it up. "No growth" is taken as up
 * to 4 MiB: 42 bytes a request, less than anything that one could forget to free, more than a collector's moods.
 */
export const growth: Measurement = {
  name: 'growth',
  async run(bench) {
    const { growthRequests: count } = bench.scale;
    const place = await bench.place('entrepot');
    const targets = mixedTargets(await storeImage(place.root, REPOSITORY, ['latest']));
    const server = await bench.start(entrepot(place));
    await mixedRequests(server, targets, count, 0);
    const before = await quietMemory(server, bench.scale.quietSeconds);
    const sent = await mixedRequests(server, targets, count, 1);
    const after = await quietMemory(server, bench.scale.quietSeconds);
    const perCount = ((after - before) * count) / sent;
    return [
      figure({
        work: `growth of memory over ${count} requests`,
        unit: 'MiB',
        samples: [perCount],
        bound: { kind: 'at most', value: 4 },
        note: `all processes together: ${before.toFixed(1)} MiB before, ${after.toFixed(1)} MiB after ${sent} requests`,
      }),
    ];
  },
};
