/**
 * What the product asks of an HTTP server. `bun.ts` and `node.ts` are its two implementations; the tests in
 * `test/server/` hold them to the same behaviour.
 */

/** What a handler may know of, and ask from, the connection that a request came by. */
export interface Connection {
  /** The peer's IP address (an IPv4 peer of a dual-stack socket in IPv4 form); `''` for a unix socket. */
  readonly remoteAddress: string;
  /** Whether the request came by TLS. */
  readonly encrypted: boolean;
  /** The client's certificate, if it gave one and an authority of `TlsOptions.clientCas` signed it. */
  readonly certificate?: PeerCertificate | undefined;
  /**
   * Lifts the runtime's idle limit for this request, up to its answer: for a handler with its own watchdog.
   * Without it a slow but honest upload is cut, because the idle limit asks for some 16 KB/s and not for life.
   */
  liftIdleLimit(): void;
}

/**
 * Answers a request. `request.url` is always absolute and has the path as the WHATWG URL parser leaves it:
 * `.` and `..` segments (also as `%2e`) and `\` are resolved, everything else (`//`, `%2f`, `%00`) is as sent.
 * `request.signal` aborts when the client leaves before the answer is sent; for the body of a file Bun 1.4.4 tells
 * it only to a handler that awaited I/O before its answer, and not each time, so nothing may depend on it. A handler that throws is answered
 * with a bare 500, so it had better not.
 *
 * A body of text, bytes or a `Blob` is sent with its length. For a stream Bun 1.4.4 drops the `content-length` that
 * the response has and sends chunks (Node keeps it), so a stream that cannot give all of it must fail, not close.
 */
export type Handler = (request: Request, connection: Connection) => Promise<Response>;

/** Where to listen. An empty hostname means every address of the machine, IPv6 and IPv4. */
export type Address = { readonly hostname: string; readonly port: number } | { readonly unix: string };

/** A client's certificate, verified. */
export interface PeerCertificate {
  /** The subject's common name; `''` where it has none, or several. */
  readonly commonName: string;
  readonly organizationalUnits: readonly string[];
  /** With their kind: `DNS:host`, `email:who@example.com`, `URI:spiffe://…`, `IP:…`. */
  readonly alternativeNames: readonly string[];
  /** SHA-256 of the certificate, in lower-case hexadecimal. */
  readonly fingerprint: string;
}

/**
 * What is demanded of clients: a certificate may be given, or must be; it need not be, or must be, signed by an authority
 * of `clientCas`.
 */
export type ClientAuth = 'request' | 'require-any' | 'verify-if-given' | 'require-and-verify';

/**
 * The certificate and key (one PEM text) for a handshake of ACME's tls-alpn-01 (RFC 8737) by that server name; undefined for
 * a name that nobody asks about.
 */
export type AlpnChallenge = (serverName: string) => string | undefined;

/** A certificate that is shown to clients that ask for one of its names. */
export interface NamedCertificate extends ServerCertificate {
  /** DNS names in any case, also such as `*.example.com`. */
  readonly names: readonly string[];
}

export interface ServerCertificate {
  /** PEM texts; the certificate may be followed by its chain. */
  readonly certificate: string;
  readonly key: string;
}

/** `certificate` is the one for who asks for no name, or for one that none of `named` has. */
export interface ServerCertificates extends ServerCertificate {
  /** A name before its wildcard, and the first of two with the same name. */
  readonly named?: readonly NamedCertificate[];
}

export interface TlsOptions extends ServerCertificates {
  /** By default `tls1.2`; less is never spoken. */
  readonly minimumVersion?: 'tls1.2' | 'tls1.3';
  /** What may be spoken in TLS 1.2, by OpenSSL's names and joined by colons; by default the runtime's choice. */
  readonly ciphers?: string;
  /** PEM text of the authorities that sign clients' certificates; without it clients are not asked for one. */
  readonly clientCas?: string;
  /** By default `require-and-verify`. */
  readonly clientAuth?: ClientAuth;
  /** Node only: on Bun 1.4.4 no certificate can be chosen by the client's protocol, and it has no effect. */
  readonly alpnChallenge?: AlpnChallenge;
}

export interface ListenOptions {
  /** Port 0 takes a free one, told by `Listener.port`. */
  readonly address: Address;
  readonly tls?: TlsOptions;
  /**
   * Share the port with other processes of this user (SO_REUSEPORT); the kernel spreads connections. A unix socket is not
   * shared but taken over from the one that has it: who comes from then on comes here.
   */
  readonly reusePort: boolean;
  /** Seconds without traffic after which a connection is closed; 0 for never. The runtime may round it up to 4 s. */
  readonly idleSeconds: number;
  readonly handler: Handler;
  /** A `Listener.socket` that another process has lent, to be listened on instead of a new one. */
  readonly socket?: unknown;
}

export interface Listener {
  /** The bound hostname, or the path of the unix socket. */
  readonly hostname: string;
  /** The bound port; 0 for a unix socket. */
  readonly port: number;
  /** What it listens on, to be lent to the process that takes its place; undefined where none can be lent, as by Bun. */
  readonly socket?: unknown;
  /** Requests under way: received and not yet answered to the last byte. */
  pending(): number;
  /**
   * Shows other certificates to connections to come; those that are there, or are being made, go on. By `Bun.serve`
   * some of those who come within the next second connect after another second or two, and off Linux a few are reset.
   * @returns false where that cannot be: without TLS, and by `Bun.serve` where the port is not shared
   */
  renew(certificates: ServerCertificates): Promise<boolean>;
  /** Accepts nothing new; resolves when the requests under way are answered. What just comes is reset. */
  drain(): Promise<void>;
  /**
   * Leaves the port to others that share it, or the path to who has taken it over, within a second, and drains then. Each answer meanwhile is the last of its
   * connection. Nobody is reset: some of those who come meanwhile connect after a second or two.
   */
  handOver(): Promise<void>;
  /** Ends everything now: requests under way are cut. */
  close(): Promise<void>;
}

/** Starts to listen. @throws AddressUnavailable when the address is used, unknown or not permitted */
export type Listen = (options: ListenOptions) => Promise<Listener>;
