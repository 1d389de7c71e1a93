/** `npm run bench`: Entrepot beside docker-registry, nginx and openssl, as README.md in this folder explains. */
import { rmSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { Bench } from './harness/bench.ts';
import type { Measurement } from './harness/bench.ts';
import { killCommands, run } from './harness/command.ts';
import { machine, parseOptions, projectRoot, usage } from './harness/options.ts';
import type { Options } from './harness/options.ts';
import { table, writeReport } from './harness/report.ts';
import type { Outcome, Report } from './harness/report.ts';
import { killServers } from './harness/server.ts';
import { tlsHandshakes } from './measurements/handshakes.ts';
import { layers } from './measurements/layers.ts';
import { logins } from './measurements/logins.ts';
import { manifests } from './measurements/manifests.ts';
import { growth, slowTransfers } from './measurements/memory.ts';
import { proxy } from './measurements/proxy.ts';
import { catalogPages, largeCatalog, tagPages } from './measurements/pages.ts';
import { pullPlain, pullTls } from './measurements/pull.ts';
import { pushPatch, pushPut, pushSoftware } from './measurements/push.ts';
import { smallImages } from './measurements/small-images.ts';
import { start } from './measurements/start.ts';
import { collection } from './measurements/collection.ts';

/** In the order in which they are shown. */
const MEASUREMENTS: readonly Measurement[] = [
  pullPlain,
  pullTls,
  tlsHandshakes,
  pushPatch,
  pushPut,
  pushSoftware,
  layers,
  manifests,
  smallImages,
  tagPages,
  catalogPages,
  largeCatalog,
  slowTransfers,
  growth,
  start,
  logins,
  proxy,
  collection,
];

async function versions(): Promise<Record<string, string>> {
  const packageFile = await readFile(join(projectRoot, 'package.json'), 'utf8');
  const { version = 'unknown' } = JSON.parse(packageFile) as { version?: string };
  const registry = await run('docker-registry', ['--version']);
  const openssl = await run('openssl', ['version']);
  return {
    entrepot: process.env['ENTREPOT_BENCH_COMMAND'] ?? version,
    runtime: `${process.release.name} ${process.versions['bun'] ?? process.version}`,
    'docker-registry': registry.stdout.trim(),
    openssl: openssl.stdout.trim(),
  };
}

/** Takes one measurement in a folder of its own, which is removed afterwards, as its servers are ended. */
async function measure(measurement: Measurement, options: Options): Promise<Outcome> {
  // Inside the checkout rather than in /tmp, which may be memory: an fsync must reach a disk.
  const cache = join(projectRoot, '.cache');
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, 'bench-'));
  const bench = new Bench(folder, options.rounds, options.scale);
  const begin = performance.now();
  const outcome = { name: measurement.name, rows: [] };
  folders.add(folder);
  try {
    const rows = await measurement.run(bench);
    return { ...outcome, rows, seconds: (performance.now() - begin) / 1000 };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { ...outcome, error: message, seconds: (performance.now() - begin) / 1000 };
  } finally {
    await bench.close();
    await rm(folder, { recursive: true, force: true });
    folders.delete(folder);
  }
}

async function main(argv: readonly string[]): Promise<number> {
  const names = MEASUREMENTS.map((measurement) => measurement.name);
  if (argv.includes('--help') || argv.includes('--list')) {
    console.log(argv.includes('--help') ? usage : names.join('\n'));
    return 0;
  }
  const now = new Date();
  const options = parseOptions(argv, names, now);
  const head = { date: now.toISOString(), quick: options.quick, rounds: options.rounds, machine: machine() };
  const report = { ...head, versions: await versions(), loadBefore: loadavg()[0] ?? 0 };
  const { cores, model } = head.machine;
  console.log(`${cores} cores (${model}), load ${report.loadBefore.toFixed(2)}, ${options.rounds} rounds`);
  const outcomes: Outcome[] = [];
  for (const measurement of MEASUREMENTS) {
    if (options.only.length > 0 && !options.only.includes(measurement.name)) continue;
    process.stderr.write(`${measurement.name} ... `);
    const outcome = await measure(measurement, options);
    process.stderr.write(`${outcome.seconds.toFixed(1)} s${outcome.error === undefined ? '' : ' FAILED'}\n`);
    outcomes.push(outcome);
  }
  const full: Report = { ...report, outcomes };
  await writeReport(options.json, full);
  console.log(`\n${table(outcomes.flatMap((outcome) => outcome.rows))}\n`);
  const failed = outcomes.filter((outcome) => outcome.error !== undefined);
  for (const { name, error } of failed) console.error(`${name} could not be measured: ${error}`);
  console.log(`written to ${options.json}`);
  return failed.length === 0 ? 0 : 1;
}

function killEverything(): void {
  killCommands();
  killServers();
}

/** Folders in use, for an end that skips their owner's clean-up. */
const folders = new Set<string>();

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    killEverything();
    // Synchronously: the measurement under way must not get a turn to start another server.
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
    process.exit(1);
  });
}
process.once('exit', killEverything);

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
