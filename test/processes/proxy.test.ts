/** The cache in every form that the program is run in: upstreams over TLS and by an HTTP proxy, and one fetch for all. */
import { afterAll, afterEach, beforeAll, expect, test } from 'bun:test';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { layeredImage } from '../harness/images.ts';
import type { LayoutImage } from '../harness/oci-layout.ts';
import { verifyImage } from '../harness/registry-client.ts';
import { startUpstreamRegistry, type UpstreamRegistry } from '../harness/upstreams.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

let workspace: Workspace;
let upstream: UpstreamRegistry;
let plain: UpstreamRegistry;
let image: LayoutImage;
let registry: RunningRegistry | undefined;

beforeAll(async () => {
  workspace = await createWorkspace('proxy-forms');
  upstream = await startUpstreamRegistry('tls');
  plain = await startUpstreamRegistry('plain');
  image = await layeredImage(workspace.join('image'), { layers: 3, seed: 'forms' });
  await upstream.seed(image, 'lib/app:1');
  await plain.seed(image, 'lib/app:1');
}, 300_000);
afterEach(async () => {
  await registry?.dispose();
});
afterAll(async () => {
  await upstream.dispose();
  await plain.dispose();
  await workspace.remove();
});

async function pulls(name: string, url: string): Promise<boolean> {
  return verifyImage(url, `proxy/${name}/lib/app`, '1').then(
    (verified) => verified.length > 0,
    () => false,
  );
}

test('an authority of the operator’s own is believed, no other is, and any if that is meant', async () => {
  const { ca, ...untrusted } = upstream.settings;
  registry = await startEntrepot({
    workers: 2,
    config: {
      proxy: {
        upstreams: [
          { ...upstream.settings, name: 'trusted' },
          { ...untrusted, name: 'untrusted' },
          { ...untrusted, name: 'insecure', insecure: true },
        ],
      },
    },
  });
  expect(ca).toBeString();
  expect(await pulls('untrusted', registry.url)).toBe(false);
  expect(await pulls('trusted', registry.url)).toBe(true);
  expect(await pulls('insecure', registry.url)).toBe(true);
}, 300_000);

/** An HTTP proxy: CONNECT for TLS, whole URLs for the rest. */
async function startHttpProxy(): Promise<{ server: Server; asked: string[]; url: string }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    void fetch(request.url ?? '', {
      method: request.method ?? 'GET',
      headers: { accept: request.headers.accept ?? '*/*' },
      redirect: 'manual',
    }).then(async (answer) => {
      const body = Buffer.from(await answer.arrayBuffer());
      const headers = Object.fromEntries(answer.headers);
      response.writeHead(
        answer.status,
        request.method === 'HEAD' ? headers : { ...headers, 'content-length': String(body.length) },
      );
      response.end(request.method === 'HEAD' ? undefined : body);
    });
  });
  server.on('connect', (request, socket) => {
    asked.push(`CONNECT ${request.url}`);
    const [host = '', port] = (request.url ?? '').split(':');
    const target = connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      socket.pipe(target).pipe(socket);
    });
    for (const end of [socket, target]) end.on('error', () => end.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, asked, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

test('an HTTP proxy of the environment is asked, but not for what is excepted', async () => {
  const proxy = await startHttpProxy();
  try {
    registry = await startEntrepot({
      workers: 1,
      config: {
        proxy: {
          upstreams: [
            { ...upstream.settings, name: 'secure' },
            { ...plain.settings, name: 'plain' },
            {
              ...plain.settings,
              name: 'direct',
              url: plain.front.url.replace('127.0.0.1', 'localhost'),
            },
          ],
        },
      },
      env: {
        HTTPS_PROXY: proxy.url,
        HTTP_PROXY: proxy.url,
        NO_PROXY: 'localhost',
        https_proxy: undefined,
        http_proxy: undefined,
        no_proxy: undefined,
      },
    });
    expect(await pulls('direct', registry.url)).toBe(true);
    expect(proxy.asked).toEqual([]);
    expect(await pulls('secure', registry.url)).toBe(true);
    expect(proxy.asked.every((line) => line.startsWith('CONNECT 127.0.0.1:'))).toBe(true);
    const before = proxy.asked.length;
    expect(await pulls('plain', registry.url)).toBe(true);
    expect(proxy.asked.slice(before).some((line) => line.includes('/v2/lib/app/manifests/1'))).toBe(true);
  } finally {
    proxy.server.closeAllConnections();
    proxy.server.close();
  }
}, 300_000);

test('two workers fetch a blob once for twenty clients', async () => {
  registry = await startEntrepot({
    workers: 2,
    config: { proxy: { upstreams: [{ ...plain.settings, name: 'once' }] } },
  });
  const { url } = registry;
  const before = plain.front.asked.length;
  const results = await Promise.all(Array.from({ length: 20 }, () => pulls('once', url)));
  expect(results).toEqual(Array<boolean>(20).fill(true));
  const blobs = plain.front.asked
    .slice(before)
    .filter((asked) => asked.method === 'GET' && asked.target.includes('/blobs/'));
  expect(new Set(blobs.map(({ target }) => target)).size).toBe(blobs.length);
}, 300_000);
