/**
 * Clients that hold a connection without using it, and those that are merely slow. The limits under test are
 * of about a minute, so these tests wait together; what decides is who is cut, not when.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { pause } from '../harness/waiting.ts';
import { defaultRuntime, type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { ask, beginUpload, closing, digestBy, pushBlob, residentBytes } from './images.ts';
import { RawConnection } from './raw-http.ts';

// Only a server that hangs ever meets this limit (milliseconds); a busy machine must not.
setDefaultTimeout(120_000);

/** No server lets one of these go on for so long (milliseconds). */
const PATIENCE = 240_000;
/** An honest client goes on for longer than any of the server's limits. */
const HONEST_SECONDS = 75;

let registry: RunningRegistry;
/** Bytes that the processes may grow by while all of this file's clients are at work: Node lets its heap grow before it collects. */
const GROWTH = (defaultRuntime().startsWith('node') ? 256 : 100) * 1024 * 1024;

beforeAll(async () => {
  registry = await startEntrepot({ workers: 1 });
});
afterAll(async () => {
  await registry.dispose();
});

/** Writes a piece each second until the server ends the connection. */
async function trickle(connection: RawConnection, piece: string): Promise<void> {
  const end = Date.now() + PATIENCE;
  while (!connection.closed) {
    if (Date.now() > end) throw new Error(`still open after ${PATIENCE} ms: ${connection.text()}`);
    await connection.write(piece);
    await pause(1000);
  }
}

async function openPatch(
  body: string,
  length: number,
): Promise<{ connection: RawConnection; location: URL }> {
  const location = await beginUpload(registry.url, 'slow');
  const connection = await RawConnection.open(registry.host);
  const path = `${location.pathname}${location.search}`;
  await connection.write(
    `PATCH ${path} HTTP/1.1\r\nHost: ${registry.host}\r\nConnection: close\r\nContent-Length: ${length}\r\n\r\n${body}`,
  );
  return { connection, location };
}

test.concurrent(
  'security 7: a connection that sends nothing is closed',
  async () => {
    const connections = await Promise.all(
      Array.from({ length: 50 }, () => RawConnection.open(registry.host)),
    );
    await Promise.all(connections.map((connection) => connection.untilClosed(PATIENCE)));
  },
  PATIENCE + 30_000,
);

test.concurrent(
  'security 7: a connection that is done is closed',
  async () => {
    const connection = await RawConnection.open(registry.host);
    await connection.write(`GET /v2/ HTTP/1.1\r\nHost: ${registry.host}\r\n\r\n`);
    const answers = await connection.untilClosed(PATIENCE);
    expect(answers.map((answer) => answer.status)).toEqual([200]);
  },
  PATIENCE + 30_000,
);

test.concurrent(
  'security 7: request heads that never end are cut, however steadily they trickle',
  async () => {
    const connections = await Promise.all(
      Array.from({ length: 50 }, () => RawConnection.open(registry.host)),
    );
    await Promise.all(
      connections.map(async (connection, i) => {
        await connection.write(
          i % 2 === 0 ? 'GET /v2/ HTT' : `GET /v2/ HTTP/1.1\r\nHost: ${registry.host}\r\n`,
        );
        await trickle(connection, i % 2 === 0 ? '' : 'X: y\r\n');
      }),
    );
  },
  PATIENCE + 30_000,
);

test.concurrent(
  'security 7: an upload that stalls is cut, and what had arrived counts',
  async () => {
    const { connection, location } = await openPatch('a'.repeat(1000), 1_000_000);
    await connection.untilClosed(PATIENCE);
    expect((await ask(registry.url, location.href, 204)).headers.get('range')).toBe('0-999');
  },
  PATIENCE + 30_000,
);

test.concurrent(
  'security 7: a manifest that stalls is cut',
  async () => {
    const connection = await RawConnection.open(registry.host);
    await connection.write(
      `PUT /v2/slow/manifests/latest HTTP/1.1\r\nHost: ${registry.host}\r\nContent-Length: 1000\r\n` +
        'Content-Type: application/vnd.oci.image.manifest.v1+json\r\n\r\n{"schema',
    );
    await connection.untilClosed(PATIENCE);
  },
  PATIENCE + 30_000,
);

test.concurrent(
  'security 7: slow but honest uploads are not cut',
  async () => {
    const bytes = randomBytes('honest', HONEST_SECONDS * 100);
    const before = await residentBytes(registry.pid);
    await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        const { connection, location } = await openPatch('', bytes.length);
        for (let second = 0; second < HONEST_SECONDS; second++) {
          await connection.write(bytes.subarray(second * 100, second * 100 + 100));
          expect([i, second, connection.closed]).toEqual([i, second, false]);
          await pause(1000);
        }
        const [answer] = await connection.answers(1);
        expect(answer?.status).toBe(202);
        connection.close();
        await ask(registry.url, closing(location, digestBy('sha256', bytes)), 201, { method: 'PUT' });
      }),
    );
    expect((await residentBytes(registry.pid)) - before).toBeLessThan(GROWTH);
  },
  PATIENCE + 30_000,
);

test.concurrent(
  'security 7: a slow reader of a large blob costs little memory and holds up nobody',
  async () => {
    const digest = await pushBlob(registry.url, 'slow', randomBytes('large', 64 * 1024 * 1024));
    const before = await residentBytes(registry.pid);
    const connections = await Promise.all(
      Array.from({ length: 50 }, async () => {
        const connection = await RawConnection.open(registry.host);
        connection.stopReading();
        await connection.write(`GET /v2/slow/blobs/${digest} HTTP/1.1\r\nHost: ${registry.host}\r\n\r\n`);
        return connection;
      }),
    );
    for (let i = 0; i < 5; i++) {
      await ask(registry.url, `/v2/slow/blobs/${digest}`, 200, { method: 'HEAD' });
      await pause(200);
    }
    expect((await residentBytes(registry.pid)) - before).toBeLessThan(200 * 1024 * 1024);
    for (const connection of connections) connection.close();
  },
  PATIENCE + 30_000,
);
