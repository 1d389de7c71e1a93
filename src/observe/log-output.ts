import { SonicBoom } from 'sonic-boom';
import type { AccessRecord, LogFields, Logger } from '../log.ts';
import { accessLine, type LogFormat, logLine, type LogLevel } from './log-lines.ts';

/** Lines are gathered up to this many bytes: a write to a pipe that is no larger never mixes with another process's. */
const BATCH = 4096;
/** Bytes kept for a reader of an output that has stopped reading; further lines are lost. */
const MAX_UNREAD = 1024 * 1024;
/** How long a line may be gathered, in milliseconds. */
const MAX_HELD = 50;
/** How long the end of a process waits for its lines to be taken, in milliseconds. */
const MAX_ENDING = 1_000;

const RANK: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

export interface LogSettings {
  readonly format: LogFormat;
  readonly level: LogLevel;
  /** Added to every line of the log. */
  readonly fields: LogFields;
}

/** A log on standard error, as `registry:2` has it. */
export function createLogger({ format, level, fields }: LogSettings): Logger {
  const output = new SonicBoom({ fd: 2, sync: true, maxWrite: BATCH, maxLength: MAX_UNREAD });
  output.on('error', () => undefined); // such as a terminal that was closed: requests under way still end as they should
  const write =
    (of: LogLevel) =>
    (message: string, more: LogFields = {}) => {
      if (RANK[of] >= RANK[level]) output.write(logLine(format, of, message, { ...fields, ...more }));
    };
  return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
}

/** An access log. */
export interface AccessLog {
  /** Keeps a line of it, which is written soon. Never throws, never waits. */
  record(this: void, request: AccessRecord): void;
  /**
   * Waits until all that was recorded is written, so that a process can end: what is on its way to the system is lost
   * with it. At most a second, as a reader that has stopped keeps nothing from ending. Never throws.
   */
  written(this: void): Promise<void>;
}

/** The access log, on standard output. Lines are written in batches. */
export function createAccessLog(format: LogFormat): AccessLog {
  const output = new SonicBoom({
    fd: 1,
    sync: false,
    minLength: BATCH - 1,
    maxWrite: BATCH,
    maxLength: MAX_UNREAD,
  });
  let timer: NodeJS.Timeout | undefined;
  /** Whether lines may be gathered that no timer is set for. */
  let isLeft = false;
  const writeSoon = (): void => {
    timer ??= setTimeout(() => {
      timer = undefined;
      output.flush();
    }, MAX_HELD).unref();
  };
  output.on('error', () => undefined); // nobody reads standard output any more: that is no reason to stop serving
  // What comes during a write that takes long is not written by `flush`, nor after it.
  output.on('drain', () => {
    if (isLeft) writeSoon();
    isLeft = false;
  });
  return {
    record(request) {
      output.write(accessLine(format, request));
      isLeft = true;
      writeSoon();
    },
    written: () =>
      new Promise((resolve) => {
        setTimeout(resolve, MAX_ENDING);
        output.flush(() => resolve());
      }),
  };
}
