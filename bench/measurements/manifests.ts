import type { Measurement } from '../harness/bench.ts';
import { ACCEPT, storeImage } from '../harness/content.ts';
import { dockerRegistry, entrepot } from '../harness/contenders.ts';
import { interleave } from '../harness/rounds.ts';
import { comparison, figure } from '../harness/row.ts';
import type { Server } from '../harness/server.ts';
import { load } from '../harness/wrk.ts';

const REPOSITORY = 'library/image';

/** A manifest asked for by tag over 32 connections: what a cluster does when it rolls out. */
export const manifests: Measurement = {
  name: 'manifests',
  async run(bench) {
    const place = await bench.place('entrepot');
    const peerPlace = await bench.place('docker-registry');
    for (const { root } of [place, peerPlace]) await storeImage(root, REPOSITORY, ['latest']);
    const get = (server: Server) => async (): Promise<number> => {
      const result = await load({
        origin: server.origin,
        targets: [`/v2/${REPOSITORY}/manifests/latest`],
        connections: 32,
        seconds: bench.scale.loadSeconds,
        headers: { Accept: ACCEPT },
      });
      return result.rate;
    };
    const samples = await interleave(bench.rounds, {
      ours: get(await bench.start(entrepot(place))),
      registry: get(await bench.start(dockerRegistry(peerPlace))),
    });
    const work = 'manifest GET by tag, 32 connections';
    return [
      comparison({
        work,
        unit: '/s',
        ours: samples.ours,
        peer: { name: 'docker-registry', samples: samples.registry },
        ratio: 'speed',
        bound: { kind: 'at least', value: 15 },
      }),
      figure({ work, unit: '/s', samples: samples.ours, bound: { kind: 'at least', value: 20_000 } }),
    ];
  },
};
