import type { Socket } from 'node:net';

/** Bytes of one line: the longest that is said is a batch of items. */
const MAX_LINE = 4 * 1024 * 1024;

/**
 * Reads lines of JSON, and gives each to `onLine`. What is no JSON, or longer than 4 MiB, ends the connection; so does
 * whoever is told that by `onEnd`, which is called once, however the connection ends.
 */
export function readLines(
  socket: Socket,
  onLine: (value: unknown) => void,
  onEnd: () => void,
  maxLine = MAX_LINE,
): void {
  let rest: Buffer[] = [];
  let size = 0;
  let over = false;
  const end = (): void => {
    if (over) return;
    over = true;
    rest = [];
    onEnd();
  };
  const take = (line: Buffer): void => {
    if (over || line.length === 0) return;
    try {
      onLine(JSON.parse(line.toString('utf8')));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      socket.destroy();
    }
  };
  socket.on('data', (chunk: Buffer) => {
    let from = 0;
    for (let at = chunk.indexOf(0x0a); at !== -1; at = chunk.indexOf(0x0a, from)) {
      take(Buffer.concat([...rest, chunk.subarray(from, at)]));
      rest = [];
      size = 0;
      from = at + 1;
    }
    rest.push(chunk.subarray(from));
    size += chunk.length - from;
    if (size > maxLine) socket.destroy();
  });
  // A reset is what a client that was killed leaves.
  socket.on('error', end);
  socket.on('end', end);
  socket.on('close', end);
}

/** Writes a line of JSON of a few words: nobody waits until it is read. */
export function writeLine(socket: Socket, value: unknown): void {
  if (!socket.destroyed && !socket.writableEnded) socket.write(`${JSON.stringify(value)}\n`);
}
