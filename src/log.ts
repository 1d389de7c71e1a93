/** The logger that every room may use. */

/** Facts that go with a message. Never put a credential in one: values are written as they are. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

/** What is kept of one request, in the way of an access log. */
export interface AccessRecord {
  readonly remoteAddress: string;
  readonly method: string;
  /** Path and query as asked, with secrets removed; see `redactQuery`. */
  readonly target: string;
  readonly status: number;
  /** Size of the answer's body in bytes, where it is known when the answer begins. */
  readonly size: number | undefined;
  /** From the request's arrival to the begin of the answer, in milliseconds. */
  readonly duration: number;
  readonly account: string;
  readonly userAgent: string;
  readonly referer: string;
}

/** Something that somebody will want to know later: who did what, from where, and whether it was let happen. */
export interface AuditRecord {
  readonly event: 'login' | 'token' | 'denied' | 'push' | 'delete' | 'mount' | 'key';
  /** `''` for the anonymous account. As the client sent it, where nobody has proven to be that account. */
  readonly account: string;
  readonly remoteAddress: string;
  readonly result: 'done' | 'refused';
  readonly repository?: string;
  /** A tag or digest. */
  readonly reference?: string;
  /** How a login was made, what was denied, or where a mounted blob came from. */
  readonly detail?: string;
}

/** Keeps a record. Never throws, never waits. */
export type Audit = (record: AuditRecord) => void;

const SECRET_PARAMETER =
  /([?&](?:_state|token|access_token|refresh_token|password|secret|sig|signature|x-amz-[a-z-]+)=)[^&]*/gi;

/** The request's target with the values of secret query parameters replaced. */
export function redactQuery(target: string): string {
  return target.includes('?') ? target.replace(SECRET_PARAMETER, '$1***') : target;
}
