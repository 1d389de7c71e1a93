import { join } from 'node:path';
import type { Bench, Measurement } from '../harness/bench.ts';
import { blobFolder, digestOfFile, linkLayer, randomFile, storeFile } from '../harness/content.ts';
import { dockerRegistry, entrepot, nginx } from '../harness/contenders.ts';
import { transfer } from '../harness/curl.ts';
import { interleave } from '../harness/rounds.ts';
import { comparison } from '../harness/row.ts';
import type { Row } from '../harness/row.ts';
import type { Server } from '../harness/server.ts';

const REPOSITORY = 'library/big';

interface Pull {
  /** From curl's connect to the last byte. */
  readonly seconds: number;
  /** What all processes of the server used for it. */
  readonly cpu: number;
}

/** One large blob, downloaded over one connection, the file being in the page cache for every server. */
async function pulls(bench: Bench, kind: 'plain' | 'TLS', timeBound: number): Promise<Row[]> {
  const certificate = kind === 'TLS' ? await bench.certificate() : undefined;
  const file = join(bench.folder, 'blob');
  await randomFile(file, bench.scale.bigBlob);
  const digest = await digestOfFile(file);
  const place = await bench.place('entrepot', certificate);
  const peerPlace = await bench.place('docker-registry', certificate);
  for (const { root } of [place, peerPlace]) {
    await storeFile(root, file, digest);
    linkLayer(root, REPOSITORY, digest);
  }
  const pull = (server: Server, path: string) => async (): Promise<Pull> => {
    const before = server.cpuSeconds();
    const caFile = certificate === undefined ? {} : { caFile: certificate.certificateFile };
    const { seconds } = await transfer({ url: server.origin + path, expected: 200, ...caFile });
    return { seconds, cpu: server.cpuSeconds() - before };
  };
  const path = `/v2/${REPOSITORY}/blobs/${digest}`;
  const samples = await interleave(bench.rounds, {
    ours: pull(await bench.start(entrepot(place)), path),
    nginx: pull(await bench.start(nginx(place)), `/${blobFolder(digest)}/data`),
    registry: pull(await bench.start(dockerRegistry(peerPlace)), path),
  });
  const seconds = (list: readonly Pull[]): number[] => list.map((sample) => sample.seconds);
  // The kernel counts CPU time in steps of 10 ms, too coarse for one pull: the sum over all rounds is one sample.
  // What stays under one step counts as half of one, since it cannot be nothing.
  const cpu = (list: readonly Pull[]): number[] => [
    Math.max(
      0.005,
      list.reduce((sum, sample) => sum + sample.cpu, 0),
    ) / list.length,
  ];
  const { ours, nginx: plainServer, registry } = samples;
  const work = `pull ${bench.scale.bigBlob / 1024 / 1024} MiB, ${kind}`;
  return [
    comparison({
      work,
      unit: 's',
      ours: seconds(ours),
      peer: { name: 'nginx', samples: seconds(plainServer) },
      ratio: 'cost',
      bound: { kind: 'at most', value: timeBound },
    }),
    comparison({
      work: `${work}: server CPU`,
      unit: 's',
      ours: cpu(ours),
      peer: { name: 'docker-registry', samples: cpu(registry) },
      ratio: 'cost',
      bound: { kind: 'at most', value: 0.2 },
    }),
    comparison({
      work: `${work}: server CPU`,
      unit: 's',
      ours: cpu(ours),
      peer: { name: 'nginx', samples: cpu(plainServer) },
      ratio: 'cost',
    }),
    comparison({
      work,
      unit: 's',
      ours: seconds(ours),
      peer: { name: 'docker-registry', samples: seconds(registry) },
      ratio: 'cost',
    }),
  ];
}

/** A large pull over plain HTTP. */
export const pullPlain: Measurement = { name: 'pull', run: (bench) => pulls(bench, 'plain', 1.05) };

/** The same over TLS. */
export const pullTls: Measurement = { name: 'pull-tls', run: (bench) => pulls(bench, 'TLS', 1) };
