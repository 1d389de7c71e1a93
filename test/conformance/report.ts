import { header, text } from './exchange.ts';
import type { Exchange } from './exchange.ts';
import type { Basis, Level } from './scenario.ts';

/** Why a test failed, for people. */
export interface FailureReport {
  /** The request, or '' when it was not one answer that was wrong. */
  readonly request: string;
  readonly expected: string;
  readonly came: string;
}

/** The outcome of one test. */
export type Result = {
  /** Unique within a run, with `/` between its levels. */
  readonly name: string;
  readonly level: Level;
  readonly basis: Basis;
} & (
  | { readonly status: 'pass' }
  | { readonly status: 'fail'; readonly failure: FailureReport }
  | { readonly status: 'skip'; readonly reason: string }
);

/** How much of a body is shown, in characters. */
const BODY_SHOWN = 400;

/** Headers that say nothing about conformance. */
const DULL = new Set(['date', 'server', 'connection', 'keep-alive', 'authorization']);

/** An exchange as text: what was asked and what came. Credentials are left out. */
export function describeExchange(exchange: Exchange): { request: string; came: string } {
  const sent = exchange.sent.filter(([name]) => !DULL.has(name.toLowerCase()));
  const size = exchange.sentSize === undefined ? 'streamed body' : `${exchange.sentSize} bytes`;
  const headers = sent.map(([name, value]) => `${name}: ${shorten(value)}`);
  const request = [`${exchange.method} ${shorten(exchange.target)}`, ...headers, size].join(' | ');
  const came = [...exchange.headers]
    .filter(([name]) => !DULL.has(name))
    .map(([name, values]) => `${name}: ${shorten(values.join(', '))}`);
  const binary = !/json|text/.test(header(exchange, 'content-type') ?? '');
  const body = binary ? `${exchange.body.length} bytes` : shorten(text(exchange).trim());
  return { request, came: [String(exchange.status), ...came, body].join(' | ') };
}

function shorten(value: string): string {
  return value.length <= BODY_SHOWN ? value : `${value.slice(0, BODY_SHOWN)}… (${value.length})`;
}

const MARK = { pass: '✓', fail: '✗', skip: '-' } as const;

/** Prints results as a tree, as they come: a heading wherever the scenario changes. */
export class TreePrinter {
  readonly #write: (line: string) => void;
  #path: readonly string[] = [];

  constructor(write: (line: string) => void) {
    this.#write = write;
  }

  print(result: Result): void {
    const parts = result.name.split('/');
    const common = parts.findIndex((part, index) => part !== this.#path[index]);
    for (let depth = Math.max(common, 0); depth < parts.length - 1; depth++)
      this.#write(`${'  '.repeat(depth)}${parts[depth]}`);
    this.#path = parts.slice(0, -1);
    const indent = '  '.repeat(parts.length - 1);
    const reason = result.status === 'skip' ? ` (${result.reason})` : '';
    this.#write(`${indent}${MARK[result.status]} ${parts.at(-1) ?? ''}${reason}`);
    if (result.status !== 'fail') return;
    const { request, expected, came } = result.failure;
    if (request !== '') this.#write(`${indent}    request:  ${request}`);
    this.#write(`${indent}    expected: ${expected}`);
    this.#write(`${indent}    came:     ${came}`);
  }
}

/** One line of totals. */
export function summarize(results: readonly Result[]): string {
  const count = (status: Result['status']): number => results.filter((one) => one.status === status).length;
  return `${results.length} tests: ${count('pass')} passed, ${count('fail')} failed, ${count('skip')} skipped`;
}
