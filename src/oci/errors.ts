/**
 * The error codes of the OCI distribution specification ("Error Codes" table). No other code is ever
 * sent: the specification says that a 4xx body MUST use one of these.
 */
export type ErrorCode =
  | 'BLOB_UNKNOWN'
  | 'BLOB_UPLOAD_INVALID'
  | 'BLOB_UPLOAD_UNKNOWN'
  | 'DENIED'
  | 'DIGEST_INVALID'
  | 'MANIFEST_BLOB_UNKNOWN'
  | 'MANIFEST_INVALID'
  | 'MANIFEST_UNKNOWN'
  | 'NAME_INVALID'
  | 'NAME_UNKNOWN'
  | 'SIZE_INVALID'
  | 'TOOMANYREQUESTS'
  | 'UNAUTHORIZED'
  | 'UNSUPPORTED';

/** One entry of the `errors` list that a client receives. */
export interface ErrorEntry {
  readonly code: ErrorCode;
  readonly message: string;
  readonly detail?: unknown;
}

/**
 * A failure that is the client's to know. Everything that is not a `RegistryError` is answered with a
 * bare 500 and told in full only in the log.
 *
 * `status` overrides the code's usual HTTP status where one code has two (a manifest that is too large
 * is `MANIFEST_INVALID` with 413, an upload range out of order is `BLOB_UPLOAD_INVALID` with 416).
 */
export class RegistryError extends Error {
  override readonly name = 'RegistryError';
  readonly code: ErrorCode;
  readonly detail: unknown;
  readonly status: number | undefined;
  /** Further entries for the same answer, as for several missing blobs of one manifest. */
  readonly also: readonly ErrorEntry[];
  /** Headers that the answer must carry, e.g. `Range` and `Location` of an upload out of order. */
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: ErrorCode,
    message: string,
    options: {
      detail?: unknown;
      status?: number;
      also?: readonly ErrorEntry[];
      headers?: Readonly<Record<string, string>>;
      cause?: unknown;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.detail = options.detail;
    this.status = options.status;
    this.also = options.also ?? [];
    this.headers = options.headers ?? {};
  }
}
