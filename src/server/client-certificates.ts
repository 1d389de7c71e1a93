/** TLS with certificates of clients. The servers of neither runtime tell their handlers whose certificate it was. */
import { createHash } from 'node:crypto';
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { createServer, type Server as TlsServer, type TLSSocket } from 'node:tls';
import { alternativeNames } from './alternative-names.ts';
import { ConnectionLimits } from './connection-limits.ts';
import type { ClientAuth, PeerCertificate } from './listener.ts';
import type { SecureContexts } from './secure-contexts.ts';

/** How long a client may take to prove who it is, in milliseconds. */
const HANDSHAKE_MS = 10_000;

/** What was found out about a connection when it was made. */
const certificates = new WeakMap<Socket, PeerCertificate>();

/** The certificate that the client of the connection has proven to hold and that an authority of ours signed. */
export function certificateOf(socket: Socket): PeerCertificate | undefined {
  return certificates.get(socket);
}

/**
 * A server that makes TLS connections and gives them to `http`, which does not listen itself. What the mode demands of
 * the client is checked before a byte of HTTP is read.
 * @param idleMs milliseconds without traffic after which a connection ends; 0 for never
 */
export function createTlsFront(
  http: Server,
  contexts: SecureContexts,
  clientAuth: ClientAuth,
  idleMs: number,
): TlsServer {
  const limits = new ConnectionLimits(http, idleMs);
  const front = createServer({
    ...contexts.serverOptions(),
    requestCert: true,
    rejectUnauthorized: clientAuth === 'require-and-verify',
    handshakeTimeout: HANDSHAKE_MS,
  });
  front.on('secureConnection', (socket) => {
    socket.on('error', () => undefined);
    if (!admit(socket, clientAuth)) {
      socket.destroy();
      return;
    }
    limits.watch(socket);
    http.emit('connection', socket);
  });
  // A client that fails the handshake is no failure of ours.
  front.on('tlsClientError', (_error, socket) => socket.destroy());
  // What node:http starts when it listens: its check of slow headers.
  front.on('listening', () => http.emit('listening'));
  return front;
}

/** Whether the client may go on; remembers its certificate if that was verified. */
function admit(socket: TLSSocket, mode: ClientAuth): boolean {
  const peer = socket.getPeerCertificate() as ReturnType<TLSSocket['getPeerCertificate']> | null | undefined;
  const raw = peer?.raw;
  if (raw === undefined || raw === null || raw.length === 0)
    return mode === 'request' || mode === 'verify-if-given';
  if (!socket.authorized) return mode === 'request' || mode === 'require-any';
  try {
    certificates.set(socket, {
      commonName: first(peer?.subject?.CN),
      organizationalUnits: all(peer?.subject?.OU),
      alternativeNames: alternativeNames(raw),
      fingerprint: createHash('sha256').update(raw).digest('hex'),
    });
    return true;
  } catch {
    return mode === 'request' || mode === 'require-any'; // verified, and yet not readable
  }
}

/** A name that a certificate may have several times. Two are no name: it cannot be told which was meant. */
function first(value: string | readonly string[] | undefined): string {
  const values = all(value);
  return values.length === 1 ? (values[0] ?? '') : '';
}

function all(value: string | readonly string[] | undefined): readonly string[] {
  if (value === undefined) return [];
  return typeof value === 'string' ? [value] : value;
}
