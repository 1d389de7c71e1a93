import { errorCodes, Failure } from './check.ts';
import { header, text } from './exchange.ts';
import type { Exchange } from './exchange.ts';
import type { Basis, Scenario, Step } from './scenario.ts';
import { ERROR_CODES } from './vocabulary.ts';

interface Rule {
  readonly name: string;
  readonly basis: Basis;
  /** What every answer has to be like. */
  readonly expected: string;
  readonly holds: (exchange: Exchange) => boolean;
}

/** What the specification says of Warning headers (WA1): `299 - "text"` and no date. */
const WARNING = /^299 - "(?:[^"\\]|\\.)*"$/;

const RULES: readonly Rule[] = [
  {
    name: '4xx JSON bodies have the form and the codes of the table',
    basis: 'spec',
    expected: 'of a 4xx with a JSON body: {"errors":[{"code": one of the table}]}',
    holds: isProperRefusal,
  },
  {
    name: 'Warning headers have the form 299 - "text" and 4096 bytes at most',
    basis: 'spec',
    expected: 'Warning headers of the form 299 - "text" without a date, of 4096 bytes at most together',
    holds: (exchange) => {
      const warnings = exchange.headers.get('warning') ?? [];
      return warnings.every((one) => WARNING.test(one)) && Buffer.byteLength(warnings.join('')) <= 4096;
    },
  },
  {
    name: 'no 5xx',
    basis: 'ours',
    expected: 'no answer of 500 or above to anything that a client sends',
    holds: (exchange) => exchange.status < 500,
  },
  {
    name: 'nothing follows the end of an answer',
    basis: 'spec',
    expected: 'no bytes after the end of the answer',
    holds: (exchange) => exchange.excess === 0,
  },
  {
    name: 'no Content-Encoding',
    basis: 'ours',
    expected: 'no Content-Encoding: clients hash the bytes as they come',
    holds: (exchange) => header(exchange, 'content-encoding') === undefined,
  },
  {
    name: 'Docker-Distribution-API-Version',
    basis: 'ours',
    expected: 'the header Docker-Distribution-API-Version: registry/2.0, which older clients look for',
    holds: (exchange) => header(exchange, 'docker-distribution-api-version') === 'registry/2.0',
  },
  {
    name: 'Content-Length wherever there is a body',
    basis: 'ours',
    expected:
      'an exact Content-Length; the refusal of a body that is still coming may end with its connection instead',
    holds: (exchange) =>
      exchange.body.length === 0 ||
      header(exchange, 'content-length') !== undefined ||
      (exchange.status >= 400 &&
        (exchange.sentSize ?? 0) > 256 * 1024 &&
        header(exchange, 'connection')?.toLowerCase() === 'close'),
  },
  {
    name: 'nosniff on content that clients uploaded',
    basis: 'ours',
    expected: 'X-Content-Type-Options: nosniff, as anybody who may push decides on these bytes',
    holds: (exchange) =>
      exchange.method !== 'GET' ||
      exchange.status !== 200 ||
      !/\/(?:blobs|manifests)\/[^/]+$/.test(exchange.target) ||
      header(exchange, 'x-content-type-options') === 'nosniff',
  },
];

function isProperRefusal(exchange: Exchange): boolean {
  if (exchange.status < 400 || exchange.status > 499 || exchange.body.length === 0) return true;
  if (!/json/.test(header(exchange, 'content-type') ?? '')) return true;
  const codes = errorCodes(text(exchange));
  return codes !== undefined && codes.every((code) => ERROR_CODES.includes(code));
}

/** Rules for every answer of a run: each is broken once and for all by the first answer that breaks it. */
export class Observations {
  readonly #broken = new Map<string, { first: Exchange; count: number }>();
  #seen = 0;

  see(exchange: Exchange): void {
    this.#seen++;
    for (const rule of RULES) {
      if (rule.holds(exchange)) continue;
      const known = this.#broken.get(rule.name);
      if (known === undefined) this.#broken.set(rule.name, { first: exchange, count: 1 });
      else known.count++;
    }
  }

  /** The rules as tests, to be run last. */
  scenario(): Scenario {
    const steps = RULES.map((rule): Step => {
      const run = async (): Promise<void> => {
        const broken = this.#broken.get(rule.name);
        if (broken === undefined) return;
        throw new Failure(`${rule.expected} (broken by ${broken.count} of ${this.#seen})`, broken.first);
      };
      return { name: rule.name, basis: rule.basis, run };
    });
    return { name: 'beyond/every answer of the run', basis: 'spec', steps };
  }
}
