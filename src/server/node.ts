import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Address, Connection, Handler, Listener, ListenOptions, PeerCertificate } from './listener.ts';
import type { ListenOptions as NodeListenOptions, Server as NetServer, Socket } from 'node:net';
import { createServer as createPlainServer } from 'node:http';
import type { Server as TlsServer } from 'node:tls';
import { certificateOf, createTlsFront } from './client-certificates.ts';
import { answerPlainHttp } from './plain-http.ts';
import type { SecureContexts } from './secure-contexts.ts';
import { addressFailure, clearStaleSocket, lacksIpv6 } from './address.ts';
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
  if ('unix' in address) await clearStaleSocket(address.unix);
  const { tls } = options;
  const contexts =
    tls === undefined ? undefined : new (await import('./secure-contexts.ts')).SecureContexts(tls);
  const server = await createServer(options, contexts);
  const front =
    tls?.clientCas === undefined || contexts === undefined
      ? server
      : createTlsFront(server, contexts, tls.clientAuth ?? 'require-and-verify', options.idleSeconds * 1000);
  if (tls !== undefined) answerPlainHttp(front);
  const life = new ServerLife(server, front);
  server.on('request', (incoming, outgoing) => {
    life.begin(incoming, outgoing);
    void answer(options.handler, incoming, outgoing, options.tls !== undefined);
  });
  server.on('connect', (_request, socket) =>
    socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'),
  );
  try {
    await bindAny(front, address, options.reusePort);
  } catch (error) {
    throw addressFailure(address, error);
  }
  // Not before it listens, as an error there is told by the promise.
  front.on('error', (error) => process.emitWarning(error));
  const bound = front.address();
  return {
    hostname: 'unix' in address ? address.unix : address.hostname,
    port: bound !== null && typeof bound === 'object' ? bound.port : 0,
    pending: () => life.pending,
    renew(certificates) {
      if (contexts === undefined) return Promise.resolve(false);
      contexts.renew(front as TlsServer, certificates);
      return Promise.resolve(true);
    },
    drain: () => life.drain(),
    close: () => life.close(),
  };
}

async function createServer(options: ListenOptions, contexts: SecureContexts | undefined): Promise<Server> {
  const { tls } = options;
  const limits = {
    maxHeaderSize: 16 * 1024,
    headersTimeout: 60_000,
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

function bind(server: NetServer, where: NodeListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** How long a client that has connected and asked nothing yet may take to do so in a drain, in milliseconds. */
const LAST_CALL_MS = 1_000;

/** Counts the requests under way and ends the server without cutting them. */
class ServerLife {
  pending = 0;
  readonly #server: Server;
  /** What listens: the server itself, or what makes TLS connections for it. */
  readonly #front: NetServer;
  /**
   * Connections that have asked nothing yet, by their peer: below TLS it is another socket than the request's. node:http
   * does not take them for idle, and would wait for them.
   */
  readonly #unasked = new Map<string, Socket>();
  #draining = false;

  constructor(server: Server, front: NetServer) {
    this.#server = server;
    this.#front = front;
    front.on('connection', (socket: Socket) => {
      const peer = peerOf(socket);
      this.#unasked.set(peer, socket);
      socket.once('close', () => {
        if (this.#unasked.get(peer) === socket) this.#unasked.delete(peer);
      });
    });
  }

  begin({ socket }: IncomingMessage, outgoing: ServerResponse): void {
    this.pending += 1;
    if (this.#unasked.size > 0) this.#unasked.delete(peerOf(socket));
    if (this.#draining) outgoing.shouldKeepAlive = false;
    outgoing.once('close', () => {
      this.pending -= 1;
      // node:http closes idle connections once when it is told to, and not those that become idle later.
      if (this.#draining) setImmediate(() => this.#server.closeIdleConnections());
    });
  }

  drain(): Promise<void> {
    this.#draining = true;
    return new Promise((resolve) => {
      const lastCall = setTimeout(() => this.#endUnasked(), LAST_CALL_MS);
      this.#front.close(() => {
        clearTimeout(lastCall);
        resolve();
      });
      this.#server.closeIdleConnections();
    });
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#front.close(() => resolve());
      this.#server.closeAllConnections();
      this.#endUnasked();
    });
  }

  #endUnasked(): void {
    for (const socket of this.#unasked.values()) socket.destroy();
  }
}

/** Peers of a unix socket have no name: of those, one alone is known, and the others wait for their limit. */
function peerOf({ remoteAddress = '', remotePort = 0 }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
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
