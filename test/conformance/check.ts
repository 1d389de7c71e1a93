/** What the tests say of answers: each function returns, or throws a `Failure` that shows the exchange. */
import { createHash } from 'node:crypto';
import { header, text } from './exchange.ts';
import type { Exchange } from './exchange.ts';
import { ERROR_CODES } from './vocabulary.ts';
import type { Algorithm } from './vocabulary.ts';

/** An answer that is not what the specification asks for. */
export class Failure extends Error {
  override readonly name = 'Failure';
  readonly expected: string;
  readonly exchange: Exchange | undefined;
  constructor(expected: string, exchange?: Exchange) {
    super(expected);
    this.expected = expected;
    this.exchange = exchange;
  }
}

/** The registry lacks something that the specification leaves to it. */
export class Unsupported extends Error {
  override readonly name = 'Unsupported';
}

/** Fails with `expected` unless `condition` holds. */
export function expectThat(condition: boolean, expected: string, exchange?: Exchange): asserts condition {
  if (!condition) throw new Failure(expected, exchange);
}

/** The status must be one of these. */
export function expectStatus(answer: Exchange, ...statuses: readonly number[]): void {
  expectThat(statuses.includes(answer.status), `status ${statuses.join(' or ')}`, answer);
}

/** The header must be there; returns its value. */
export function expectHeader(answer: Exchange, name: string): string {
  const value = header(answer, name);
  expectThat(value !== undefined, `a ${name} header`, answer);
  return value;
}

/** The header must be there with exactly this value. */
export function expectHeaderIs(answer: Exchange, name: string, value: string): void {
  expectThat(header(answer, name) === value, `the header ${name}: ${value}`, answer);
}

/** The body must be exactly these bytes, `Content-Length` their number, and nothing may follow. */
export function expectBody(answer: Exchange, bytes: Uint8Array): void {
  const length = header(answer, 'content-length');
  expectThat(
    length === undefined || length === String(bytes.length),
    `the header Content-Length: ${bytes.length}`,
    answer,
  );
  const same = answer.body.length === bytes.length && Buffer.compare(answer.body, bytes) === 0;
  expectThat(same, `a body of exactly the ${bytes.length} bytes that were pushed`, answer);
  expectThat(answer.excess === 0, 'no bytes after the end of the body', answer);
}

/** An answer to HEAD (also a 204 or 304) must have no body at all. */
export function expectNoBody(answer: Exchange): void {
  expectThat(answer.body.length === 0 && answer.excess === 0, 'no body at all', answer);
}

/**
 * `Docker-Content-Digest` must be this digest; it may be missing only where `required` is false, which is
 * before the version of the specification that made it a MUST.
 */
export function expectDigest(answer: Exchange, digest: string, required: boolean): void {
  const value = header(answer, 'docker-content-digest');
  if (value === undefined && !required) return;
  expectThat(value === digest, `the header Docker-Content-Digest: ${digest}`, answer);
}

/** The body must be JSON that is an object; returns it. */
export function expectJson(answer: Exchange): Readonly<Record<string, unknown>> {
  const type = header(answer, 'content-type');
  expectThat(
    type !== undefined && /^application\/(?:[\w.-]+\+)?json(?:;|$)/.test(type),
    'a Content-Type of JSON',
    answer,
  );
  const value = parseObject(text(answer));
  expectThat(value !== undefined, 'a body that is a JSON object', answer);
  return value;
}

/** The JSON object in `source`, or undefined when it is none. */
export function parseObject(source: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(source);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The codes of an error body, or undefined when the body has not the specification's form. */
export function errorCodes(body: string): readonly string[] | undefined {
  const errors = parseObject(body)?.['errors'];
  if (!Array.isArray(errors) || errors.length === 0) return undefined;
  const codes: string[] = [];
  for (const error of errors) {
    const entry: unknown = error;
    if (!isObject(entry) || typeof entry['code'] !== 'string' || !/^[A-Z_]+$/.test(entry['code']))
      return undefined;
    if (entry['message'] !== undefined && typeof entry['message'] !== 'string') return undefined;
    codes.push(entry['code']);
  }
  return codes;
}

/** A refusal: the status, and a JSON body whose codes are all `code` (one of several given). */
export function expectError(
  answer: Exchange,
  statuses: number | readonly number[],
  ...allowed: readonly string[]
): readonly string[] {
  expectStatus(answer, ...(typeof statuses === 'number' ? [statuses] : statuses));
  if (answer.method === 'HEAD') {
    expectNoBody(answer);
    return [];
  }
  expectJson(answer);
  const codes = errorCodes(text(answer));
  expectThat(codes !== undefined, 'a body {"errors":[{"code","message"?,"detail"?}]}', answer);
  const table = allowed.length === 0 ? ERROR_CODES : allowed;
  expectThat(
    codes.every((code) => table.includes(code)),
    `the error code ${table.join(' or ')}`,
    answer,
  );
  return codes;
}

/** The digest of bytes, with its algorithm's name. */
export function digestOf(bytes: Uint8Array, algorithm: Algorithm = 'sha256'): string {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
}

/**
 * Checks every item even when one fails, so that what later tests need is pushed as far as it can be. Throws
 * the first failure, or else the first `Unsupported`.
 */
export async function checkEach<T>(items: Iterable<T>, check: (item: T) => Promise<void>): Promise<void> {
  const errors: unknown[] = [];
  for (const item of items) {
    try {
      await check(item);
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors.find((error) => !(error instanceof Unsupported)) ?? errors[0];
}
