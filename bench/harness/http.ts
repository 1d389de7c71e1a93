import http from 'node:http';
import https from 'node:https';

export interface RequestOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
  /** The certificate (PEM) that an https server is verified with. */
  readonly ca?: string | undefined;
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

const plainAgent = new http.Agent({ keepAlive: true });

/**
 * One small request, with its answer held in memory: for the steps around a measured transfer.
 * @throws Error when there is no answer; any status is an answer.
 */
export function request(method: string, url: string, options: RequestOptions = {}): Promise<Answer> {
  const { body, ca } = options;
  const headers: Record<string, string> = { ...options.headers };
  if (body !== undefined) headers['content-length'] = String(Buffer.byteLength(body));
  else if (method !== 'GET' && method !== 'HEAD') headers['content-length'] = '0';
  return new Promise((resolve, reject) => {
    const receive = (response: http.IncomingMessage): void => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('error', reject);
      response.once('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) });
      });
    };
    const sent =
      ca !== undefined && url.startsWith('https:')
        ? https.request(url, { method, headers, ca, agent: false }, receive)
        : http.request(url, { method, headers, agent: plainAgent }, receive);
    sent.once('error', reject);
    sent.end(body);
  });
}

/**
 * The same, for a request that must succeed.
 * @throws Error with the method, the address, the status and the start of the body when the status is not `expected`.
 */
export async function requestOk(
  method: string,
  url: string,
  expected: number,
  options: RequestOptions = {},
): Promise<Answer> {
  const answer = await request(method, url, options);
  if (answer.status !== expected) {
    const text = answer.body.toString('utf8', 0, 300);
    throw new Error(`${method} ${url}: ${answer.status} instead of ${expected}: ${text}`);
  }
  return answer;
}

/** Opens an upload and gives its absolute address. @throws Error when the registry refuses. */
export async function openUpload(origin: string, repository: string): Promise<string> {
  const url = `${origin}/v2/${repository}/blobs/uploads/`;
  const answer = await requestOk('POST', url, 202);
  return locationOf(answer, url);
}

/** The absolute address in an answer's `Location`. @throws Error when there is none. */
export function locationOf(answer: Answer, base: string): string {
  const { location } = answer.headers;
  if (location === undefined) throw new Error(`${base}: the answer has no Location`);
  return new URL(location, base).href;
}

/** An upload's address with the closing `digest` parameter. */
export function closingAddress(location: string, digest: string): string {
  return `${location}${location.includes('?') ? '&' : '?'}digest=${encodeURIComponent(digest)}`;
}
