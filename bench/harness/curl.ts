import { run } from './command.ts';

/** A transfer by curl. */
export interface Transfer {
  readonly url: string;
  /** Sent as the body when given; else the answer is read and dropped. */
  readonly upload?: { readonly file: string; readonly method: 'PATCH' | 'PUT'; readonly chunked: boolean };
  readonly expected: number;
  /** The file with the certificate that an https server is verified with. */
  readonly caFile?: string;
}

/**
 * What Go's TLS, and so docker, containerd, podman and skopeo, offer first. Without it curl's own order makes
 * the servers pick ciphers of different cost, by whether they follow the client's order or their own.
 */
const CIPHERS = 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256';

export interface Transferred {
  /** From before the connection is opened to the last byte: curl's own clock, so its start as a process is not in it. */
  readonly seconds: number;
  /** The same to the first byte of the answer. */
  readonly firstByte: number;
  /** The answer's `Location`, empty when it has none. */
  readonly location: string;
}

/**
 * Runs one transfer.
 * @throws Error when curl fails or the status is not the expected one.
 */
export async function transfer(plan: Transfer): Promise<Transferred> {
  const { upload } = plan;
  const args = [
    '--silent',
    '--show-error',
    '--http1.1',
    '--output',
    '/dev/null',
    '--write-out',
    '%{http_code} %{time_total} %{time_starttransfer} %header{location}',
  ];
  if (plan.caFile !== undefined) args.push('--cacert', plan.caFile, '--tls13-ciphers', CIPHERS);
  if (upload !== undefined) {
    // Go's clients send no Expect; curl would, and wait for the answer to it.
    args.push('--request', upload.method, '--upload-file', upload.file, '--header', 'Expect:');
    args.push('--header', 'Content-Type: application/octet-stream');
    if (upload.chunked) args.push('--header', 'Transfer-Encoding: chunked');
  }
  const { stdout } = await run('curl', [...args, plan.url]);
  const [status, seconds, firstByte, location = ''] = stdout.trim().split(' ');
  if (Number(status) !== plan.expected) {
    throw new Error(`${upload?.method ?? 'GET'} ${plan.url}: ${status} instead of ${plan.expected}`);
  }
  return { seconds: Number(seconds), firstByte: Number(firstByte), location };
}
