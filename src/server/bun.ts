import { setTimeout as delay } from 'node:timers/promises';
import type { Address, Connection, Handler, Listener, ListenOptions, TlsOptions } from './listener.ts';
import { addressFailure, clearStaleSocket, isUnknownHost, lacksIpv6, takeOverPath } from './address.ts';
import { LAST_HANDSHAKES_MS, leavePort, listeningSockets } from './bun-listening-sockets.ts';
import { endWhenQuiet } from './last-call.ts';
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

/** A server, and what it alone has. */
interface Bound {
  readonly server: Bun.Server<undefined>;
  /** Descriptors of what it listens on, where that can be known. */
  readonly sockets: readonly number[];
  /** Set when another one takes its place: no further request is wanted on its connections. */
  readonly place: { taken: boolean };
}

/**
 * Listens by `Bun.serve`. A `Blob` body over a file is sent by the kernel (`sendfile`) and never enters
 * JavaScript.
 * @throws AddressUnavailable
 */
export async function listen(options: ListenOptions): Promise<Listener> {
  const { address, tls, reusePort } = options;
  if ('unix' in address && !reusePort) await clearStaleSocket(address.unix);
  const renewable = tls !== undefined && reusePort && !('unix' in address);
  const kernel = reusePort && !('unix' in address) ? await listeningSockets() : undefined;
  const note = (start: () => Bun.Server<undefined>, place: Bound['place']): Bound => {
    const before = kernel?.current();
    const server = start();
    const sockets = [...(kernel?.current() ?? [])].filter((one) => before?.has(one) === false);
    for (const one of sockets) kernel?.acceptAtOnce(one);
    return { server, sockets, place };
  };
  const firstPlace = { taken: false };
  let bound = await bind(options, (where) => note(() => serve(options, where, firstPlace), firstPlace));
  /** Servers that another one has taken the place of, and that still have requests. */
  const replaced = new Set<Bound>();
  const all = () => [bound, ...replaced].map(({ server }) => server);
  const pending = () => all().reduce((sum, one) => sum + one.pendingRequests, 0);
  const close = () => Promise.all(all().map((one) => one.stop(true))).then(() => undefined);
  // Closes idle connections at once and busy ones after their answer; waits for those that have asked nothing yet.
  let finished: Promise<void> | undefined;
  const finish = () => (finished ??= Promise.all(all().map((one) => one.stop(false))).then(() => undefined));
  let drained: Promise<void> | undefined;
  return {
    hostname: 'unix' in address ? address.unix : (bound.server.hostname ?? address.hostname),
    port: bound.server.port ?? 0,
    pending,
    async renew(certificates) {
      if (!renewable) return false;
      // `reload` passes over the certificate without a word, so a second server takes the port over.
      const old = bound;
      const where = { hostname: old.server.hostname ?? address.hostname, port: old.server.port ?? 0 };
      const place = { taken: false };
      const renewed = { ...options, tls: { ...tls, named: [], ...certificates } };
      bound = note(() => serve(renewed, where, place), place);
      replaced.add(old);
      old.place.taken = true;
      // The kernel resets what waits at a socket when that is closed. So nothing may come any more, and what has come
      // must have been accepted, which happens between two timers at the latest.
      const deaf =
        kernel !== undefined && old.sockets.length > 0 && old.sockets.every((one) => kernel.deafen(one));
      const stop = (): void => void old.server.stop(false).finally(() => replaced.delete(old));
      if (deaf) setTimeout(() => setTimeout(stop, 10).unref(), LAST_HANDSHAKES_MS).unref();
      else stop();
      return true;
    },
    drain() {
      if (drained !== undefined) return drained;
      drained = finish();
      endWhenQuiet(pending, drained, () => void close());
      return drained;
    },
    async handOver() {
      bound.place.taken = true;
      if ('unix' in address) await delay(LAST_HANDSHAKES_MS);
      else await leavePort(bound.server.port ?? 0);
      // Nothing waits for our end: who has asked nothing yet has as long as otherwise.
      await finish();
    },
    close,
  };
}

async function bind<T>({ address, reusePort }: ListenOptions, start: (where: Address) => T): Promise<T> {
  try {
    if ('unix' in address && reusePort) return await takeOverPath(address.unix, (unix) => start({ unix }));
    if ('unix' in address || address.hostname !== '') return start(address);
    try {
      return start({ hostname: '::', port: address.port });
    } catch (error) {
      if (!lacksIpv6(error)) throw error;
      return start({ hostname: '0.0.0.0', port: address.port });
    }
  } catch (error) {
    const unknown = 'hostname' in address && (await isUnknownHost(address.hostname));
    throw addressFailure(address, unknown ? Object.assign(new Error(), { code: 'ENOTFOUND' }) : error);
  }
}

function serve(options: ListenOptions, address: Address, place: Bound['place']): Bun.Server<undefined> {
  const { handler, tls } = options;
  // Bun's own greatest value is 255.
  const idleTimeout = Math.min(255, options.idleSeconds);
  const common = {
    ...(tls === undefined ? {} : { tls: bunTls(tls) }),
    idleTimeout,
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    development: false as const,
    fetch: answering(handler, tls !== undefined, idleTimeout, place),
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
  place: Bound['place'],
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
    return place.taken ? answer.then(asLast) : answer;
  };
}

/** The connection ends with this answer: a client that is told so sends no request into its end. */
function asLast(response: Response): Response {
  response.headers.set('connection', 'close');
  return response;
}

/** The handler answers its own failures; what comes here is a defect, and is told to the operator only. */
function failed(error: Error): Response {
  process.emitWarning(error);
  return new Response(FAILURE_BODY, FAILURE_INIT);
}
