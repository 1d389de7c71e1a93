import { connect } from 'node:net';
import type { Socket } from 'node:net';

/** An answer without its body: the registries' answers to a push have none worth reading. */
export interface Reply {
  readonly status: number;
  /** Empty when the answer has none. */
  readonly location: string;
}

interface Waiting {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
  readonly bodiless: boolean;
}

/**
 * One keep-alive HTTP/1.1 connection with one request at a time. It knows only what the bench needs and costs a
 * fraction of `node:http`, so that the client's own work does not hide the server's.
 */
export class Connection {
  readonly #socket: Socket;
  readonly #host: string;
  /** A header with its line end, or nothing. */
  readonly #authorization: string;
  #received: Buffer = Buffer.alloc(0);
  #waiting: Waiting | undefined;

  private constructor(socket: Socket, host: string, authorization: string) {
    this.#socket = socket;
    this.#host = host;
    this.#authorization = authorization === '' ? '' : `Authorization: ${authorization}\r\n`;
    socket.setNoDelay(true);
    socket.on('data', (data) => this.#take(data));
    socket.once('error', (error) => this.#fail(error));
    socket.once('close', () => this.#fail(new Error('the server closed the connection')));
  }

  /** Connects to a plain HTTP origin on this machine; each request brings the credential, if there is one. */
  static open(origin: string, authorization = ''): Promise<Connection> {
    const { hostname, port, host } = new URL(origin);
    return new Promise((resolve, reject) => {
      const socket = connect(Number(port), hostname, () =>
        resolve(new Connection(socket, host, authorization)),
      );
      socket.once('error', reject);
    });
  }

  /**
   * Sends a request and waits for its answer. `target` is a path with its query, or an absolute address, whose
   * path is taken. @throws Error when the connection ends first.
   */
  send(method: string, target: string, body?: Uint8Array, type?: string): Promise<Reply> {
    const path = target.startsWith('/') ? target : target.slice(target.indexOf('/', 8));
    const contentType = type === undefined ? '' : `Content-Type: ${type}\r\n`;
    const length = method === 'HEAD' ? '' : `Content-Length: ${body?.length ?? 0}\r\n`;
    const head = `${method} ${path} HTTP/1.1\r\nHost: ${this.#host}\r\n${this.#authorization}${contentType}${length}\r\n`;
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject, bodiless: method === 'HEAD' };
      // One write, one packet: a head on its own would be a wake-up more for the server.
      this.#socket.write(body === undefined ? head : Buffer.concat([Buffer.from(head, 'latin1'), body]));
    });
  }

  /** Ends the connection. */
  close(): void {
    this.#socket.destroy();
  }

  #fail(error: Error): void {
    this.#waiting?.reject(error);
    this.#waiting = undefined;
  }

  #take(data: Buffer): void {
    this.#received = this.#received.length === 0 ? data : Buffer.concat([this.#received, data]);
    const headEnd = this.#received.indexOf('\r\n\r\n');
    const waiting = this.#waiting;
    if (headEnd < 0 || waiting === undefined) return;
    const head = this.#received.toString('latin1', 0, headEnd);
    const status = Number(head.slice(9, 12));
    if (/\r\ntransfer-encoding:/i.test(head) && !waiting.bodiless) {
      if (!this.#received.subarray(headEnd).toString('latin1').endsWith('0\r\n\r\n')) return;
      this.#received = Buffer.alloc(0);
    } else {
      const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
      const end = headEnd + 4 + (waiting.bodiless || status === 204 ? 0 : length);
      if (this.#received.length < end) return;
      this.#received = this.#received.subarray(end);
    }
    this.#waiting = undefined;
    waiting.resolve({ status, location: /\r\nlocation: *([^\r]*)/i.exec(head)?.[1] ?? '' });
  }
}
