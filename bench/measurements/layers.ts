import { join } from 'node:path';
import type { Measurement } from '../harness/bench.ts';
import { digestOfFile, randomFile, restamp } from '../harness/content.ts';
import { dockerRegistry, entrepot } from '../harness/contenders.ts';
import { forgetBlob, pushBlob } from '../harness/push.ts';
import type { Upload } from '../harness/push.ts';
import { interleave } from '../harness/rounds.ts';
import { comparison } from '../harness/row.ts';
import type { Server } from '../harness/server.ts';

/** Several layers pushed at once, each over a connection of its own, as docker does: until the last one is stored. */
export const layers: Measurement = {
  name: 'layers',
  async run(bench) {
    const { layers: count, layerSize } = bench.scale;
    const files = Array.from({ length: count }, (_, layer) => join(bench.folder, `layer-${layer}`));
    for (const file of files) await randomFile(file, layerSize);
    const push = (server: Server) => async (): Promise<number> => {
      const uploads: Upload[] = [];
      for (const file of files) {
        await restamp(file);
        uploads.push({ file, digest: await digestOfFile(file) });
      }
      await bench.settle();
      const begin = performance.now();
      await Promise.all(uploads.map((upload) => pushBlob(server, 'library/layers', upload, 'patch')));
      const seconds = (performance.now() - begin) / 1000;
      for (const upload of uploads) await forgetBlob(server, upload.digest);
      await bench.settle();
      return seconds;
    };
    const samples = await interleave(bench.rounds, {
      ours: push(await bench.start(entrepot(await bench.place('entrepot')))),
      registry: push(await bench.start(dockerRegistry(await bench.place('docker-registry')))),
    });
    return [
      comparison({
        work: `push ${count} layers of ${layerSize / 1024 / 1024} MiB at once`,
        unit: 's',
        ours: samples.ours,
        peer: { name: 'docker-registry', samples: samples.registry },
        ratio: 'speed',
        bound: { kind: 'at least', value: 1.3 },
      }),
    ];
  },
};
