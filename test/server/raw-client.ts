/** An HTTP client that sends exactly the bytes it is given, and reads what comes back. */
import { connect, type NetConnectOpts, type Socket } from 'node:net';

export interface RawResponse {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

export class RawClient {
  readonly socket: Socket;
  readonly #closed: Promise<void>;
  /** Joined only when looked at, as downloads come in thousands of pieces. */
  #chunks: Buffer[] = [];
  #length = 0;
  #over = false;
  #wake: () => void = () => undefined;

  constructor(where: NetConnectOpts) {
    this.socket = connect(where);
    this.socket.on('data', (chunk) => {
      this.#chunks.push(chunk);
      this.#length += chunk.length;
      this.#wake();
    });
    this.socket.on('error', () => undefined);
    this.#closed = new Promise((resolve) => {
      this.socket.once('close', () => {
        this.#over = true;
        this.#wake();
        resolve();
      });
    });
  }

  send(data: string | Uint8Array): void {
    this.socket.write(data);
  }

  /** Resolves when the server has closed the connection. */
  async closed(): Promise<void> {
    await this.#closed;
  }

  /** Everything received until the connection is closed, as Latin-1. */
  async rest(): Promise<string> {
    await this.#closed;
    return this.#joined().toString('latin1');
  }

  #joined(): Buffer {
    const whole = this.#chunks.length === 1 ? this.#chunks[0] : undefined;
    const joined = whole ?? Buffer.concat(this.#chunks);
    this.#chunks = [joined];
    return joined;
  }

  /**
   * Reads one response, `100 Continue` being one of its own.
   * @returns undefined when the connection is closed before a whole head arrived
   */
  async response(method = 'GET'): Promise<RawResponse | undefined> {
    const end = await this.#index('\r\n\r\n');
    if (end === -1) return undefined;
    const [statusLine, ...fields] = this.#take(end + 4)
      .trimEnd()
      .split('\r\n');
    const status = Number(statusLine?.split(' ')[1]);
    const headers = new Map<string, string>();
    for (const field of fields) {
      const colon = field.indexOf(':');
      headers.set(field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim());
    }
    return { status, headers, body: await this.#body(method, status, headers) };
  }

  destroy(): void {
    this.socket.destroy();
  }

  async #body(method: string, status: number, headers: ReadonlyMap<string, string>): Promise<string> {
    if (method === 'HEAD' || status < 200 || status === 204 || status === 304) return '';
    if (headers.get('transfer-encoding') === 'chunked') {
      let body = '';
      for (;;) {
        const end = await this.#index('\r\n');
        if (end === -1) return body;
        const size = Number.parseInt(this.#take(end + 2), 16);
        await this.#atLeast(size + 2);
        body += this.#take(size + 2).slice(0, size);
        if (size === 0) return body;
      }
    }
    const length = Number(headers.get('content-length') ?? 0);
    await this.#atLeast(length);
    return this.#take(length);
  }

  #take(length: number): string {
    const received = this.#joined();
    this.#chunks = [received.subarray(length)];
    this.#length = received.length - Math.min(length, received.length);
    return received.subarray(0, length).toString('latin1');
  }

  async #index(text: string): Promise<number> {
    for (;;) {
      const found = this.#joined().indexOf(text);
      if (found !== -1 || this.#over) return found;
      await this.#more();
    }
  }

  async #atLeast(length: number): Promise<void> {
    while (this.#length < length && !this.#over) await this.#more();
  }

  async #more(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }
}

/** Sends one request and reads its response. */
export async function exchange(
  port: number,
  request: string,
  method = 'GET',
): Promise<RawResponse | undefined> {
  const client = new RawClient({ port, host: '127.0.0.1' });
  client.send(request);
  const response = await client.response(method);
  client.destroy();
  return response;
}
