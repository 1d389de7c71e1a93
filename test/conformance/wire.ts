/**
 * One HTTP/1.1 exchange over a socket of its own, written and read by hand: the target goes out exactly as
 * given, bodies may be chunked, nothing is decompressed or followed, and bytes that a server sends after the
 * end of its answer (a body on HEAD, a body longer than its `Content-Length`) are seen. `fetch` and `node:http`
 * hide some of that, and differ in it between runtimes.
 */
import { connect as connectPlain } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { AnswerReader } from './answer-reader.ts';
import type { WireAnswer } from './answer-reader.ts';

/** A body: bytes (sent with `Content-Length`) or a stream of pieces (sent chunked unless a length header is given). */
export type WireBody = Uint8Array | (() => AsyncIterable<Uint8Array>);

export interface WireRequest {
  readonly method: string;
  /** The request target, sent as it is. */
  readonly target: string;
  /** Sent in this order, in this spelling. `Host` and `Connection` are added when they are not here. */
  readonly headers: readonly (readonly [string, string])[];
  readonly body?: WireBody;
  /** Hang up once the body was written, without waiting for an answer. */
  readonly hangUp?: boolean;
}

/** How long a server may be silent, in milliseconds, before an exchange is given up. */
const SILENCE = 60_000;

/** How long to look for excess bytes when a server does not close the connection as it was asked to. */
const LINGER = 250;

const PIECE = 64 * 1024;

/** Bytes of a body that are written without pausing for an early refusal. */
const UNPACED = 1024 * 1024;

/**
 * Performs one exchange. When the server resets the connection before the body was sent, its answer, if it gave
 * one, can be lost in this runtime, where curl and Go still read it: such an exchange is begun again, twice at most.
 * @throws Error when the connection fails or is silent for a minute before the answer is whole
 */
export async function transact(origin: URL, request: WireRequest): Promise<WireAnswer> {
  for (let attempts = 1; ; attempts++) {
    const socket = await open(origin);
    const reader = new AnswerReader(request.method);
    const answered = read(socket, reader);
    // Awaited below; a failure while the body is still being written must not count as unhandled.
    answered.catch(() => undefined);
    try {
      const sent = await send(socket, origin, request, reader);
      if (request.hangUp === true)
        return { status: 0, headers: new Map(), body: new Uint8Array(), excess: 0 };
      if (!sent && !reader.begun && attempts < 3) continue;
      try {
        await answered;
      } catch (error) {
        // What was still on its way when the reset came counts as sent.
        if (request.body === undefined || reader.begun || attempts === 3) throw error;
        continue;
      }
      return reader.answer();
    } finally {
      socket.destroy();
    }
  }
}

function open(origin: URL): Promise<Socket> {
  const secure = origin.protocol === 'https:';
  const host = origin.hostname.replaceAll(/[[\]]/g, '');
  const port = Number(origin.port === '' ? (secure ? 443 : 80) : origin.port);
  return new Promise((resolve, reject) => {
    const socket: Socket = secure
      ? connectTls({ host, port, servername: host, ALPNProtocols: ['http/1.1'] }, () => resolve(socket))
      : connectPlain({ host, port }, () => resolve(socket));
    socket.setNoDelay(true);
    socket.once('error', reject);
  });
}

/** Resolves when the answer is whole and the server has closed, or had its time to. */
function read(socket: Socket, reader: AnswerReader): Promise<void> {
  return new Promise((resolve, reject) => {
    let linger: ReturnType<typeof setTimeout> | undefined;
    const end = (cause?: Error): void => {
      clearTimeout(linger);
      reader.end();
      if (reader.complete) resolve();
      else
        reject(
          new Error(
            `the connection ended before the answer was whole (${reader.progress()})${cause ? `: ${cause.message}` : ''}`,
          ),
        );
    };
    socket.on('data', (bytes: Uint8Array) => {
      try {
        reader.push(bytes);
      } catch (error) {
        reject(error instanceof Error ? error : new Error(String(error)));
        socket.destroy();
        return;
      }
      if (reader.complete) linger ??= setTimeout(end, LINGER);
    });
    socket.on('end', () => end());
    socket.on('close', () => end());
    socket.on('error', end);
    socket.setTimeout(SILENCE, () => {
      end(new Error(`silent for ${SILENCE / 1000} s`));
      socket.destroy();
    });
  });
}

/** Writes the request; false when the connection ended, or an answer came, before all of it was written. */
async function send(
  socket: Socket,
  origin: URL,
  request: WireRequest,
  reader: AnswerReader,
): Promise<boolean> {
  const headers = request.headers.map(([name, value]) => [name, value]);
  const has = (name: string): boolean => headers.some(([known]) => known?.toLowerCase() === name);
  if (!has('host')) headers.unshift(['Host', origin.host]);
  if (!has('connection')) headers.push(['Connection', 'close']);
  const { body } = request;
  const chunked = typeof body === 'function' && !has('content-length');
  if (chunked) headers.push(['Transfer-Encoding', 'chunked']);
  if (body instanceof Uint8Array && !has('content-length'))
    headers.push(['Content-Length', String(body.length)]);
  const head = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  await write(socket, Buffer.from(`${request.method} ${request.target} HTTP/1.1\r\n${head}\r\n`, 'latin1'));
  if (body === undefined) return true;
  // A server can refuse a large body by its announced length alone, and an endless one at any moment. Writing
  // must pause for that: a reset that follows the refusal would overtake it.
  if (body instanceof Uint8Array && body.length > UNPACED) await earlyAnswer(socket, reader, 50);
  let written = 0;
  for await (const piece of typeof body === 'function' ? body() : pieces(body)) {
    if (typeof body === 'function' && written > UNPACED) await earlyAnswer(socket, reader, 5);
    // An answer that comes early (413, 414) is the answer; writing on would only risk a reset that loses it.
    if (reader.begun || socket.destroyed) return false;
    if (piece.length === 0) continue;
    written += piece.length;
    if (chunked) await write(socket, Buffer.from(`${piece.length.toString(16)}\r\n`, 'latin1'));
    await write(socket, piece);
    if (chunked) await write(socket, Buffer.from('\r\n', 'latin1'));
  }
  if (chunked) await write(socket, Buffer.from('0\r\n\r\n', 'latin1'));
  return !socket.destroyed;
}

function* pieces(body: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < body.length; at += PIECE) yield body.subarray(at, at + PIECE);
}

/** Gives a server some milliseconds to refuse a body while nothing is being written. */
async function earlyAnswer(socket: Socket, reader: AnswerReader, milliseconds: number): Promise<void> {
  for (let waited = 0; waited < milliseconds && !reader.begun && !socket.destroyed; waited += 5)
    await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Waits while the socket is full. A failed write shows as the end of the answer, which `read` reports. */
function write(socket: Socket, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    if (socket.destroyed) {
      resolve();
      return;
    }
    const done = (): void => {
      socket.off('drain', done);
      socket.off('close', done);
      resolve();
    };
    if (socket.write(bytes)) {
      resolve();
      return;
    }
    socket.on('drain', done);
    socket.on('close', done);
  });
}
