/** Connections by TLS with certificates of clients are held to what holds for all others; for silence see `idle.test.ts`. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { createServer } from 'node:http';
import { type AddressInfo, connect as connectPlain, createServer as createNetServer } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { ConnectionLimits } from '../../src/server/connection-limits.ts';
import type { TlsOptions } from '../../src/server/listener.ts';
import { cleanUp, RUNTIMES, type Runtime, start, stop, type Subject, untilAsked } from './subject.ts';
import { closed, openBare, openTls, received, tlsWithClients } from './tls-client.ts';

const MEBIBYTE = 1024 * 1024;

let tls: TlsOptions;

beforeAll(async () => {
  tls = await tlsWithClients();
}, 300_000);

afterAll(cleanUp);

function begin(runtime: Runtime, more: object = {}): Promise<Subject> {
  return start(runtime, { tls, ...more });
}

const open = (subject: Subject): Promise<TLSSocket> => openTls(subject, tls);

// By itself: a busy machine would hold the client back as well.
test.each([...RUNTIMES])(
  '%s: a handler that reads slowly holds the client back',
  async (runtime) => {
    const subject = await begin(runtime);
    const client = await open(subject);
    client.write(
      `PUT /upload?pause=1000&lift=1 HTTP/1.1\r\nHost: h\r\nContent-Length: ${64 * MEBIBYTE}\r\n\r\n`,
    );
    let given = 0;
    const until = new AbortController();
    setTimeout(() => until.abort(), 1500);
    const drained = (): Promise<unknown> =>
      new Promise((resolve) => {
        client.once('drain', resolve);
        until.signal.addEventListener('abort', resolve, { once: true });
      });
    while (!until.signal.aborted && given < 64 * MEBIBYTE) {
      given += MEBIBYTE;
      if (!client.write(Buffer.alloc(MEBIBYTE))) await drained();
    }
    expect(given).toBeLessThan(32 * MEBIBYTE);
    client.destroy();
    await stop(subject);
  },
  300_000,
);

test.concurrent.each([...RUNTIMES])(
  '%s: requests follow one that was answered before its body was read',
  async (runtime) => {
    const subject = await begin(runtime);
    const client = await open(subject);
    client.write('POST /throw HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc');
    await received(client, /\{"errors":\[\]\}\r\n0\r\n\r\n$/);
    client.write('GET /size HTTP/1.1\r\nHost: h\r\n\r\n');
    await received(client, /x{12345}/);
    client.destroy();
    await stop(subject);
  },
  300_000,
);

test.concurrent.each([...RUNTIMES])(
  '%s: no Host is refused',
  async (runtime) => {
    const subject = await begin(runtime);
    const client = await open(subject);
    client.write('GET / HTTP/1.1\r\nConnection: close\r\n\r\n');
    expect(await closed(client)).toStartWith('HTTP/1.1 400');
    await stop(subject);
  },
  300_000,
);

test.concurrent.each([...RUNTIMES])(
  '%s: a drain waits for requests, and not for those who have connected and ask nothing',
  async (runtime) => {
    // Far beyond this test's own limit of time.
    const subject = await begin(runtime, { idleSeconds: 300, drainTimeoutMs: 300_000 });
    const [, , idle, busy] = await Promise.all([
      openBare(subject),
      open(subject),
      open(subject),
      open(subject),
    ]);
    idle.write('GET /size HTTP/1.1\r\nHost: h\r\n\r\n');
    await received(idle, /x{12345}/);
    const answer = closed(busy);
    busy.write('GET /slow?ms=3000 HTTP/1.1\r\nHost: h\r\n\r\n');
    await untilAsked(subject, '/slow');
    subject.kill('SIGTERM');
    expect(await answer).toEndWith('slow');
    expect((await subject.exited).code).toBe(0);
  },
  300_000,
);

test('headers that come byte by byte end', async () => {
  const http = createServer((_request, response) => response.end('answered'));
  const limits = new ConnectionLimits(http, 300, 300);
  const front = createNetServer((socket) => {
    socket.on('error', () => undefined);
    limits.watch(socket);
    http.emit('connection', socket);
  });
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
  const client = connectPlain((front.address() as AddressInfo).port, '127.0.0.1');
  client.on('error', () => undefined);
  const end = closed(client);
  client.write('GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nX: ');
  const drip = setInterval(() => client.write('x'), 50);
  expect((await end).split('answered')).toHaveLength(2);
  clearInterval(drip);
  front.close();
});
