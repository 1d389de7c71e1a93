import { reach } from './admin-socket.ts';
import { readLines, writeLine } from './json-lines.ts';
import type { Ask, Told } from './messages.ts';

/** A question to a server that runs, and what it answers. */
export interface Conversation {
  /** What it tells, to the last word. @throws Error when it ends in the middle */
  told(): AsyncIterable<Told>;
  /** Says one thing more. */
  say(ask: Ask): void;
}

/**
 * Asks the server that listens at the path.
 * @returns undefined when there is none
 * @throws Error when it cannot be asked
 */
export async function askServer(path: string, ask: Ask): Promise<Conversation | undefined> {
  const socket = await reach(path);
  if (socket === undefined) return undefined;
  const waiting: Told[] = [];
  let over = false;
  let wake = (): void => undefined;
  readLines(
    socket,
    (line) => {
      waiting.push(line as Told);
      // Read no faster than it is shown: the server waits, and so does the job.
      if (waiting.length > 16) socket.pause();
      wake();
    },
    () => {
      over = true;
      wake();
    },
  );
  void writeLine(socket, ask);
  return {
    say: (more) => void writeLine(socket, more),
    async *told() {
      try {
        for (;;) {
          const next = waiting.shift();
          if (next !== undefined) {
            yield next;
            if (next.tell !== 'started' && next.tell !== 'event') return;
            continue;
          }
          if (over) throw new Error('the server has ended the conversation: its log says why');
          socket.resume();
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      } finally {
        socket.destroy();
      }
    },
  };
}
