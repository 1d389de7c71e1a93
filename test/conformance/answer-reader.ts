/** One HTTP answer as it came. */
export interface WireAnswer {
  /** 0 when the connection was hung up on purpose. */
  readonly status: number;
  /** By lower-case name; each value of a repeated header is an entry. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  readonly body: Uint8Array;
  /** Bytes that came after the end of the answer. */
  readonly excess: number;
}

const NOTHING: Buffer = Buffer.alloc(0);

/** Reads one HTTP/1.1 answer from bytes as they come, skipping interim (1xx) answers. */
export class AnswerReader {
  readonly #method: string;
  #buffer: Buffer = NOTHING;
  #status = 0;
  #headers = new Map<string, string[]>();
  #body: Buffer[] = [];
  #framing: 'none' | 'length' | 'chunked' | 'close' = 'none';
  /** Bytes still to come of a body with a length. */
  #missing = 0;
  #state: 'head' | 'body' | 'done' = 'head';
  #excess = 0;

  constructor(method: string) {
    this.#method = method;
  }

  /** Whether the final answer's head is here. */
  get begun(): boolean {
    return this.#state !== 'head';
  }

  /** Whether the whole answer is here. */
  get complete(): boolean {
    return this.#state === 'done';
  }

  /** Takes bytes as they came. @throws Error when they are no HTTP/1.1 answer */
  push(bytes: Uint8Array): void {
    if (this.#state === 'done') {
      this.#excess += bytes.length;
      return;
    }
    this.#buffer = this.#buffer.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#buffer, bytes]);
    while (this.#state === 'head' && this.#head());
    if (this.#state === 'body') this.#take();
    if (this.complete) {
      this.#excess += this.#buffer.length;
      this.#buffer = NOTHING;
    }
  }

  /** Says that no more bytes come: the end of a body that has no other end. */
  end(): void {
    if (this.#state === 'body' && this.#framing === 'close') this.#state = 'done';
  }

  /** What came so far, for the report of an answer that never became whole. */
  progress(): string {
    if (!this.begun) return 'no status line came';
    const length = this.#headers.get('content-length')?.[0] ?? 'none';
    return `status ${this.#status}, Content-Length ${length}, ${Buffer.concat(this.#body).length} bytes of body came`;
  }

  answer(): WireAnswer {
    return {
      status: this.#status,
      headers: this.#headers,
      body: new Uint8Array(Buffer.concat(this.#body)),
      excess: this.#excess,
    };
  }

  /** Reads a head if it is whole; true when another one follows (after an interim answer). */
  #head(): boolean {
    const end = this.#buffer.indexOf('\r\n\r\n');
    if (end < 0) return false;
    const [first = '', ...lines] = this.#buffer.toString('latin1', 0, end).split('\r\n');
    this.#buffer = this.#buffer.subarray(end + 4);
    const status = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(first)?.[1];
    if (status === undefined) throw new Error(`not an HTTP/1.1 status line: ${first.slice(0, 80)}`);
    this.#status = Number(status);
    if (this.#status < 200) return true;
    for (const line of lines) {
      const colon = line.indexOf(':');
      if (colon < 1) throw new Error(`not a header line: ${line.slice(0, 80)}`);
      const name = line.slice(0, colon).toLowerCase();
      this.#headers.set(name, [...(this.#headers.get(name) ?? []), line.slice(colon + 1).trim()]);
    }
    this.#frame();
    return false;
  }

  /** Decides how the body ends (RFC 9112 section 6.3). */
  #frame(): void {
    const length = this.#headers.get('content-length')?.[0];
    this.#state = 'body';
    if (this.#method === 'HEAD' || this.#status === 204 || this.#status === 304) this.#state = 'done';
    else if (this.#headers.get('transfer-encoding')?.at(-1)?.toLowerCase() === 'chunked')
      this.#framing = 'chunked';
    else if (length === undefined) this.#framing = 'close';
    else if (/^\d+$/.test(length)) {
      this.#framing = 'length';
      this.#missing = Number(length);
    } else throw new Error(`not a Content-Length: ${length}`);
  }

  #take(): void {
    if (this.#framing === 'chunked') {
      while (this.#chunk());
      return;
    }
    const size =
      this.#framing === 'length' ? Math.min(this.#missing, this.#buffer.length) : this.#buffer.length;
    this.#body.push(this.#buffer.subarray(0, size));
    this.#buffer = this.#buffer.subarray(size);
    this.#missing -= size;
    if (this.#framing === 'length' && this.#missing === 0) this.#state = 'done';
  }

  /** Reads one chunk if it is whole; false at the last chunk and when more bytes are needed. */
  #chunk(): boolean {
    const end = this.#buffer.indexOf('\r\n');
    if (end < 0) return false;
    const line = this.#buffer.toString('latin1', 0, end);
    const size = Number.parseInt(line, 16);
    if (!/^[0-9a-f]+(?:;.*)?$/i.test(line)) throw new Error(`not a chunk size: ${line.slice(0, 80)}`);
    if (this.#buffer.length < end + 2 + size + 2) return false;
    const data = this.#buffer.subarray(end + 2, end + 2 + size);
    this.#buffer = this.#buffer.subarray(end + 2 + size + 2);
    if (size === 0) this.#state = 'done';
    else this.#body.push(data);
    return size > 0;
  }
}
