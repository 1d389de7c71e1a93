/** The operator's own program that puts records into a DNS zone, for dns-01 (RFC 8555 §8.4). */
import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';

/** DNS services are slow, and the program is to wait until their servers know the record. */
const TIMEOUT = 10 * 60_000;
/** How much of what it says is kept, in characters; what comes behind is read all the same, so that it can go on. */
const MAX_OUTPUT = 64 * 1024;
/** How much of what it said an error repeats. */
const SHOWN = 300;
/** What it said last may come after its end, in milliseconds; a program that it left behind may hold the pipe for ever. */
const LAST_WORDS = 200;

export interface DnsRecord {
  /** The name that the certificate is for, without `*.`. */
  readonly domain: string;
  /** Where the TXT record belongs: `_acme-challenge.<domain>`. */
  readonly name: string;
  readonly value: string;
}

/**
 * Runs `<command> present|cleanup DOMAIN NAME VALUE`, without a shell. It has our environment but for `REGISTRY_*`, which
 * may hold secrets of ours. It is over when the program is, whatever it has left running.
 * @throws Error when it fails, or has not ended after `timeout` milliseconds; it is killed then
 */
export function runDnsHook(
  command: string,
  action: 'present' | 'cleanup',
  { domain, name, value }: DnsRecord,
  timeout = TIMEOUT,
): Promise<void> {
  const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith('REGISTRY_')));
  return new Promise((resolve, reject) => {
    const refuse = (how: string, said = '', cause?: Error): void =>
      reject(
        new Error(
          `${command} ${action} ${domain}: ${how}${said === '' ? '' : `: ${said}`}`,
          cause === undefined ? {} : { cause },
        ),
      );
    const child = spawn(command, [action, domain, name, value], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const [stdout, stderr] = [keep(child.stdout), keep(child.stderr)];
    // It does not outlive us.
    const end = () => child.kill('SIGKILL');
    process.once('exit', end);
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      end();
    }, timeout);
    const over = (): void => {
      clearTimeout(timer);
      process.off('exit', end);
    };
    child.once('error', (error) => {
      over();
      refuse(error.message, '', error);
    });
    child.once('exit', (code, signal) => {
      over();
      let isTold = false;
      const tell = (): void => {
        if (isTold) return;
        isTold = true;
        clearTimeout(last);
        child.stdout.destroy();
        child.stderr.destroy();
        if (code === 0) return resolve();
        const said = (stderr().trim() || stdout().trim()).replaceAll(/\s+/g, ' ').slice(0, SHOWN);
        refuse(
          isLate
            ? `did not end within ${timeout / 1000} s`
            : code === null
              ? `was ended by ${signal}`
              : `exited with ${code}`,
          said,
        );
      };
      const last = setTimeout(tell, LAST_WORDS);
      child.once('close', tell);
    });
  });
}

/** Reads all, and keeps its begin. */
function keep(stream: Readable): () => string {
  let text = '';
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    if (text.length < MAX_OUTPUT) text += chunk.slice(0, MAX_OUTPUT - text.length);
  });
  stream.on('error', () => undefined);
  return () => text;
}
