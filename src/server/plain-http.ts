/** Plain HTTP that comes to a port for TLS. Clients tell of it in words that nobody understands, or not at all. */
import type { Server, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

const BODY = 'This port speaks TLS: use https:// instead of http://.\n';

const ANSWER = [
  'HTTP/1.1 400 Bad Request',
  'Content-Type: text/plain; charset=utf-8',
  `Content-Length: ${BODY.length}`,
  'Connection: close',
  '',
  BODY,
].join('\r\n');

/**
 * Answers 400 to who speaks plain HTTP to a server of TLS. Bun's servers do not let go of the connection for that, and
 * close it without a word.
 */
export function answerPlainHttp(front: Server): void {
  // Before others that end the connection.
  front.prependListener('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
    if (error.code !== 'ERR_SSL_HTTP_REQUEST') return;
    // What TLS was to be spoken over: node:tls has it under this name from its beginnings, but does not document it.
    const { _parent: below } = socket as TLSSocket & { readonly _parent?: Socket | null };
    if (below === undefined || below === null || below.destroyed || !below.writable) return;
    below.on('error', () => undefined);
    below.end(ANSWER);
  });
}
