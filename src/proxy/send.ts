/** HTTP requests to other registries: what there is to be told of one. */

/** One request. Redirects are not followed, and bodies come as they were sent. */
export interface OutgoingRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | ReadableStream<Uint8Array>;
  /** The address to connect to in place of what the URL's host resolves to. The host is still whom TLS has to prove. */
  readonly address?: string | undefined;
  readonly signal: AbortSignal;
}

/** Whom to believe in TLS. */
export interface TlsTrust {
  /** PEM: authorities beside which no other counts. */
  readonly ca?: string | undefined;
  /** Take any certificate. */
  readonly insecure?: boolean | undefined;
}

export type Send = (request: OutgoingRequest) => Promise<Response>;
