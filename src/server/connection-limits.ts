/** How long connections may be silent, where node:http does not see to it: Bun's has no limits for those it is given. */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';

const HEADERS_MS = 60_000;

interface Watch {
  /** Ends a connection on which no request has come; bytes alone do not count. */
  readonly patience: NodeJS.Timeout;
  underWay: number;
}

export class ConnectionLimits {
  readonly #idleMs: number;
  readonly #headersMs: number;
  readonly #watches = new WeakMap<Socket, Watch>();

  /**
   * @param idleMs milliseconds without traffic; 0 for no limits at all
   * @param headersMs milliseconds that a request's headers may take beyond that
   */
  constructor(http: Server, idleMs: number, headersMs = HEADERS_MS) {
    this.#idleMs = idleMs;
    this.#headersMs = headersMs;
    if (idleMs === 0) return;
    http.on('request', (incoming, outgoing) => {
      const { socket } = incoming;
      const watch = this.#watches.get(socket);
      if (watch === undefined) return;
      watch.underWay += 1;
      outgoing.once('close', () => {
        watch.underWay -= 1;
        if (socket.destroyed) return;
        watch.patience.refresh();
        // The handler may have lifted it.
        socket.setTimeout(idleMs);
      });
    });
  }

  /** Holds a connection to the limits, before it is given to node:http. */
  watch(socket: Socket): void {
    if (this.#idleMs === 0) return;
    socket.setTimeout(this.#idleMs, () => socket.destroy());
    const patience = setTimeout(() => {
      if (watch.underWay === 0) socket.destroy();
    }, this.#idleMs + this.#headersMs);
    patience.unref();
    const stalls = endStalled(socket, this.#idleMs);
    const watch: Watch = { patience, underWay: 0 };
    this.#watches.set(socket, watch);
    socket.once('close', () => {
      clearTimeout(patience);
      clearInterval(stalls);
    });
  }
}

/** Ends a connection whose client takes nothing of what is sent: on Bun that is not silence as long as there is more. */
function endStalled(socket: Socket, idleMs: number): NodeJS.Timeout {
  let left = 0;
  let before = 0;
  return setInterval(() => {
    const { writableLength, bytesWritten } = socket;
    if (writableLength > 0 && writableLength === left && bytesWritten === before) socket.destroy();
    left = writableLength;
    before = bytesWritten;
  }, idleMs).unref();
}
