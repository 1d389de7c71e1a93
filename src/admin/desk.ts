/** Answers what is asked over the admin socket. */
import type { Socket } from 'node:net';
import * as v from 'valibot';
import { CANCELLED, type JobBoard, type JobRun } from './job-board.ts';
import { readLines } from './json-lines.ts';
import { LineWriter } from './line-writer.ts';
import type { ReadOnlyStatus, ScheduledNext, Told } from './messages.ts';

/** Bytes of a question. */
const MAX_QUESTION = 64 * 1024;

/** What clients are given, in milliseconds. */
export interface DeskLimits {
  /** In which a client says what it wants. */
  readonly askWithin: number;
  /** In which who follows a run reads something of what it is told. */
  readonly readWithin: number;
  /** In which a client that was told all hangs up: what it has not read by then it can still read. */
  readonly leaveWithin: number;
}

const LIMITS: DeskLimits = { askWithin: 10_000, readWithin: 30_000, leaveWithin: 10_000 };

const question = v.variant('ask', [
  v.strictObject({ ask: v.literal('run'), job: v.string(), options: v.unknown() }),
  v.strictObject({ ask: v.literal('watch'), job: v.string() }),
  v.strictObject({ ask: v.literal('cancel'), job: v.string() }),
  v.strictObject({ ask: v.literal('status') }),
  v.strictObject({ ask: v.literal('settings'), of: v.record(v.string(), v.string()) }),
  v.strictObject({
    ask: v.literal('read-only'),
    change: v.optional(
      v.strictObject({ on: v.boolean(), reason: v.optional(v.pipe(v.string(), v.maxLength(1000))) }),
    ),
  }),
]);

export interface DeskOptions {
  readonly board: JobBoard;
  readonly isJob: (name: string) => boolean;
  /** Each job that may run by itself, and when it does next. */
  readonly scheduled?: () => readonly ScheduledNext[];
  /** Of fingerprints by the names of sections, the names of those that are others than the server's. */
  readonly settings: (of: Readonly<Record<string, string>>) => Promise<readonly string[]>;
  /** Tells, and before that may change, whether changes are refused. `underWay`: requests that went on for too long. */
  readonly readOnly: (change?: {
    readonly on: boolean;
    readonly reason?: string | undefined;
  }) => Promise<{ readonly readOnly: ReadOnlyStatus; readonly underWay?: number }>;
}

/** Serves one connection. A client that goes away, or is cut off, ends its watching and nothing else. */
export function answerAdmin(socket: Socket, options: DeskOptions, limits: DeskLimits = LIMITS): void {
  let forget = (): void => undefined;
  let asked = false;
  let isOver = false;
  const cut = (): void => {
    socket.destroy();
  };
  let patience = setTimeout(cut, limits.askWithin);
  socket.once('close', () => clearTimeout(patience));
  const writer = new LineWriter(socket, limits.readWithin);
  const leave = (): void => {
    clearTimeout(patience);
    if (!socket.destroyed) patience = setTimeout(cut, limits.leaveWithin);
  };
  const tell = (told: Told): Promise<void> | undefined => writer.write(told);
  const last = (told: Told): void => {
    void tell(told);
    isOver = true;
    writer.end(leave);
  };
  const follow = (run: JobRun): void => {
    forget();
    forget = run.watch((event) => tell({ tell: 'event', event }));
    void run.ended.then((ended) => last({ tell: 'ended', ended }));
  };
  const take = async (line: unknown): Promise<void> => {
    if (isOver) return;
    const { success, output } = v.safeParse(question, line);
    clearTimeout(patience);
    if (!success)
      return last({
        tell: 'refused',
        message: 'the question is not understood: is the server of another version?',
      });
    // On a connection that has asked there is one thing more to say.
    if (asked && output.ask !== 'cancel') return;
    const isFollowed = asked;
    asked = true;
    const { board, isJob, readOnly } = options;
    if ('job' in output && !isJob(output.job)) {
      return last({ tell: 'refused', message: `${output.job.slice(0, 100)}: the server knows no such job` });
    }
    switch (output.ask) {
      case 'status':
        return last({
          tell: 'status',
          ...(await board.status()),
          ...(options.scheduled === undefined ? {} : { scheduled: options.scheduled() }),
        });
      case 'settings':
        return last({ tell: 'settings', others: await options.settings(output.of) });
      case 'read-only':
        return last({ tell: 'read-only', ...(await readOnly(output.change)) });
      case 'run': {
        const started = board.start(output.job, output.options, 'command');
        if (started === undefined) return last({ tell: 'refused', message: 'the server is about to end' });
        const { run, isNew } = started;
        if (!isNew) return last({ tell: 'runs-already', running: run.running });
        void tell({ tell: 'started', running: run.running });
        return follow(run);
      }
      case 'watch':
      case 'cancel': {
        const run = board.find(output.job);
        if (run === undefined) return isFollowed ? undefined : last({ tell: 'runs-not', job: output.job });
        if (output.ask === 'cancel') run.stop(CANCELLED);
        if (isFollowed) return undefined;
        void tell({ tell: 'started', running: run.running });
        return follow(run);
      }
    }
  };
  readLines(
    socket,
    (line) => {
      take(line).catch((error: unknown) =>
        last({ tell: 'refused', message: error instanceof Error ? error.message : String(error) }),
      );
    },
    () => {
      forget();
      socket.end();
      leave();
    },
    MAX_QUESTION,
  );
}
