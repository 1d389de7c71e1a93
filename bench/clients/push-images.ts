/**
 * Pushes small images the way docker does: each blob asked for by HEAD, then POST, PATCH, PUT; then the manifest by tag.
 * A process of its own: `push-images.ts ORIGIN IMAGES AT-ONCE PREFIX [AUTHORIZATION]`; prints one JSON line (`PushImagesResult`).
 */
import { randomBytes } from 'node:crypto';
import { digestOf, MANIFEST_TYPE, manifestOf } from '../harness/content.ts';
import { closingAddress } from '../harness/http.ts';
import { Connection } from './connection.ts';

const LAYERS = 5;
const LAYER_SIZE = 20_000;

/** What the process prints. */
export interface PushImagesResult {
  readonly images: number;
  readonly requests: number;
  /** From the first request to the last answer. */
  readonly seconds: number;
  /** CPU time of this client within that: near `seconds` it would be the client that is measured. */
  readonly clientCpu: number;
}

interface SmallImage {
  readonly repository: string;
  /** Digest and bytes. */
  readonly blobs: ReadonlyMap<string, Buffer>;
  readonly manifest: Buffer;
}

function makeImage(repository: string): SmallImage {
  const layers = new Map<string, Buffer>();
  for (let layer = 0; layer < LAYERS; layer++) {
    const bytes = randomBytes(LAYER_SIZE);
    layers.set(digestOf(bytes), bytes);
  }
  const config = Buffer.from(JSON.stringify({ architecture: 'amd64', os: 'linux', created: repository }));
  const configDigest = digestOf(config);
  const sizes = new Map([...layers].map(([digest, bytes]) => [digest, bytes.length]));
  const manifest = Buffer.from(manifestOf(configDigest, sizes, config.length));
  return { repository, blobs: new Map([...layers, [configDigest, config]]), manifest };
}

async function pushImage(connection: Connection, image: SmallImage): Promise<number> {
  let requests = 0;
  const send = async (method: string, target: string, expected: number, body?: Buffer, type?: string) => {
    requests++;
    const reply = await connection.send(method, target, body, type);
    if (reply.status !== expected)
      throw new Error(`${method} ${target}: ${reply.status} instead of ${expected}`);
    return reply.location;
  };
  const base = `/v2/${image.repository}`;
  for (const [digest, bytes] of image.blobs) {
    await send('HEAD', `${base}/blobs/${digest}`, 404);
    const opened = await send('POST', `${base}/blobs/uploads/`, 202);
    const written = await send('PATCH', opened, 202, bytes, 'application/octet-stream');
    await send('PUT', closingAddress(written, digest), 201);
  }
  await send('PUT', `${base}/manifests/latest`, 201, image.manifest, MANIFEST_TYPE);
  return requests;
}

async function main([
  origin = '',
  count = '1',
  atOnce = '1',
  prefix = 'small',
  authorization = '',
]: readonly string[]): Promise<void> {
  const images = Array.from({ length: Number(count) }, (_, image) => makeImage(`${prefix}/image-${image}`));
  const connections = await Promise.all(
    Array.from({ length: Number(atOnce) }, () => Connection.open(origin, authorization)),
  );
  const queue = images.values();
  let requests = 0;
  const cpuBefore = process.cpuUsage();
  const begin = performance.now();
  await Promise.all(
    connections.map(async (connection) => {
      for (const image of queue) requests += await pushImage(connection, image);
    }),
  );
  const seconds = (performance.now() - begin) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  for (const connection of connections) connection.close();
  const result: PushImagesResult = {
    images: images.length,
    requests,
    seconds,
    clientCpu: (cpu.user + cpu.system) / 1e6,
  };
  console.log(JSON.stringify(result));
}

await main(process.argv.slice(2));
