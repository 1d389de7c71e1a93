/** An upstream in this process, that can be made to fail in every way that one can. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface UpstreamServer {
  readonly url: string;
  /** Method and path of each request, in their order. */
  readonly asked: string[];
  /** Answers a request in place of the upstream's own answer; true when it did. */
  fault: ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined;
  /** Adds a blob, which comes in pieces with a pause (milliseconds) between them. */
  blob(content: Buffer, pieces?: { readonly size: number; readonly pause: number }): string;
  /** Adds a manifest and points tags at it. */
  manifest(content: string, ...tags: readonly string[]): string;
  stop(): Promise<void>;
}

export function sha256(content: Buffer | string): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`;
}

const TYPE = 'application/vnd.oci.image.manifest.v1+json';

export async function startUpstream(): Promise<UpstreamServer> {
  const blobs = new Map<string, { content: Buffer; size: number; pause: number }>();
  const manifests = new Map<string, string>();
  const server = createServer((request, response) => {
    upstream.asked.push(`${request.method} ${request.url}`);
    if (upstream.fault?.(request, response) === true) return;
    void answer(request, response);
  });
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const [, kind, reference = ''] = /\/(manifests|blobs)\/([^/]+)$/.exec(request.url ?? '') ?? [];
    const blob = blobs.get(reference);
    const manifest = manifests.get(reference);
    if (kind === 'blobs' && blob !== undefined) {
      response.writeHead(200, { 'content-length': String(blob.content.length) });
      if (request.method === 'GET') {
        for (let at = 0; at < blob.content.length; at += blob.size) {
          response.write(blob.content.subarray(at, at + blob.size));
          if (blob.pause > 0) await new Promise((resolve) => setTimeout(resolve, blob.pause));
        }
      }
      response.end();
    } else if (kind === 'manifests' && manifest !== undefined) {
      const headers = {
        'content-type': TYPE,
        'docker-content-digest': sha256(manifest),
        'content-length': String(Buffer.byteLength(manifest)),
      };
      response.writeHead(200, headers).end(request.method === 'GET' ? manifest : undefined);
    } else response.writeHead(404).end();
  };
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const upstream: UpstreamServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: [],
    fault: undefined,
    blob(
      content,
      { size = Math.max(1, content.length), pause = 0 } = { size: Math.max(1, content.length), pause: 0 },
    ) {
      blobs.set(sha256(content), { content, size, pause });
      return sha256(content);
    },
    manifest(content, ...tags) {
      for (const reference of [sha256(content), ...tags]) manifests.set(reference, content);
      return sha256(content);
    },
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return upstream;
}
