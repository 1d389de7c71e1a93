import type { Address, Connection, Handler, Listener, ListenOptions, TlsOptions } from './listener.ts';
import { addressFailure, clearStaleSocket, isUnknownHost, lacksIpv6 } from './address.ts';
import { FAILURE_BODY, FAILURE_INIT, repairRequest } from './request-target.ts';
import { namesOf, TLS_1_3 } from './server-certificates.ts';

/** One object a request and nothing else: this passes some 30 000 requests a second on one core. */
class BunConnection implements Connection {
  readonly encrypted: boolean;
  /** The handler's answer to come, once it was called. */
  answer: Promise<Response> | undefined;
  lifted = false;
  private readonly request: Request;
  private readonly server: Bun.Server<undefined>;
  private readonly idleSeconds: number;

  constructor(request: Request, server: Bun.Server<undefined>, encrypted: boolean, idleSeconds: number) {
    this.request = request;
    this.server = server;
    this.encrypted = encrypted;
    this.idleSeconds = idleSeconds;
  }

  get remoteAddress(): string {
    const address = this.server.requestIP(this.request)?.address ?? '';
    return address.startsWith('::ffff:') ? address.slice(7) : address;
  }

  liftIdleLimit(): void {
    if (this.lifted) return;
    this.lifted = true;
    this.server.timeout(this.request, 0);
    if (this.answer !== undefined) this.restoreAfter(this.answer);
  }

  /** Bun keeps a lifted limit for all further requests of the connection, so it is put back. */
  restoreAfter(answer: Promise<Response>): void {
    const restore = (): void => this.server.timeout(this.request, this.idleSeconds);
    answer.then(restore, restore);
  }
}

/**
 * Listens by `Bun.serve`. A `Blob` body over a file is sent by the kernel (`sendfile`) and never enters
 * JavaScript.
 * @throws AddressUnavailable
 */
export async function listen(options: ListenOptions): Promise<Listener> {
  const { address } = options;
  if ('unix' in address) await clearStaleSocket(address.unix);
  let server = await bind(options);
  /** Servers that another one has taken the place of, and that still have requests. */
  const replaced = new Set<Bun.Server<undefined>>();
  const all = () => [server, ...replaced];
  return {
    hostname: 'unix' in address ? address.unix : (server.hostname ?? address.hostname),
    port: server.port ?? 0,
    pending: () => all().reduce((sum, one) => sum + one.pendingRequests, 0),
    async renew(certificates) {
      const { tls } = options;
      if (tls === undefined || 'unix' in address || !options.reusePort) return false;
      // `reload` passes over the certificate without a word, so a second server takes the port over.
      const old = server;
      const where = { hostname: old.hostname ?? address.hostname, port: old.port ?? 0 };
      server = serve({ ...options, tls: { ...tls, named: [], ...certificates } }, where);
      replaced.add(old);
      void old.stop(false).finally(() => replaced.delete(old));
      return true;
    },
    // Closes idle connections at once and busy ones after their answer.
    drain: () => Promise.all(all().map((one) => one.stop(false))).then(() => undefined),
    close: () => Promise.all(all().map((one) => one.stop(true))).then(() => undefined),
  };
}

async function bind(options: ListenOptions): Promise<Bun.Server<undefined>> {
  const { address } = options;
  try {
    if ('unix' in address || address.hostname !== '') return serve(options, address);
    try {
      return serve(options, { hostname: '::', port: address.port });
    } catch (error) {
      if (!lacksIpv6(error)) throw error;
      return serve(options, { hostname: '0.0.0.0', port: address.port });
    }
  } catch (error) {
    const unknown = 'hostname' in address && (await isUnknownHost(address.hostname));
    throw addressFailure(address, unknown ? Object.assign(new Error(), { code: 'ENOTFOUND' }) : error);
  }
}

function serve(options: ListenOptions, address: Address): Bun.Server<undefined> {
  const { handler, tls } = options;
  // Bun's own greatest value is 255.
  const idleTimeout = Math.min(255, options.idleSeconds);
  const common = {
    ...(tls === undefined ? {} : { tls: bunTls(tls) }),
    idleTimeout,
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    development: false as const,
    fetch: answering(handler, tls !== undefined, idleTimeout),
    error: failed,
  };
  // The declarations leave the idle limit out for unix sockets; Bun 1.4.4 honours it there as well.
  const declared: Omit<typeof common, 'idleTimeout'> = common;
  if ('unix' in address) return Bun.serve({ ...declared, unix: address.unix });
  return Bun.serve({ ...common, ...address, reusePort: options.reusePort });
}

/** The declarations lack `minVersion`, which Bun takes as a number. */
type BunTls = Bun.TLSOptions & { readonly minVersion?: number };

/** Bun finds the certificate by the name itself: the first entry is the default, each other one is for one name. */
function bunTls(tls: TlsOptions): BunTls | BunTls[] {
  const limits = {
    ...(tls.minimumVersion === 'tls1.3' ? { minVersion: TLS_1_3 } : {}),
    ...(tls.ciphers === undefined ? {} : { ciphers: tls.ciphers }),
  };
  const common = { cert: tls.certificate, key: tls.key, ...limits };
  const named = [...namesOf(tls)].map(([serverName, { certificate, key }]) => ({
    cert: certificate,
    key,
    serverName,
    ...limits,
  }));
  return named.length === 0 ? common : [common, ...named];
}

function answering(
  handler: Handler,
  encrypted: boolean,
  idleSeconds: number,
): (request: Request, server: Bun.Server<undefined>) => Promise<Response> | Response {
  return (request, server) => {
    let given = request;
    // An unusable Host header leaves a URL without its scheme; of two headers the URL has the first.
    if (!request.url.startsWith('http') || request.headers.get('host')?.includes(',') === true) {
      const repaired = repairRequest(request, encrypted);
      if (repaired instanceof Response) return repaired;
      given = repaired;
    }
    const connection = new BunConnection(request, server, encrypted, idleSeconds);
    const answer = handler(given, connection);
    connection.answer = answer;
    if (connection.lifted) connection.restoreAfter(answer);
    return answer;
  };
}

/** The handler answers its own failures; what comes here is a defect, and is told to the operator only. */
function failed(error: Error): Response {
  process.emitWarning(error);
  return new Response(FAILURE_BODY, FAILURE_INIT);
}
