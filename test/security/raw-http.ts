/** HTTP as bytes on a socket, for requests that no HTTP client would send. */
import { connect, type Socket } from 'node:net';

export interface RawAnswer {
  readonly status: number;
  /** Names in lower case; the values of a repeated header in order. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  /** As received: header lines with their line ends, decoded as latin1. */
  readonly head: string;
  readonly body: string;
}

/** How long a server may take to answer or to close. Only a server that hangs ever meets it. */
const LIMIT = 60_000;

/** A connection whose bytes the test writes itself. */
export class RawConnection {
  private readonly socket: Socket;
  private received = Buffer.alloc(0);
  private ended = false;
  private readonly waiting = new Set<() => void>();

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.received = Buffer.concat([this.received, chunk]);
      this.wake();
    });
    // A reset is how a server may well end a connection that it does not like.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.ended = true;
      this.wake();
    });
  }

  /** Connects to `127.0.0.1:PORT`. */
  static async open(host: string): Promise<RawConnection> {
    const [hostname = '', port] = host.split(':');
    const socket = connect({ host: hostname, port: Number(port) });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new RawConnection(socket);
  }

  get closed(): boolean {
    return this.ended;
  }

  /** Writes text (as latin1) or bytes; resolves when the socket takes more, at once when it is closed. */
  async write(bytes: string | Uint8Array): Promise<void> {
    if (this.ended || this.socket.destroyed) return;
    const all = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes;
    if (this.socket.write(all)) return;
    await this.until(() => this.ended || this.socket.writableLength === 0, 'taking what is written');
  }

  /** Waits for so many complete answers, or for the end of the connection if that comes first. */
  async answers(count: number): Promise<readonly RawAnswer[]> {
    await this.until(() => this.ended || parseAnswers(this.received, false).length >= count, 'answering');
    return parseAnswers(this.received, this.ended);
  }

  /** Waits until the server closes the connection. @returns all that was answered before that */
  async untilClosed(limit = LIMIT): Promise<readonly RawAnswer[]> {
    await this.until(() => this.ended, 'closing the connection', limit);
    return parseAnswers(this.received, true);
  }

  /** Everything received so far, as latin1. */
  text(): string {
    return this.received.toString('latin1');
  }

  /** Takes nothing more from the socket, as a client that has stopped reading. */
  stopReading(): void {
    this.socket.pause();
  }

  close(): void {
    this.socket.destroy();
  }

  private wake(): void {
    for (const check of this.waiting) check();
  }

  private async until(condition: () => boolean, what: string, limit = LIMIT): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const settle = () => {
        clearTimeout(late);
        clearInterval(poll);
        this.waiting.delete(check);
      };
      const check = () => {
        if (!condition()) return;
        settle();
        resolve();
      };
      const late = setTimeout(() => {
        settle();
        reject(
          new Error(`the server is not ${what} within ${limit} ms; it sent: ${this.text().slice(0, 500)}`),
        );
      }, limit);
      // `writableLength` changes without an event of ours.
      const poll = setInterval(check, 20);
      this.waiting.add(check);
      check();
    });
  }
}

/**
 * Sends one request on a connection of its own and gives its answer. `Host` and `Connection: close` are added
 * unless the head has them.
 */
export async function rawRequest(
  host: string,
  requestLine: string,
  headers: readonly string[] = [],
  body: string | Uint8Array = '',
): Promise<RawAnswer> {
  const given = headers.map((line) => line.toLowerCase());
  const lines = [requestLine, ...headers];
  if (!given.some((line) => line.startsWith('host:'))) lines.push(`Host: ${host}`);
  if (!given.some((line) => line.startsWith('connection:'))) lines.push('Connection: close');
  const length = Buffer.byteLength(body, 'latin1');
  if (length > 0 && !given.some((line) => /^(content-length|transfer-encoding):/.test(line))) {
    lines.push(`Content-Length: ${length}`);
  }
  const connection = await RawConnection.open(host);
  try {
    await connection.write(`${lines.join('\r\n')}\r\n\r\n`);
    await connection.write(body);
    const [answer] = await connection.answers(1);
    if (answer === undefined) throw new Error(`${requestLine.slice(0, 200)}: closed without an answer`);
    return answer;
  } finally {
    connection.close();
  }
}

/** As `rawRequest`, where closing the connection without a word is as good as status 400. */
export async function rawStatus(
  host: string,
  requestLine: string,
  headers: readonly string[] = [],
  body: string | Uint8Array = '',
): Promise<number> {
  try {
    return (await rawRequest(host, requestLine, headers, body)).status;
  } catch (error) {
    if (error instanceof Error && error.message.includes('closed without an answer')) return 400;
    throw error;
  }
}

/** The complete answers at the beginning of `bytes`; answers of 1xx are passed over. */
function parseAnswers(bytes: Buffer, ended: boolean): readonly RawAnswer[] {
  const answers: RawAnswer[] = [];
  for (let at = 0; at < bytes.length;) {
    const headEnd = bytes.indexOf('\r\n\r\n', at);
    if (headEnd < 0) break;
    const head = bytes.toString('latin1', at, headEnd);
    const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1] ?? 0);
    const headers = parseHeaders(head);
    at = headEnd + 4;
    if (status >= 100 && status < 200) continue;
    const rest = bytes.subarray(at);
    const body = parseBody(status, headers, rest, ended);
    if (body === undefined) break;
    at += body.taken;
    answers.push({ status, headers, head, body: body.text });
  }
  return answers;
}

function parseHeaders(head: string): ReadonlyMap<string, readonly string[]> {
  const headers = new Map<string, string[]>();
  for (const line of head.split('\r\n').slice(1)) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).toLowerCase();
    headers.set(name, [...(headers.get(name) ?? []), line.slice(colon + 1).trim()]);
  }
  return headers;
}

/** Answers to HEAD are not told apart: what would be their body is not there, so `ended` decides. */
function parseBody(
  status: number,
  headers: ReadonlyMap<string, readonly string[]>,
  rest: Buffer,
  ended: boolean,
): { text: string; taken: number } | undefined {
  if (status === 204 || status === 304) return { text: '', taken: 0 };
  if (headers.get('transfer-encoding')?.[0]?.toLowerCase() === 'chunked') return parseChunks(rest);
  const length = headers.get('content-length')?.[0];
  if (length !== undefined && (rest.length >= Number(length) || !ended)) {
    if (rest.length < Number(length)) return undefined;
    return { text: rest.toString('latin1', 0, Number(length)), taken: Number(length) };
  }
  return ended ? { text: rest.toString('latin1'), taken: rest.length } : undefined;
}

function parseChunks(rest: Buffer): { text: string; taken: number } | undefined {
  let text = '';
  for (let at = 0; ;) {
    const lineEnd = rest.indexOf('\r\n', at);
    if (lineEnd < 0) return undefined;
    const size = parseInt(rest.toString('latin1', at, lineEnd), 16);
    const start = lineEnd + 2;
    if (rest.length < start + size + 2) return undefined;
    if (size === 0) return { text, taken: start + 2 };
    text += rest.toString('latin1', start, start + size);
    at = start + size + 2;
  }
}
