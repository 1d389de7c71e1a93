import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Address, Connection, Handler, Listener, ListenOptions, PeerCertificate } from './listener.ts';
import type { ListenOptions as NodeListenOptions, Server as NetServer, Socket } from 'node:net';
import { createServer as createPlainServer } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { Server as TlsServer } from 'node:tls';
import { certificateOf, createTlsFront } from './client-certificates.ts';
import { answerPlainHttp } from './plain-http.ts';
import type { SecureContexts } from './secure-contexts.ts';
import { addressFailure, clearStaleSocket, lacksIpv6, takeOverPath } from './address.ts';
import { LAST_CALL_MS } from './last-call.ts';
import { freeSocket, MAX_HEADERS, requestOf } from './node-request.ts';
import { sendResponse } from './node-response.ts';
import { FAILURE_BODY, FAILURE_INIT } from './request-target.ts';
import { rememberSources } from './response-source.ts';

class NodeConnection implements Connection {
  readonly encrypted: boolean;
  readonly #incoming: IncomingMessage;

  constructor(incoming: IncomingMessage, encrypted: boolean) {
    this.#incoming = incoming;
    this.encrypted = encrypted;
  }

  get remoteAddress(): string {
    const address = this.#incoming.socket.remoteAddress ?? '';
    return address.startsWith('::ffff:') ? address.slice(7) : address;
  }

  get certificate(): PeerCertificate | undefined {
    return certificateOf(this.#incoming.socket);
  }

  liftIdleLimit(): void {
    // node:http sets the limit anew for each request of the connection.
    this.#incoming.socket.setTimeout(0);
  }
}

/**
 * Listens by node:http or node:https, with the limits and the URL form that `Bun.serve` has. In a worker of
 * node:cluster (Node 20) the parent accepts the connections, which takes the place of `reusePort`.
 * @throws AddressUnavailable
 */
export async function listen(options: ListenOptions): Promise<Listener> {
  rememberSources();
  const { address } = options;
  if ('unix' in address && !options.reusePort) await clearStaleSocket(address.unix);
  const { tls } = options;
  const contexts =
    tls === undefined ? undefined : new (await import('./secure-contexts.ts')).SecureContexts(tls);
  const server = await createServer(options, contexts);
  const front =
    tls?.clientCas === undefined || contexts === undefined
      ? server
      : createTlsFront(server, contexts, tls.clientAuth ?? 'require-and-verify', options.idleSeconds * 1000);
  if (tls !== undefined) answerPlainHttp(front);
  const life = new ServerLife(server, front, tls !== undefined);
  server.on('request', (incoming, outgoing) => {
    life.begin(incoming, outgoing);
    void answer(options.handler, incoming, outgoing, options.tls !== undefined);
  });
  server.on('connect', (_request, socket) =>
    socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'),
  );
  try {
    if (options.socket === undefined) await bindAny(front, address, options.reusePort);
    else await bind(front, options.socket);
  } catch (error) {
    throw addressFailure(address, error);
  }
  // Not before it listens, as an error there is told by the promise.
  front.on('error', (error) => process.emitWarning(error));
  const bound = front.address();
  return {
    hostname: 'unix' in address ? address.unix : address.hostname,
    port: bound !== null && typeof bound === 'object' ? bound.port : 0,
    // No public name, but what `listen` takes and a channel to another process passes on.
    socket:
      typeof Bun === 'undefined' && !('unix' in address)
        ? (front as { readonly _handle?: unknown })._handle
        : undefined,
    pending: () => life.pending,
    renew(certificates) {
      if (contexts === undefined) return Promise.resolve(false);
      contexts.renew(front as TlsServer, certificates);
      return Promise.resolve(true);
    },
    drain: () => life.drain(),
    async handOver() {
      life.endAfterAnswers();
      await leave(bound !== null && typeof bound === 'object' ? bound.port : 0);
      // Nothing waits for our end: who is at its headers has as long as it has otherwise.
      await life.drain(HEADERS_MS);
    },
    close: () => life.close(),
  };
}

/** Time for clients to leave connections that they keep: each is told so by its next answer. In milliseconds. */
const LEAVE_MS = 800;

/** Leaves the port to others (0: a path, which they have already). On Node others have the very socket, which loses nothing when one of them closes it. */
async function leave(port: number): Promise<void> {
  if (typeof Bun === 'undefined' || port === 0) await delay(LEAVE_MS);
  else await (await import('./bun-listening-sockets.ts')).leavePort(port);
}

/** How long a request's headers may take, in milliseconds. */
const HEADERS_MS = 60_000;

async function createServer(options: ListenOptions, contexts: SecureContexts | undefined): Promise<Server> {
  const { tls } = options;
  const limits = {
    maxHeaderSize: 16 * 1024,
    headersTimeout: HEADERS_MS,
    // An upload may take as long as it moves.
    requestTimeout: 0,
    keepAliveTimeout: options.idleSeconds * 1000,
    connectionsCheckingInterval: 5000,
  };
  let server: Server;
  if (contexts === undefined || tls?.clientCas !== undefined) server = createPlainServer(limits);
  else {
    const { createServer: createTlsServer } = await import('node:https');
    server = createTlsServer({ ...limits, ...contexts.serverOptions() });
  }
  server.setTimeout(options.idleSeconds * 1000);
  // Counted by `answer`, which refuses what is too much; node:http would leave headers out without a word.
  server.maxHeadersCount = 0;
  return server;
}

async function bindAny(server: NetServer, address: Address, reusePort: boolean): Promise<void> {
  // Not by the parent of node:cluster, which would remove the path when the worker ends.
  if ('unix' in address && reusePort)
    return takeOverPath(address.unix, (path) => bind(server, { path, exclusive: true }));
  if ('unix' in address) return bind(server, { path: address.unix });
  const { hostname: host, port } = address;
  if (host !== '') return bind(server, { host, port, reusePort });
  try {
    await bind(server, { host: '::', port, reusePort });
  } catch (error) {
    if (!lacksIpv6(error)) throw error;
    await bind(server, { host: '0.0.0.0', port, reusePort });
  }
}

/** @param where also a socket that another process has lent, which the declarations call an object with `_handle` */
function bind(server: NetServer, where: unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where as NodeListenOptions, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Counts the requests under way and ends the server without cutting them. */
class ServerLife {
  pending = 0;
  readonly #server: Server;
  /** What listens: the server itself, or what makes TLS connections for it. */
  readonly #front: NetServer;
  readonly #encrypted: boolean;
  /**
   * Connections that have asked nothing yet. node:http does not take them for idle, and would wait for them. Before its
   * handshake one of TLS is found by its peer, as it becomes another socket.
   */
  readonly #unasked = new Map<Socket | string, Socket>();
  #isLast = false;
  #drained: Promise<void> | undefined;

  constructor(server: Server, front: NetServer, encrypted: boolean) {
    this.#server = server;
    this.#front = front;
    this.#encrypted = encrypted;
    front.on('connection', (socket: Socket) => this.#watch(encrypted ? peerOf(socket) : socket, socket));
    if (!encrypted) return;
    // Before it may ask.
    front.prependListener('secureConnection', (socket: Socket) => {
      this.#unasked.delete(peerOf(socket));
      this.#watch(socket, socket);
    });
  }

  #watch(key: Socket | string, socket: Socket): void {
    this.#unasked.set(key, socket);
    socket.once('close', () => {
      if (this.#unasked.get(key) !== socket) return;
      this.#unasked.delete(key);
      if (this.#drained !== undefined) this.#endIdle();
    });
  }

  begin({ socket }: IncomingMessage, outgoing: ServerResponse): void {
    this.pending += 1;
    this.#unasked.delete(socket);
    if (this.#isLast) outgoing.shouldKeepAlive = false;
    outgoing.once('close', () => {
      this.pending -= 1;
      // node:http closes idle connections once when it is told to, and not those that become idle later.
      if (this.#drained !== undefined) setImmediate(() => this.#endIdle());
    });
  }

  /** From now on each answer is the last of its connection. */
  endAfterAnswers(): void {
    this.#isLast = true;
  }

  /** @param lastCallMs for connections that have asked nothing yet; the least of several calls counts */
  drain(lastCallMs = LAST_CALL_MS): Promise<void> {
    this.#isLast = true;
    const lastCall = setTimeout(() => this.#endUnasked(), lastCallMs);
    this.#drained ??= new Promise((resolve) => {
      this.#front.close(() => resolve());
      this.#endIdle();
    });
    void this.#drained.then(() => clearTimeout(lastCall));
    return this.#drained;
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#front.close(() => resolve());
      this.#server.closeAllConnections();
      for (const socket of this.#unasked.values()) socket.destroy();
    });
  }

  /** Not beside those that have asked nothing yet where Bun runs: it takes them for idle, too, when a front has made them. */
  #endIdle(): void {
    if (typeof Bun === 'undefined' || this.#unasked.size === 0) this.#server.closeIdleConnections();
  }

  #endUnasked(): void {
    for (const [key, socket] of this.#unasked) {
      // It may have asked by now, as the socket that TLS made of it.
      const isBelowTls = this.#encrypted && key === socket && !('encrypted' in socket);
      if (!isBelowTls || socket.bytesRead === 0) socket.destroy();
    }
  }
}

/** Where TLS finds its connection again. Peers of a unix socket have no name, and are kept by the socket. */
function peerOf(socket: Socket): Socket | string {
  const { remoteAddress, remotePort } = socket;
  return remoteAddress === undefined ? socket : `${remoteAddress} ${remotePort}`;
}

async function answer(
  handler: Handler,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  encrypted: boolean,
): Promise<void> {
  // A client that leaves is told by 'close'; without a listener the error would end the process.
  incoming.on('error', () => undefined);
  outgoing.on('error', () => undefined);
  try {
    const request =
      incoming.rawHeaders.length > 2 * MAX_HEADERS ? 431 : requestOf(incoming, outgoing, encrypted);
    if (request === 431) return refuse(outgoing, 431);
    if (request === undefined) return refuse(outgoing, 400);
    const response = await handler(request, new NodeConnection(incoming, encrypted));
    await sendResponse(response, outgoing, incoming.method === 'HEAD');
    drainUnread(incoming, outgoing);
  } catch (error) {
    if (!outgoing.destroyed) process.emitWarning(error instanceof Error ? error : String(error));
    if (outgoing.headersSent) outgoing.destroy();
    else refuse(outgoing, 500);
  } finally {
    freeSocket(incoming);
  }
}

/** A client that is still sending reads its answer only when it is done, and node:http waits for the body to be read. */
function drainUnread(incoming: IncomingMessage, outgoing: ServerResponse): void {
  if (incoming.complete || incoming.destroyed) return;
  incoming.removeAllListeners('data');
  incoming.resume();
  outgoing.shouldKeepAlive = false;
}

function refuse(outgoing: ServerResponse, status: number): void {
  if (status !== 500) outgoing.shouldKeepAlive = false;
  outgoing.writeHead(status, FAILURE_INIT.headers).end(FAILURE_BODY);
}
