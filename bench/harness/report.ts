import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Row, Unit } from './row.ts';

/** What one measurement came to. */
export interface Outcome {
  readonly name: string;
  readonly seconds: number;
  readonly rows: readonly Row[];
  /** Why it could not be taken. */
  readonly error?: string;
}

/** Everything one run found: the JSON file is this. */
export interface Report {
  readonly date: string;
  readonly quick: boolean;
  readonly rounds: number;
  readonly machine: { readonly cores: number; readonly model: string };
  readonly versions: Readonly<Record<string, string>>;
  /** One-minute load average before the run: a busy machine shows here. */
  readonly loadBefore: number;
  readonly outcomes: readonly Outcome[];
}

const inUnit: Readonly<Record<Unit, (value: number) => string>> = {
  s: (value) => (value < 1 ? `${(value * 1000).toPrecision(3)} ms` : `${value.toFixed(2)} s`),
  MiB: (value) => `${value.toFixed(1)} MiB`,
  '/s': (value) => `${value < 100 ? value.toFixed(1) : value.toFixed(0)} /s`,
  fsyncs: (value) => value.toFixed(1),
};

function cells(row: Row): string[] {
  const { peer, ratio, bound } = row;
  const sign = bound?.kind === 'at most' ? '<=' : '>=';
  const limit =
    bound === undefined ? '' : ratio === undefined ? inUnit[row.unit](bound.value) : `${bound.value} x`;
  return [
    row.work,
    inUnit[row.unit](row.ours),
    peer === undefined ? '' : `${peer.name} ${inUnit[row.unit](peer.value)}`,
    ratio === undefined
      ? ''
      : `${ratio.of} ${ratio.median.toFixed(2)} x (${ratio.min.toFixed(2)}-${ratio.max.toFixed(2)})`,
    bound === undefined ? '' : `${sign} ${limit}`,
    row.met === undefined ? '' : row.met ? 'met' : 'NOT MET',
  ];
}

/** The rows as a Markdown table with aligned columns, notes below it. Ends without a line break. */
export function table(rows: readonly Row[]): string {
  const head = ['work', 'entrepot', 'peer', 'ratio (min-max)', 'bound', ''];
  const lines = [head, ...rows.map(cells)];
  const widths = head.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
  const text = lines.map(
    (line) => `| ${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`,
  );
  text.splice(1, 0, `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`);
  const notes = rows.flatMap((row) => (row.note === undefined ? [] : [`- ${row.work}: ${row.note}`]));
  return [...text, ...(notes.length === 0 ? [] : ['', ...notes])].join('\n');
}

/** Writes the report as JSON, with the folder if it is not there. */
export async function writeReport(file: string, report: Report): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, `${JSON.stringify(report, undefined, 2)}\n`);
}
