import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bench, Measurement } from '../harness/bench.ts';
import { run } from '../harness/command.ts';
import type { Environment } from '../harness/command.ts';
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

const titles: Readonly<Record<PushWay, string>> = { patch: 'PATCH+PUT', put: 'one PUT' };

/** Pushes of a file that gets a new digest each time, each right after openssl has hashed it. */
function pushes(bench: Bench, server: Server, file: string, way: PushWay, environment: Environment = {}) {
  return async (): Promise<Push> => {
    await restamp(file);
    await bench.settle();
    const dgst = await run('openssl', ['dgst', '-sha256', '-r', file], environment);
    const digest = `sha256:${dgst.stdout.slice(0, 64)}`;
    const seconds = await pushBlob(server, 'library/big', { file, digest }, way);
    await forgetBlob(server, digest);
    await bench.settle();
    return { seconds, openssl: dgst.seconds };
  };
}

const secondsOf = (list: readonly Push[]): number[] => list.map((sample) => sample.seconds);
const opensslOf = (list: readonly Push[]): number[] => list.map((sample) => sample.openssl);

/** Copies the file within the disk and waits until it is kept: what a durable push costs before any network or hash. */
function copies(bench: Bench, file: string) {
  const copy = join(bench.folder, 'copy');
  return async (): Promise<number> => {
    const { seconds } = await run('dd', [`if=${file}`, `of=${copy}`, 'bs=1M', 'conv=fsync', 'status=none']);
    await rm(copy);
    await bench.settle();
    return seconds;
  };
}

/** One large blob pushed over one connection, against the time that hashing it takes. */
async function pushRows(bench: Bench, way: PushWay): Promise<Row[]> {
  const file = join(bench.folder, 'blob');
  await randomFile(file, bench.scale.bigBlob);
  const ours = await bench.start(entrepot(await bench.place('entrepot')));
  const registry = await bench.start(dockerRegistry(await bench.place('docker-registry')));
  const samples = await interleave<string, Push>(bench.rounds, {
    ours: pushes(bench, ours, file, way),
    registry: pushes(bench, registry, file, way),
    copy: async () => ({ seconds: await copies(bench, file)(), openssl: 0 }),
  });
  const seconds = secondsOf(samples['ours'] ?? []);
  const work = `push ${bench.scale.bigBlob / 1024 / 1024} MiB, ${titles[way]}`;
  const beside = (name: string, peer: readonly number[]): Row =>
    comparison({ work, unit: 's', ours: seconds, peer: { name, samples: peer }, ratio: 'cost' });
  return [
    comparison({
      work,
      unit: 's',
      ours: seconds,
      peer: { name: 'openssl dgst', samples: opensslOf(samples['ours'] ?? []) },
      ratio: 'cost',
      bound: { kind: 'at most', value: 1.15 },
    }),
    beside('docker-registry', secondsOf(samples['registry'] ?? [])),
    beside('copy + fsync', secondsOf(samples['copy'] ?? [])),
  ];
}

/** POST, chunked PATCH, PUT. */
export const pushPatch: Measurement = { name: 'push', run: (bench) => pushRows(bench, 'patch') };

/** POST, PUT with a length. */
export const pushPut: Measurement = { name: 'push-put', run: (bench) => pushRows(bench, 'put') };

/**
 * Masks the SHA extensions of x86 CPUs (leaf 7 EBX bit 29) for OpenSSL and for the BoringSSL in Bun; Node's OpenSSL
 * reads it too. On other CPUs it changes nothing.
 */
const NO_SHA_INSTRUCTIONS: Environment = { OPENSSL_ia32cap: ':~0x20000000' };

/**
 * The same on a CPU without SHA instructions, where hashing and not the disk takes the longest: the kind of machine
 * that the bound of the push comes from. It shows whether all the rest hides behind the hash.
 */
export const pushSoftware: Measurement = {
  name: 'push-software',
  async run(bench) {
    const file = join(bench.folder, 'blob');
    await randomFile(file, bench.scale.bigBlob);
    const environment = NO_SHA_INSTRUCTIONS;
    const ours = await bench.start(entrepot(await bench.place('entrepot'), { environment }));
    const samples = await interleave(bench.rounds, {
      patch: pushes(bench, ours, file, 'patch', environment),
      put: pushes(bench, ours, file, 'put', environment),
    });
    return (['patch', 'put'] as const).map((way) =>
      comparison({
        work: `push ${bench.scale.bigBlob / 1024 / 1024} MiB, ${titles[way]}, no SHA instructions`,
        unit: 's',
        ours: secondsOf(samples[way]),
        peer: { name: 'openssl dgst', samples: opensslOf(samples[way]) },
        ratio: 'cost',
      }),
    );
  },
};
