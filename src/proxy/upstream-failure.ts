/** An upstream did not answer as it should. What is cached may be served instead. */
export class UpstreamFailure extends Error {
  override readonly name = 'UpstreamFailure';
  /** The upstream's status; undefined when there was no answer. */
  readonly status: number | undefined;
  /** Seconds that it asks to be left alone for. */
  readonly retryAfter: number | undefined;

  constructor(
    message: string,
    { status, retryAfter, cause }: { status?: number; retryAfter?: number; cause?: unknown } = {},
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.status = status;
    this.retryAfter = retryAfter;
  }
}
