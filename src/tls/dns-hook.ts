/** The operator's own program that puts records into a DNS zone, for dns-01 (RFC 8555 §8.4). */
import { execFile } from 'node:child_process';

/** DNS services are slow, and the program is to wait until their servers know the record. */
const TIMEOUT = 10 * 60_000;
const MAX_OUTPUT = 64 * 1024;
/** How much of what it said an error repeats. */
const SHOWN = 300;

export interface DnsRecord {
  /** The name that the certificate is for, without `*.`. */
  readonly domain: string;
  /** Where the TXT record belongs: `_acme-challenge.<domain>`. */
  readonly name: string;
  readonly value: string;
}

/**
 * Runs `<command> present|cleanup DOMAIN NAME VALUE`, without a shell. It has our environment but for `REGISTRY_*`, which
 * may hold secrets of ours.
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
    const limits = { timeout, maxBuffer: MAX_OUTPUT, killSignal: 'SIGKILL', env } as const;
    // It does not outlive us.
    const end = () => child.kill('SIGKILL');
    const child = execFile(command, [action, domain, name, value], limits, (error, stdout, stderr) => {
      process.off('exit', end);
      if (error === null) return resolve();
      const said = (stderr.trim() || stdout.trim()).replaceAll(/\s+/g, ' ').slice(0, SHOWN);
      const how =
        error.killed === true
          ? `did not end within ${timeout / 1000} s`
          : typeof error.code === 'number'
            ? `exited with ${error.code}`
            : error.message;
      reject(
        new Error(`${command} ${action} ${domain}: ${how}${said === '' ? '' : `: ${said}`}`, {
          cause: error,
        }),
      );
    });
    process.once('exit', end);
    child.stdin?.on('error', () => undefined);
    child.stdin?.end();
  });
}
