import type { WireAnswer } from './answer-reader.ts';

/** What was sent and what came back. */
export interface Exchange extends WireAnswer {
  readonly method: string;
  /** The target of the request that was answered: after a redirect, the last one. */
  readonly target: string;
  readonly origin: URL;
  readonly sent: readonly (readonly [string, string])[];
  /** Bytes of the body, undefined for a streamed one. */
  readonly sentSize: number | undefined;
  /** Whether the request was malformed on purpose. */
  readonly malformed: boolean;
}

/** The only value of a header, or all of them joined by commas; undefined when it is absent. */
export function header(answer: WireAnswer, name: string): string | undefined {
  return answer.headers.get(name.toLowerCase())?.join(', ');
}

/** The body as text. */
export function text(answer: WireAnswer): string {
  return Buffer.from(answer.body).toString('utf8');
}
