import { SonicBoom } from 'sonic-boom';
import type { AccessRecord, LogFields, Logger } from '../log.ts';
import { accessLine, type LogFormat, logLine, type LogLevel } from './log-lines.ts';

/** Lines are gathered up to this many bytes: a write to a pipe that is no larger never mixes with another process's. */
const BATCH = 4096;
/** Bytes kept for a reader of an output that has stopped reading; further lines are lost. */
const MAX_UNREAD = 1024 * 1024;
/** How long a line may be gathered, in milliseconds. */
const MAX_HELD = 50;

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

/** The access log, on standard output. Lines are written in batches; those of a process that ends are not lost. */
export function createAccessLog(format: LogFormat): (record: AccessRecord) => void {
  const output = new SonicBoom({
    fd: 1,
    sync: false,
    minLength: BATCH - 1,
    maxWrite: BATCH,
    maxLength: MAX_UNREAD,
  });
  let timer: NodeJS.Timeout | undefined;
  output.on('error', () => undefined); // nobody reads standard output any more: that is no reason to stop serving
  process.on('exit', () => {
    try {
      output.flushSync();
    } catch {
      // as above
    }
  });
  return (record) => {
    output.write(accessLine(format, record));
    timer ??= setTimeout(() => {
      timer = undefined;
      output.flush();
    }, MAX_HELD).unref();
  };
}
