import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Bench, Measurement } from '../harness/bench.ts';
import { run, toolPath } from '../harness/command.ts';
import { digestOf } from '../harness/content.ts';
import { projectRoot } from '../harness/options.ts';
import { interleave } from '../harness/rounds.ts';
import { comparison, figure } from '../harness/row.ts';

const MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
const REPOSITORIES = 400;
/** Each so many images one is deleted: its manifest has no link any more. */
const ONE_DEAD_OF = 4;
const MIB = 1024 * 1024;

/** Writes images as `registry:2` keeps them, of five blobs each, in repositories that all have some. */
function writeImages(root: string, images: number): void {
  const base = join(root, 'docker/registry/v2');
  const put = (path: string, text: string): void => {
    mkdirSync(join(base, dirname(path)), { recursive: true });
    writeFileSync(join(base, path), text);
  };
  const blob = (text: string): { digest: string; size: number } => {
    const digest = digestOf(text);
    const hex = digest.slice('sha256:'.length);
    put(`blobs/sha256/${hex.slice(0, 2)}/${hex}/data`, text);
    return { digest, size: text.length };
  };
  for (let image = 0; image < images; image += 1) {
    const repository = `repositories/team${image % 20}/app${image % REPOSITORIES}`;
    const layers = Array.from({ length: 4 }, (_, layer) => ({
      mediaType: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
      ...blob(`layer ${layer} of ${image}`),
    }));
    const config = {
      mediaType: 'application/vnd.docker.container.image.v1+json',
      ...blob(JSON.stringify({ image })),
    };
    const { digest } = blob(JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config, layers }));
    for (const one of [config, ...layers]) {
      put(`${repository}/_layers/sha256/${one.digest.slice('sha256:'.length)}/link`, one.digest);
    }
    if (image % ONE_DEAD_OF === 0) continue;
    const hex = digest.slice('sha256:'.length);
    put(`${repository}/_manifests/revisions/sha256/${hex}/link`, digest);
    put(`${repository}/_manifests/tags/t${image}/current/link`, digest);
    put(`${repository}/_manifests/tags/t${image}/index/sha256/${hex}/link`, digest);
  }
}

interface Collected {
  readonly seconds: number;
  /** The most that the process had resident, in MiB. */
  readonly memory: number;
}

/** Runs a collector to its end, and watches its memory. */
function watch(command: string, args: readonly string[]): Promise<Collected> {
  const begin = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-2000)));
    let memory = 0;
    const timer = setInterval(() => {
      try {
        const [, kib] = /^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${child.pid}/status`, 'latin1')) ?? [];
        memory = Math.max(memory, (Number(kib) * 1024) / MIB || 0);
      } catch {
        // It has ended.
      }
    }, 20);
    child.once('error', reject);
    child.once('close', (code) => {
      clearInterval(timer);
      const seconds = (performance.now() - begin) / 1000;
      if (code === 0) resolve({ seconds, memory });
      else reject(new Error(`${command} ${args.join(' ')} exited with ${code}: ${stderr}`));
    });
  });
}

/** Collecting garbage in a folder that nobody uses, as `docker-registry garbage-collect` demands it. */
export const collection: Measurement = {
  name: 'collection',
  async run(bench: Bench) {
    const original = join(bench.folder, 'original');
    writeImages(original, bench.scale.collected);
    const [command = '', ...words] = process.env['ENTREPOT_BENCH_COMMAND']?.trim().split(/\s+/) ?? [
      join(projectRoot, 'node_modules', '.bin', 'bun'),
      join(projectRoot, 'src', 'main.ts'),
    ];
    const prepare = async (): Promise<string> => {
      const root = join(bench.folder, 'collected');
      await run('rm', ['-rf', root]);
      await run('cp', ['-a', original, root]);
      const config = join(bench.folder, 'collected.yml');
      await writeFile(config, `version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: ${root}\n`);
      await bench.settle();
      return config;
    };
    const ours = async () => {
      const config = await prepare();
      return watch(command, [...words.filter((word) => word !== 'serve'), 'gc', '--quiet', config]);
    };
    const registry = async () => {
      const config = await prepare();
      return watch(toolPath('docker-registry'), ['garbage-collect', config]);
    };
    const samples = await interleave(Math.min(bench.rounds, 3), { ours, registry }, 'done');
    const work = `garbage of ${bench.scale.collected} images collected`;
    return [
      comparison({
        work,
        unit: 's',
        ours: samples.ours.map(({ seconds }) => seconds),
        peer: { name: 'docker-registry', samples: samples.registry.map(({ seconds }) => seconds) },
        ratio: 'cost',
        bound: { kind: 'at most', value: 0.5 },
        note: 'links to what goes are removed too, which docker-registry leaves',
      }),
      figure({
        work: `${work}, memory`,
        unit: 'MiB',
        samples: samples.ours.map(({ memory }) => memory),
        reduce: (all) => Math.max(...all),
        bound: { kind: 'at most', value: 200 },
      }),
    ];
  },
};
