import { join } from 'node:path';
import type { Bench, Measurement } from '../harness/bench.ts';
import { run } from '../harness/command.ts';
import { randomFile, restamp } from '../harness/content.ts';
import { dockerRegistry, entrepot } from '../harness/contenders.ts';
import { forgetBlob, pushBlob } from '../harness/push.ts';
import type { PushWay } from '../harness/push.ts';
import { interleave } from '../harness/rounds.ts';
import { comparison } from '../harness/row.ts';
import type { Row } from '../harness/row.ts';
import type { Server } from '../harness/server.ts';

interface Push {
  readonly seconds: number;
  /** `openssl dgst -sha256` of the very same file, just before. */
  readonly openssl: number;
}

/** One large blob pushed over one connection, against the time that hashing it takes. */
async function pushes(bench: Bench, way: PushWay): Promise<Row[]> {
  const file = join(bench.folder, 'blob');
  await randomFile(file, bench.scale.bigBlob);
  const push = (server: Server) => async (): Promise<Push> => {
    await restamp(file);
    await bench.settle();
    const dgst = await run('openssl', ['dgst', '-sha256', '-r', file]);
    const digest = `sha256:${dgst.stdout.slice(0, 64)}`;
    const seconds = await pushBlob(server, 'library/big', { file, digest }, way);
    await forgetBlob(server, digest);
    await bench.settle();
    return { seconds, openssl: dgst.seconds };
  };
  const samples = await interleave(bench.rounds, {
    ours: push(await bench.start(entrepot(await bench.place('entrepot')))),
    registry: push(await bench.start(dockerRegistry(await bench.place('docker-registry')))),
  });
  const seconds = (list: readonly Push[]): number[] => list.map((sample) => sample.seconds);
  const openssl = samples.ours.map((sample) => sample.openssl);
  const work = `push ${bench.scale.bigBlob / 1024 / 1024} MiB, ${way === 'patch' ? 'PATCH+PUT' : 'one PUT'}`;
  return [
    comparison({
      work,
      unit: 's',
      ours: seconds(samples.ours),
      peer: { name: 'openssl dgst', samples: openssl },
      ratio: 'cost',
      bound: { kind: 'at most', value: 1.15 },
    }),
    comparison({
      work,
      unit: 's',
      ours: seconds(samples.ours),
      peer: { name: 'docker-registry', samples: seconds(samples.registry) },
      ratio: 'cost',
    }),
  ];
}

/** POST, chunked PATCH, PUT. */
export const pushPatch: Measurement = { name: 'push', run: (bench) => pushes(bench, 'patch') };

/** POST, PUT with a length. */
export const pushPut: Measurement = { name: 'push-put', run: (bench) => pushes(bench, 'put') };
