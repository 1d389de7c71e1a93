import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One request that went through, and how it was answered. */
export interface Recorded {
  readonly method: string;
  /** Path and query, as the client sent them. */
  readonly target: string;
  readonly status: number;
}

/** A reverse proxy on 127.0.0.1 that shows what a client really asked. */
export interface RecordingProxy {
  readonly url: string;
  readonly host: string;
  /** In the order in which the answers began. */
  readonly requests: readonly Recorded[];
  /** The requests whose method and target match, e.g. `matching(/^POST .*mount=/)`. */
  matching(pattern: RegExp): readonly Recorded[];
  close(): Promise<void>;
}

/** Starts a proxy that passes everything on to `upstream` (`http://127.0.0.1:PORT`) with its Host header as it came. */
export async function startRecordingProxy(upstream: string): Promise<RecordingProxy> {
  const { hostname, port } = new URL(upstream);
  const requests: Recorded[] = [];
  const server = createServer((incoming, outgoing) => {
    const onward = request(
      {
        hostname,
        port,
        method: incoming.method,
        path: incoming.url,
        headers: incoming.headers,
        agent: false,
      },
      (answer) => {
        const { method = '', url = '' } = incoming;
        requests.push({ method, target: url, status: answer.statusCode ?? 0 });
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(outgoing);
      },
    );
    onward.once('error', () => outgoing.destroy());
    incoming.pipe(onward);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address() as AddressInfo;
  const host = `127.0.0.1:${address.port}`;
  return {
    url: `http://${host}`,
    host,
    requests,
    matching: (pattern) => requests.filter((one) => pattern.test(`${one.method} ${one.target}`)),
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}
