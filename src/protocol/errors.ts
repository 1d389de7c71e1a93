import { type ErrorCode, type ErrorEntry, RegistryError } from '../oci/errors.ts';

/** The HTTP status of each code, unless the error has one of its own. */
const STATUS: Readonly<Record<ErrorCode, number>> = {
  BLOB_UNKNOWN: 404,
  BLOB_UPLOAD_INVALID: 400,
  BLOB_UPLOAD_UNKNOWN: 404,
  DENIED: 403,
  DIGEST_INVALID: 400,
  MANIFEST_BLOB_UNKNOWN: 400,
  MANIFEST_INVALID: 400,
  MANIFEST_UNKNOWN: 404,
  NAME_INVALID: 400,
  NAME_UNKNOWN: 404,
  SIZE_INVALID: 400,
  TOOMANYREQUESTS: 429,
  UNAUTHORIZED: 401,
  UNSUPPORTED: 405,
};

/** A failure of the registry itself, as far as a client may know of it. */
export interface Failure {
  readonly status: 429 | 500 | 502 | 503 | 504;
  readonly message: string;
  /** Whether it is no defect of ours: then the log has a warning with the error's message. */
  readonly isExpected?: boolean;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The answer to an error that is the client's to know. */
export function errorResponse(error: RegistryError, headers: Readonly<Record<string, string>>): Response {
  const status = error.status ?? STATUS[error.code];
  const first: ErrorEntry = {
    code: error.code,
    message: error.message,
    ...(error.detail === undefined ? {} : { detail: error.detail }),
  };
  return json(status, { errors: [first, ...error.also] }, { ...headers, ...error.headers });
}

/** The answer to a failure of ours; its codes are the ones that clients know from the peers. */
export function failureResponse(
  { status, message, headers: own }: Failure,
  headers: Readonly<Record<string, string>>,
): Response {
  const code = status === 500 ? 'UNKNOWN' : status === 429 ? 'TOOMANYREQUESTS' : 'UNAVAILABLE';
  return json(status, { errors: [{ code, message }] }, { ...headers, ...own });
}

/** A JSON body with its exact length. */
export function json(status: number, value: unknown, headers: Readonly<Record<string, string>>): Response {
  const body = Buffer.from(JSON.stringify(value));
  return new Response(body, {
    status,
    headers: { 'Content-Type': 'application/json', 'Content-Length': String(body.byteLength), ...headers },
  });
}

/** A parameter of the query that has no meaning here. */
export function badParameter(message: string, detail?: unknown): RegistryError {
  return new RegistryError('UNSUPPORTED', message, { status: 400, detail });
}
