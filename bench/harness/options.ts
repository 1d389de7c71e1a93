import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/** The root of the checkout. */
export const projectRoot = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** How much each measurement does. Sizes are in bytes, durations in seconds. */
export interface Scale {
  readonly bigBlob: number;
  readonly layers: number;
  readonly layerSize: number;
  readonly images: number;
  readonly tags: number;
  readonly repositories: number;
  readonly manyRepositories: number;
  readonly loadSeconds: number;
  readonly slowTransfers: number;
  readonly slowSeconds: number;
  readonly growthRequests: number;
  /** How long memory may settle after a load. */
  readonly quietSeconds: number;
  readonly starts: number;
  /** Images of five blobs each, of which a quarter is garbage. */
  readonly collected: number;
}

export interface Options {
  /** Names of measurements to run, empty for all. */
  readonly only: readonly string[];
  readonly rounds: number;
  readonly quick: boolean;
  /** Where the JSON goes. */
  readonly json: string;
  readonly scale: Scale;
}

const MIB = 1024 * 1024;

/** The sizes at which figures are told. */
const FULL: Scale = {
  bigBlob: 512 * MIB,
  layers: 8,
  layerSize: 32 * MIB,
  images: 160,
  tags: 3000,
  repositories: 1500,
  manyRepositories: 100_000,
  loadSeconds: 4,
  slowTransfers: 200,
  slowSeconds: 20,
  growthRequests: 100_000,
  quietSeconds: 3,
  starts: 15,
  collected: 20_000,
};

/** Small enough that all of it ends within a minute: it shows that the bench works, its ratios mean little. */
const QUICK: Scale = {
  bigBlob: 32 * MIB,
  layers: 8,
  layerSize: 2 * MIB,
  images: 8,
  tags: 300,
  repositories: 300,
  manyRepositories: 2000,
  loadSeconds: 1,
  slowTransfers: 40,
  slowSeconds: 2,
  growthRequests: 2000,
  quietSeconds: 1,
  starts: 2,
  collected: 400,
};

export const usage = `usage: npm run bench -- [--only NAME]... [--rounds N] [--quick] [--json FILE] [--list]

  --only NAME   run only this measurement (repeatable, or separated by commas)
  --rounds N    paired rounds of each comparison (default 5; with --quick 1)
  --quick       small sizes, under a minute: a check of the bench, not of the product
  --json FILE   where the figures go (default bench/results/<date>.json)
  --list        print the names of the measurements

ENTREPOT_BENCH_COMMAND replaces the command that starts Entrepot; the configuration file is appended to it.
`;

/**
 * Reads the command line. `names` are the measurements that exist.
 * @throws Error with a sentence for the user when an option is unknown or has a bad value.
 */
export function parseOptions(argv: readonly string[], names: readonly string[], now: Date): Options {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      only: { type: 'string', multiple: true, default: [] },
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
    },
  });
  const only = values.only.flatMap((list) => list.split(',')).filter((name) => name !== '');
  for (const name of only) {
    if (!names.includes(name)) {
      throw new Error(`--only ${name}: no such measurement; there are ${names.join(', ')}`);
    }
  }
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 5));
  if (!Number.isInteger(rounds) || rounds < 1) {
    throw new Error(`--rounds ${values.rounds}: must be a whole number of at least 1`);
  }
  const stamp = now.toISOString().slice(0, 19).replaceAll(':', '-');
  return {
    only,
    rounds,
    quick: values.quick,
    json: values.json ?? join(projectRoot, 'bench', 'results', `${stamp}.json`),
    scale: values.quick ? QUICK : FULL,
  };
}

/** What the figures were taken on, for the JSON and the table's head. */
export function machine(): { cores: number; model: string } {
  const cores = cpus();
  return { cores: cores.length, model: cores[0]?.model ?? 'unknown' };
}
