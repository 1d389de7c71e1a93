/** An upstream did not answer as it should. What is cached may be served instead. */
export class UpstreamFailure extends Error {
  override readonly name = 'UpstreamFailure';
  /** The upstream's status; undefined when there was no answer. */
  readonly status: number | undefined;
  /** Seconds that it asks to be left alone for. */
  readonly retryAfter: number | undefined;
  /** Whether it was given up for its slowness. */
  readonly timedOut: boolean;

  constructor(
    message: string,
    {
      status,
      retryAfter,
      timedOut = false,
      cause,
    }: { status?: number; retryAfter?: number | undefined; timedOut?: boolean; cause?: unknown } = {},
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.status = status;
    this.retryAfter = retryAfter;
    this.timedOut = timedOut;
  }

  /** Whether it said that we may not have this: then it is there for others, or it hides that there is nothing. */
  get isRefusal(): boolean {
    return this.status === 401 || this.status === 403;
  }
}

/** Seconds of a `Retry-After` header: a number, or a date (RFC 9110 §10.2.3). */
export function retryAfterOf(header: string | null, now = Date.now()): number | undefined {
  if (header === null) return undefined;
  if (/^\d{1,9}$/.test(header.trim())) return Number(header);
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, Math.ceil((date - now) / 1000));
}
