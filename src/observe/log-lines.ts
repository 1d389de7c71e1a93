/** The forms that a log can be written in: those of `registry:2`'s `log.formatter`. */
import type { AccessRecord, LogFields } from '../log.ts';

export type LogFormat = 'text' | 'json' | 'logstash';
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** One line of the log, with its line end. */
export function logLine(format: LogFormat, level: LogLevel, message: string, fields: LogFields): string {
  const time = new Date().toISOString();
  if (format === 'text') {
    const name = level === 'warn' ? 'warning' : level;
    const values: LogFields = { time, level: name, msg: message, ...fields };
    const pairs = Object.entries(values);
    return `${pairs.flatMap(([key, value]) => (value === undefined ? [] : `${key}=${quoted(String(value))}`)).join(' ')}\n`;
  }
  const head =
    format === 'json'
      ? { time, level, msg: message }
      : { '@timestamp': time, '@version': '1', level, message };
  return `${JSON.stringify({ ...head, ...fields })}\n`;
}

/** A value as logfmt has it: bare where that is unambiguous, else with everything special escaped. */
function quoted(value: string): string {
  return /^[A-Za-z0-9_.:/+-]+$/.test(value) ? value : JSON.stringify(value);
}

/**
 * One request: Apache's combined form in a text log (as `registry:2`), else an object. Whatever a client can
 * choose is escaped, so that it cannot forge a line.
 */
export function accessLine(format: LogFormat, record: AccessRecord): string {
  if (format !== 'text') {
    return logLine(format, 'info', 'request', {
      remote: record.remoteAddress,
      account: record.account === '' ? undefined : record.account,
      method: record.method,
      target: record.target,
      status: record.status,
      bytes: record.size,
      ms: Math.round(record.duration * 100) / 100,
      userAgent: record.userAgent,
    });
  }
  const { remoteAddress, account, method, target, status, size } = record;
  const who = `${remoteAddress === '' ? '-' : remoteAddress} - ${account === '' ? '-' : bare(account)}`;
  const what = `"${method} ${bare(target)} HTTP/1.1" ${status} ${size ?? '-'}`;
  return `${who} [${timestamp()}] ${what} "${bare(record.referer)}" "${bare(record.userAgent)}"\n`;
}

// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const SPECIAL = /["\\\u0000-\u001F\u007F-\uFFFF]/;

function bare(text: string): string {
  return SPECIAL.test(text) ? JSON.stringify(text).slice(1, -1) : text;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
let second = 0;
let stamp = '';

/** `21/Nov/2026:01:03:43 +0000`, made once a second. */
function timestamp(): string {
  const now = Math.floor(Date.now() / 1000);
  if (now !== second) {
    second = now;
    const date = new Date(now * 1000);
    const day = String(date.getUTCDate()).padStart(2, '0');
    const time = date.toISOString().slice(11, 19);
    stamp = `${day}/${MONTHS[date.getUTCMonth()] ?? ''}/${date.getUTCFullYear()}:${time} +0000`;
  }
  return stamp;
}
