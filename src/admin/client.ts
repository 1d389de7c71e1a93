import { reach } from './admin-socket.ts';
import { readLines, writeLine } from './json-lines.ts';
import type { Ask, Told } from './messages.ts';

/** A question to a server that runs, and what it answers. */
export interface Conversation {
  /** What it tells, to the last word. @throws Error when it ends in the middle, or says nothing for too long */
  told(): AsyncIterable<Told>;
  /** Says one thing more. */
  say(ask: Ask): void;
}

/** How long a server may take to say its first word, in milliseconds. */
const ANSWERS_WITHIN = 10_000;

/** Where it waits for requests to end before it does. */
const SWITCHES_WITHIN = 60_000;

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
  let reason = 'the server has ended the conversation: its log says why, unless too many ask it';
  let wake = (): void => undefined;
  const leave = (why: string): void => {
    reason = why;
    over = true;
    socket.destroy();
    wake();
  };
  const isSwitch = ask.ask === 'read-only' && ask.change !== undefined;
  const patience = setTimeout(
    () => leave('the server does not answer'),
    isSwitch ? SWITCHES_WITHIN : ANSWERS_WITHIN,
  );
  readLines(
    socket,
    (line) => {
      clearTimeout(patience);
      waiting.push(line as Told);
      // Read no faster than it is shown: the server waits, and so does the job.
      if (waiting.length > 16) socket.pause();
      wake();
    },
    () => {
      clearTimeout(patience);
      over = true;
      wake();
    },
  );
  writeLine(socket, ask);
  return {
    say: (more) => writeLine(socket, more),
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
        clearTimeout(patience);
        socket.destroy();
      }
    },
  };
}
