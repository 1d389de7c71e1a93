import { join } from 'node:path';
import type { Bench, Measurement } from '../harness/bench.ts';
import { ACCEPT, digestOfFile, linkLayer, randomFile, storeFile, storeImage } from '../harness/content.ts';
import { dockerRegistry, entrepot, link } from '../harness/contenders.ts';
import { transfer } from '../harness/curl.ts';
import { interleave } from '../harness/rounds.ts';
import { comparison, figure, type Row } from '../harness/row.ts';
import type { Server } from '../harness/server.ts';
import { load } from '../harness/wrk.ts';

const IMAGE = 'library/image';
/** MiB/s of a link. */
const GIGABIT = 119;
/** Repositories of the upstream that have the blob: each is cold once. */
const MOST_ROUNDS = 100;
const repository = (round: number) => `library/big-${round}`;

/** Caching another registry: what a pull costs that has to be fetched, and one that has not. */
export const proxy: Measurement = {
  name: 'proxy',
  async run(bench) {
    const file = join(bench.folder, 'blob');
    await randomFile(file, bench.scale.bigBlob);
    const digest = await digestOfFile(file);
    const upstreamPlace = await bench.place('upstream');
    await storeFile(upstreamPlace.root, file, digest);
    for (let round = 0; round < MOST_ROUNDS; round += 1)
      linkLayer(upstreamPlace.root, repository(round), digest);
    await storeImage(upstreamPlace.root, IMAGE, ['latest']);
    const upstream = await bench.start(dockerRegistry(upstreamPlace));
    const ourPlace = await bench.place('entrepot');
    await storeImage(ourPlace.root, IMAGE, ['latest']);
    await storeFile(ourPlace.root, file, digest);
    linkLayer(ourPlace.root, repository(0), digest);
    const ours = await bench.start(
      entrepot({
        ...ourPlace,
        more: `proxy:\n  upstreams:\n    - {name: up.example, url: "${upstream.origin}", tagttl: 1h}\n`,
      }),
    );
    // The blob above is a stored one to compare with: cold ones go to a server that has none of its bytes.
    const coldPlace = await bench.place('entrepot-cold');
    const cold = await bench.start(
      entrepot({
        ...coldPlace,
        more: `proxy:\n  upstreams:\n    - {name: up.example, url: "${upstream.origin}"}\n`,
      }),
    );
    const peer = await bench.start(
      dockerRegistry({
        ...(await bench.place('mirror')),
        more: `proxy:\n  remoteurl: ${upstream.origin}\n`,
      }),
    );
    // Upstreams are beyond a network: at 1 Gbit/s what matters is that nothing is added to it.
    const near = await bench.start(link(upstreamPlace, upstream.origin, GIGABIT));
    const over = (name: string) => `proxy:\n  upstreams:\n    - {name: ${name}, url: "${near.origin}"}\n`;
    const coldOver = await bench.start(
      entrepot({ ...(await bench.place('entrepot-link')), more: over('up.example') }),
    );
    const peerOver = await bench.start(
      dockerRegistry({
        ...(await bench.place('mirror-link')),
        more: `proxy:\n  remoteurl: ${near.origin}\n`,
      }),
    );
    return [
      ...(await coldPulls(bench, digest, ', 1 Gbit/s', { upstream: near, cold: coldOver, peer: peerOver })),
      ...(await coldPulls(bench, digest, ', loopback', { upstream, cold, peer })),
      ...(await warmPulls(bench, digest, ours)),
    ];
  },
};

async function coldPulls(
  bench: Bench,
  digest: string,
  how: string,
  { upstream, cold, peer }: { upstream: Server; cold: Server; peer: Server },
): Promise<Row[]> {
  const path = (round: number) => `${repository(round)}/blobs/${digest}`;
  const rounds = { ours: 0, peer: 0 };
  const get = async (url: string) => {
    const got = await transfer({ url, expected: 200 });
    await bench.settle();
    return got;
  };
  const samples = await interleave(bench.rounds, {
    ours: () => get(`${cold.origin}/v2/proxy/up.example/${path((rounds.ours += 1))}`),
    peer: () => get(`${peer.origin}/v2/${path((rounds.peer += 1))}`),
    direct: () => get(`${upstream.origin}/v2/${path(0)}`),
  });
  const seconds = (list: readonly { readonly seconds: number }[]) => list.map((one) => one.seconds);
  const work = `cold pull of ${bench.scale.bigBlob / 1024 / 1024} MiB${how}`;
  const direct = { name: 'direct from the upstream', samples: seconds(samples.direct) };
  return [
    comparison({
      work,
      unit: 's',
      ours: seconds(samples.ours),
      peer: direct,
      ratio: 'cost',
      bound: { kind: 'at most', value: 1.1 },
    }),
    comparison({
      work,
      unit: 's',
      ours: seconds(samples.ours),
      peer: { name: 'docker-registry', samples: seconds(samples.peer) },
      ratio: 'cost',
    }),
    figure({
      work: `${work}: first byte after the upstream's`,
      unit: 's',
      samples: samples.ours.map(({ firstByte }, round) =>
        Math.max(0.0001, firstByte - (samples.direct[round]?.firstByte ?? 0)),
      ),
      bound: { kind: 'at most', value: 0.02 },
    }),
  ];
}

async function warmPulls(bench: Bench, digest: string, ours: Server): Promise<Row[]> {
  const pull = (path: string) => async () =>
    (await transfer({ url: `${ours.origin}/v2/${path}/blobs/${digest}`, expected: 200 })).seconds;
  const cached = `proxy/up.example/${repository(1)}`;
  await pull(cached)();
  const blobs = await interleave(bench.rounds, { cached: pull(cached), stored: pull(repository(0)) });
  const get = (name: string) => async () => {
    const result = await load({
      origin: ours.origin,
      targets: [`/v2/${name}/manifests/latest`],
      connections: 32,
      seconds: bench.scale.loadSeconds,
      headers: { Accept: ACCEPT },
    });
    return result.rate;
  };
  await get(`proxy/up.example/${IMAGE}`)();
  const manifests = await interleave(bench.rounds, {
    cached: get(`proxy/up.example/${IMAGE}`),
    stored: get(IMAGE),
  });
  return [
    comparison({
      work: `warm pull of ${bench.scale.bigBlob / 1024 / 1024} MiB`,
      unit: 's',
      ours: blobs.cached,
      peer: { name: 'a stored blob', samples: blobs.stored },
      ratio: 'cost',
      bound: { kind: 'at most', value: 1.05 },
    }),
    comparison({
      work: 'cached manifest GET by tag, 32 connections',
      unit: '/s',
      ours: manifests.cached,
      peer: { name: 'a stored one', samples: manifests.stored },
      ratio: 'speed',
      bound: { kind: 'at least', value: 0.8 },
    }),
  ];
}
