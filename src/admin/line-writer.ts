import type { Socket } from 'node:net';

/** Bytes that are handed over at a time: who reads so many has read something, however long the line. */
const PIECE = 16 * 1024;

/** A line, in pieces. */
interface Waiting {
  readonly pieces: Buffer[];
  readonly read: () => void;
}

/**
 * Writes lines of JSON, no faster than the other side reads. It may be slow, as long as it goes on: who reads nothing for
 * too long is cut off.
 */
export class LineWriter {
  readonly #socket: Socket;
  readonly #readWithinMs: number;
  readonly #queue: Waiting[] = [];
  #isBlocked = false;
  #whenEmpty: (() => void) | undefined;

  /** @param readWithinMs milliseconds after which who reads nothing of what is told is left */
  constructor(socket: Socket, readWithinMs: number) {
    this.#socket = socket;
    this.#readWithinMs = readWithinMs;
    socket.on('close', () => {
      for (const { read } of this.#queue.splice(0)) read();
    });
  }

  /** @returns undefined when it can go on at once, else when the other side has read all, or is gone */
  write(value: unknown): Promise<void> | undefined {
    if (!this.#isOpen()) return undefined;
    const bytes = Buffer.from(`${JSON.stringify(value)}\n`);
    const pieces: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += PIECE) pieces.push(bytes.subarray(at, at + PIECE));
    let read = (): void => undefined;
    const done = new Promise<void>((resolve) => (read = resolve));
    this.#queue.push({ pieces, read });
    this.#go();
    return this.#queue.length === 0 ? undefined : done;
  }

  /** Writes nothing more, and ends its half of the connection as soon as all is handed over. */
  end(then: () => void): void {
    this.#whenEmpty ??= then;
    this.#go();
  }

  #isOpen(): boolean {
    return !this.#socket.destroyed && !this.#socket.writableEnded && this.#whenEmpty === undefined;
  }

  #go(): void {
    while (!this.#isBlocked) {
      const [line] = this.#queue;
      if (line === undefined) break;
      const piece = line.pieces.shift();
      if (piece === undefined) {
        this.#queue.shift();
        line.read();
        continue;
      }
      if (this.#socket.destroyed || this.#socket.writableEnded) continue;
      if (!this.#socket.write(piece)) this.#block();
    }
    if (this.#queue.length > 0 || this.#isBlocked || this.#whenEmpty === undefined) return;
    if (!this.#socket.writableEnded) this.#socket.end();
    this.#whenEmpty();
    this.#whenEmpty = () => undefined;
  }

  #block(): void {
    this.#isBlocked = true;
    const timer = setTimeout(() => this.#socket.destroy(), this.#readWithinMs);
    const goOn = (): void => {
      clearTimeout(timer);
      this.#socket.off('drain', goOn);
      this.#socket.off('close', goOn);
      this.#isBlocked = false;
      this.#go();
    };
    this.#socket.on('drain', goOn);
    this.#socket.on('close', goOn);
  }
}
