import type { IncomingMessage, ServerResponse } from 'node:http';

/** Bun answers 431 beyond this, and so does `node.ts`. */
export const MAX_HEADERS = 200;

/** What Bun takes for a usable host: a name or address with an optional port, and nothing that bends a URL. */
const HOST = /^(?:\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9._~-]+)(?::\d{1,5})?$/;

/** Methods that a web `Request` refuses to have, or whose target is no path. */
const UNWANTED = new Set(['CONNECT', 'TRACE', 'TRACK']);

/**
 * The absolute URL of a request as Bun makes it: the host is the header's whatever the target says, and for want of
 * a header (HTTP/1.0) it is `localhost`.
 * @returns undefined for a target or a host that is answered 400
 */
export function urlOf(incoming: IncomingMessage, encrypted: boolean): string | undefined {
  const hosts = incoming.headersDistinct['host'];
  // Node refuses it by itself.
  if (hosts === undefined && incoming.httpVersion === '1.1') return undefined;
  const host = hosts === undefined ? 'localhost' : hosts[0];
  if (host === undefined || (hosts?.length ?? 1) > 1 || !HOST.test(host)) return undefined;
  let target = incoming.url ?? '';
  if (!target.startsWith('/')) {
    const origin = /^https?:\/\/[^/?#]*/i.exec(target);
    if (origin === null) return undefined;
    target = target.slice(origin[0].length);
    if (!target.startsWith('/')) target = `/${target}`;
  }
  const url = `${encrypted ? 'https' : 'http'}://${host}${target}`;
  // The pattern lets a port through that is too large.
  return URL.canParse(url) ? url : undefined;
}

/** A web `Request` over one of node:http's. Its body streams with back-pressure; its signal tells of a client gone. */
class NodeRequest extends Request {
  readonly #outgoing: ServerResponse;
  #departure: AbortController | undefined;

  constructor(url: string, init: RequestInit, outgoing: ServerResponse) {
    super(url, init);
    this.#outgoing = outgoing;
  }

  /** Made when it is first asked for: most requests never do, and a controller is costly. */
  departure(): AbortSignal {
    if (this.#departure === undefined) {
      const controller = new AbortController();
      this.#departure = controller;
      const outgoing = this.#outgoing;
      const left = (): void => {
        if (!outgoing.writableFinished) controller.abort(new DOMException('the client left', 'AbortError'));
      };
      if (outgoing.destroyed) left();
      else outgoing.once('close', left);
    }
    return this.#departure.signal;
  }
}

// The types declare a property where there is an accessor, so that a class cannot override it in its own words.
Object.defineProperty(NodeRequest.prototype, 'signal', {
  get(this: NodeRequest) {
    return this.departure();
  },
});

/** Makes the web `Request`. @returns undefined for one that is answered 400 */
export function requestOf(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  encrypted: boolean,
): Request | undefined {
  if (isAmbiguous(incoming)) return undefined;
  const url = urlOf(incoming, encrypted);
  const method = incoming.method ?? 'GET';
  if (url === undefined || UNWANTED.has(method)) return undefined;
  const headers = new Headers();
  const { rawHeaders } = incoming;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    headers.append(rawHeaders[i] ?? '', rawHeaders[i + 1] ?? '');
  }
  const init = { method, headers };
  if (method === 'GET' || method === 'HEAD' || !hasBody(incoming))
    return new NodeRequest(url, init, outgoing);
  return new NodeRequest(url, { ...init, body: bodyOf(incoming), duplex: 'half' }, outgoing);
}

/** Another coding beside `chunked` is read differently by different servers; Bun refuses it as well. */
function isAmbiguous({ headersDistinct }: IncomingMessage): boolean {
  const codings = headersDistinct['transfer-encoding'];
  return codings !== undefined && (codings.length !== 1 || codings[0]?.trim().toLowerCase() !== 'chunked');
}

function hasBody(incoming: IncomingMessage): boolean {
  const length = incoming.headers['content-length'];
  return incoming.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0');
}

/**
 * The body as a web stream: `Readable.toWeb` does the same at twice the cost. Nothing is read from the socket
 * before somebody reads the stream, and a client that leaves early makes it fail.
 */
function bodyOf(incoming: IncomingMessage): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        let open = true;
        incoming.on('data', (chunk: Buffer) => {
          if (!open) return;
          controller.enqueue(chunk);
          if ((controller.desiredSize ?? 0) <= 0) hold(incoming);
        });
        hold(incoming);
        incoming.once('end', () => {
          if (open) controller.close();
          open = false;
        });
        const fail = (error?: Error): void => {
          if (open)
            controller.error(error ?? new Error('the client ended the request before its body was complete'));
          open = false;
        };
        incoming.once('error', fail);
        incoming.once('close', () => fail());
      },
      pull() {
        letGo(incoming);
      },
      cancel() {
        // What is left of the body is read and thrown away by node:http, or the connection ends.
        incoming.removeAllListeners('data');
        letGo(incoming);
      },
    },
    { highWaterMark: 0 },
  );
}

/** On Bun a request that is paused holds nobody back: its socket is read on, into memory. */
const PAUSES_SOCKET = typeof Bun !== 'undefined';

function hold(incoming: IncomingMessage): void {
  incoming.pause();
  if (PAUSES_SOCKET) incoming.socket.pause();
}

function letGo(incoming: IncomingMessage): void {
  incoming.resume();
  freeSocket(incoming);
}

/** For when a request is answered, however much of its body was read: others may follow it on the connection. */
export function freeSocket({ socket }: IncomingMessage): void {
  if (PAUSES_SOCKET) socket.resume();
}
