/** `entrepot usage`: what each namespace takes up, and what the quotas hold. It reads the storage, beside a server that runs or not. */
import { loggerFor, openForReading } from '../app.ts';
import { wireProxy } from '../app-proxy.ts';
import type { Config } from '../config/config.ts';
import { glob } from '../oci/glob.ts';
import type { RepositoryName } from '../oci/name.ts';
import { QuotaRules } from '../oci/quota.ts';
import { StartFailure } from '../start-failure.ts';
import { LocalRegistry } from '../store/local-registry.ts';
import { Objects } from '../store/objects.ts';
import type { JobItem } from '../upkeep/job.ts';
import { pacer } from '../upkeep/pace.ts';
import { usage } from '../upkeep/usage.ts';
import { codeOf, CommandFailure, type CommandIo, processIo } from './command-io.ts';
import { EXIT } from './job-report.ts';
import { loadForStorage, otherThanInForce } from './run-job.ts';

export interface UsageCommandOptions {
  readonly file?: string | undefined;
  /** A pattern: only repositories that match, a line for each. */
  readonly repositories?: string | undefined;
  /** One JSON object a line, and a last one with the sums. */
  readonly json?: boolean | undefined;
}

/** Counts and prints. Nothing is written to the storage. @returns the exit code: 3 where some of it cannot be read */
export async function printUsage(
  options: UsageCommandOptions,
  io: CommandIo = processIo({ isListing: true }),
): Promise<number> {
  return codeOf(io, async () => {
    const { file, repositories: pattern, json = false } = options;
    if (file?.includes('*') === true)
      throw new CommandFailure(`${file}: expected a file; a pattern goes to --repositories`, 2);
    const config = await loadForStorage(file, io);
    const { objects, isOwn } = openFor(config);
    // Who may read the storage need not be one whom the server answers.
    const others = await otherThanInForce(config, 'usage').catch(() => undefined);
    if (others?.includes('quotas') === true && !others.includes('storage'))
      io.err(
        `the server that runs holds to other quotas than ${file ?? 'the configuration'}, whose are told here: they count from its next start\n`,
      );
    const items: JobItem[] = [];
    const { signal } = new AbortController();
    const summary = await usage(
      {
        objects,
        log: loggerFor(config),
        signal,
        exclusive: false,
        progress: () => undefined,
        report: (item) => void items.push(item),
        pace: pacer({}, signal),
      },
      {
        rules: new QuotaRules(config.quotas ?? []),
        isOwn,
        update: false,
        ...(pattern === undefined ? {} : { pattern: glob(pattern) }),
      },
    );
    if (json) {
      for (const item of items) io.out(`${JSON.stringify(item)}\n`);
      io.out(`${JSON.stringify({ what: 'total', ...summary })}\n`);
    } else for (const line of usageTable(items, Number(summary['bytes']))) io.out(`${line}\n`);
    for (const { what, repository, why } of items)
      if (what === 'problem')
        io.err(`${repository === undefined ? '' : `${String(repository)}: `}${String(why)}\n`);
    return Number(summary['problems'] ?? 0) > 0 ? EXIT.problems : EXIT.done;
  });
}

function openFor(config: Config): { objects: Objects; isOwn: (name: RepositoryName) => boolean } {
  try {
    const driver = openForReading(config);
    const own = new LocalRegistry(driver, {
      enabled: false,
      allowUrl: () => true,
      requireChild: () => false,
    });
    const proxy = wireProxy(config, driver, own, loggerFor(config));
    return { objects: new Objects(driver), isOwn: (name) => proxy?.isCached(name) !== true };
  } catch (error) {
    if (error instanceof StartFailure) throw new CommandFailure(error.message);
    throw error;
  }
}

/** The report as people read it; its items are those of the job `usage`. */
export function usageTable(items: readonly JobItem[], total: number): readonly string[] {
  const rows = items.filter(({ what }) => what === 'namespace' || what === 'repository');
  const quotas = items.filter(({ what }) => what === 'quota');
  const isByRepository = rows.some(({ what }) => what === 'repository');
  const lines = table([
    [isByRepository ? 'REPOSITORY' : 'NAMESPACE', ...(isByRepository ? [] : ['REPOSITORIES']), ...SIZES],
    ...rows.map((row) => [
      String(row['namespace'] ?? row['repository']),
      ...(isByRepository ? [] : [String(row['repositories'])]),
      String(row['tags']),
      formatSize(Number(row['bytes'])),
      formatSize(Number(row['shared'])),
      ...limitOf(row),
    ]),
  ]);
  const sum = `${formatSize(total)} in all (what several share counts once)`;
  if (quotas.length === 0) return [...lines, '', sum];
  const held = table([
    ['QUOTA', 'REPOSITORIES', 'LIMIT', 'BYTES', 'LIMIT', '%'],
    ...quotas.map((row) => [
      String(row['quota']),
      String(row['repositories']),
      String(row['maxrepositories'] ?? '-'),
      formatSize(Number(row['bytes'])),
      ...limitOf(row),
    ]),
  ]);
  return [...lines, '', sum, '', ...held];
}

const SIZES = ['TAGS', 'BYTES', 'SHARED', 'LIMIT', '%'];

function limitOf({ bytes, limit }: JobItem): readonly string[] {
  if (limit === undefined) return ['-', '-'];
  const part = Number(limit) === 0 ? 100 : (Number(bytes) / Number(limit)) * 100;
  return [formatSize(Number(limit)), String(Math.round(part))];
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** In the units of 1000 in which quotas are written. */
function formatSize(bytes: number): string {
  const power = bytes < 1000 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3));
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${UNITS[power] ?? ''}`;
}

/** Columns: the first to the left, numbers to the right. */
function table(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd(),
  );
}
