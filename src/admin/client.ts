import { reach } from './admin-socket.ts';
import { readLines, writeLine } from './json-lines.ts';
import type { Ask, Told } from './messages.ts';

/** A question to a server that runs, and what it answers. */
export interface Conversation {
  /** What it tells, to the last word. @throws Error when it ends in the middle */
  told(): AsyncIterable<Told>;
  /** Says one thing more. */
  say(ask: Ask): void;
  /** Hears no more; who listens is told why. */
  leave(reason: string): void;
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
  let reason = 'the server has ended the conversation: its log says why';
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
  writeLine(socket, ask);
  return {
    say: (more) => writeLine(socket, more),
    leave(why) {
      reason = why;
      over = true;
      socket.destroy();
      wake();
    },
    async *told() {
      try {
        for (;;) {
          const next = waiting.shift();
          if (next !== undefined) {
            yield next;
            if (next.tell !== 'started' && next.tell !== 'event') return;
            continue;
          }
          if (over) throw new Error(reason);
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
