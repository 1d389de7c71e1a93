import { join } from 'node:path';
import { readFile } from 'node:fs/promises';
import type { PushImagesResult } from '../clients/push-images.ts';
import type { Bench, Measurement } from '../harness/bench.ts';
import { run, toolPath } from '../harness/command.ts';
import { dockerRegistry, entrepot } from '../harness/contenders.ts';
import type { Circumstances, Placement } from '../harness/contenders.ts';
import { projectRoot } from '../harness/options.ts';
import { interleave, median } from '../harness/rounds.ts';
import { comparison } from '../harness/row.ts';
import type { Server, ServerPlan } from '../harness/server.ts';

const AT_ONCE = 8;
const client = join(projectRoot, 'bench', 'clients', 'push-images.ts');

let pushed = 0;

/** Pushes images nobody has yet, with a credential if there is one. */
export async function pushImages(
  server: Server,
  images: number,
  authorization = '',
): Promise<PushImagesResult> {
  const prefix = `small-${pushed++}`;
  const { stdout } = await run(process.execPath, [
    client,
    server.origin,
    String(images),
    String(AT_ONCE),
    prefix,
    authorization,
  ]);
  return JSON.parse(stdout) as PushImagesResult;
}

type Contender = (place: Placement, how: Circumstances) => Promise<ServerPlan>;

/**
 * How many times a server asks the disk to keep what it wrote, for each image: the evidence for "as durable".
 * Counted in a run of its own, since the tracer slows the server.
 */
async function syncsPerImage(bench: Bench, contender: Contender, place: Placement): Promise<number> {
  const trace = join(bench.folder, 'syncs.txt');
  const calls = 'trace=fsync,fdatasync,sync_file_range,syncfs,sync';
  // -I 2 lets SIGTERM through to the server, which strace with an output file otherwise keeps from it.
  const prefix = [
    toolPath('strace'),
    '-f',
    '-qq',
    '-I',
    '2',
    '-e',
    calls,
    '-e',
    'signal=none',
    '-o',
    trace,
  ] as const;
  const server = await bench.start(contender(place, { prefix }));
  const images = AT_ONCE;
  await pushImages(server, images);
  await bench.close();
  const lines = (await readFile(trace, 'utf8')).split('\n');
  return (
    lines.filter((line) => /\b(?:fsync|fdatasync|sync_file_range|syncfs|sync)\(/.test(line)).length / images
  );
}

/** Many small images: requests, small files and fsyncs rather than bytes. */
export const smallImages: Measurement = {
  name: 'small-images',
  async run(bench) {
    const place = await bench.place('entrepot');
    const peerPlace = await bench.place('docker-registry');
    const push = (server: Server) => async (): Promise<PushImagesResult> => {
      const result = await pushImages(server, bench.scale.images);
      await bench.settle();
      return result;
    };
    const samples = await interleave(bench.rounds, {
      ours: push(await bench.start(entrepot(place))),
      registry: push(await bench.start(dockerRegistry(peerPlace))),
    });
    await bench.close();
    const rates = (list: readonly PushImagesResult[]): number[] =>
      list.map((sample) => sample.images / sample.seconds);
    const clientShare = median(samples.ours.map((sample) => sample.clientCpu / sample.seconds));
    return [
      comparison({
        work: `small images pushed (5 layers of 20 kB), ${AT_ONCE} at a time`,
        unit: '/s',
        ours: rates(samples.ours),
        peer: { name: 'docker-registry', samples: rates(samples.registry) },
        ratio: 'speed',
        bound: { kind: 'at least', value: 5 },
        note: `beside entrepot the client used ${Math.round(clientShare * 100)} % of one core`,
      }),
      comparison({
        work: 'fsyncs for each small image',
        unit: 'fsyncs',
        ours: [await syncsPerImage(bench, entrepot, place)],
        peer: { name: 'docker-registry', samples: [await syncsPerImage(bench, dockerRegistry, peerPlace)] },
        ratio: 'cost',
      }),
    ];
  },
};
