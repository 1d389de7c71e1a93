/** Connections by TLS with certificates of clients are held to what holds for all others. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import {
  type AddressInfo,
  connect as connectPlain,
  createServer as createNetServer,
  type Socket,
} from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { ConnectionLimits } from '../../src/server/connection-limits.ts';
import type { TlsOptions } from '../../src/server/listener.ts';
import { run } from '../harness/tools.ts';
import { cleanUp, RUNTIMES, type Runtime, start, stop, type Subject, temporaryFolder } from './subject.ts';

const IDLE_SECONDS = 4;
const MEBIBYTE = 1024 * 1024;

let tls: TlsOptions;

beforeAll(async () => {
  const folder = await temporaryFolder();
  const files = ['-keyout', 'server.key', '-out', 'server.pem'];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'];
  await run(
    'openssl',
    ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', ...subject, ...files],
    {
      cwd: folder,
    },
  );
  const [certificate = '', key = ''] = await Promise.all(
    ['pem', 'key'].map((kind) => readFile(join(folder, `server.${kind}`), 'utf8')),
  );
  tls = { certificate, key, clientCas: certificate, clientAuth: 'request' };
}, 60_000);

afterAll(cleanUp);

function begin(runtime: Runtime, more: object = {}): Promise<Subject> {
  return start(runtime, { tls, idleSeconds: IDLE_SECONDS, ...more });
}

async function open({ port }: Subject): Promise<TLSSocket> {
  const socket = connectTls({ port, host: '127.0.0.1', ca: tls.certificate });
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.once('secureConnect', resolve));
  return socket;
}

async function openBare({ port }: Subject): Promise<Socket> {
  const socket = connectPlain(port, '127.0.0.1');
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
}

/** Resolves with what came, when the server has closed the connection. */
function closed(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  return new Promise((resolve) => socket.once('close', () => resolve(text)));
}

/** Resolves with all that came, once that `matches`. */
function received(socket: Socket, matches: RegExp): Promise<string> {
  let text = '';
  return new Promise((resolve, reject) => {
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (matches.test(text)) resolve(text);
    });
    socket.once('close', () => reject(new Error(`closed after ${JSON.stringify(text)}`)));
  });
}

test.concurrent.each([...RUNTIMES])(
  '%s ends connections that are silent, at whatever point',
  async (runtime) => {
    const subject = await begin(runtime);
    const [bare, silent, idle, half, upload] = await Promise.all([
      openBare(subject),
      open(subject),
      open(subject),
      open(subject),
      open(subject),
    ]);
    idle.write('GET /size HTTP/1.1\r\nHost: h\r\n\r\n');
    half.write('GET /si');
    upload.write('PUT /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na');
    const [, , answer] = await Promise.all([bare, silent, idle, half, upload].map(closed));
    expect(answer).toStartWith('HTTP/1.1 200');
    await stop(subject);
  },
  120_000,
);

test.concurrent.each([...RUNTIMES])(
  '%s does not end a slow upload that lifted the limit, but its connection when idle afterwards',
  async (runtime) => {
    const subject = await begin(runtime);
    const client = await open(subject);
    const size = IDLE_SECONDS * 3 * 2;
    client.write(`PUT /upload?lift=1 HTTP/1.1\r\nHost: h\r\nContent-Length: ${size}\r\n\r\na`);
    const end = closed(client);
    await delay(IDLE_SECONDS * 2_000);
    for (let sent = 1; sent < size; sent += 1) {
      client.write('a');
      await delay(50);
    }
    expect(await end).toContain(JSON.stringify({ size }));
    await stop(subject);
  },
  120_000,
);

test.concurrent.each([...RUNTIMES])(
  '%s ends a download that nobody takes',
  async (runtime) => {
    const subject = await begin(runtime);
    const client = await open(subject);
    client.pause();
    client.write('GET /stream?chunks=500&bytes=1000000 HTTP/1.1\r\nHost: h\r\n\r\n');
    const events = async (): Promise<string> => {
      const socket = await open(subject);
      const text = closed(socket);
      socket.write('GET /events HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n');
      return text;
    };
    while (!(await events()).includes('"cancelled":1')) await delay(200);
    client.destroy();
    await stop(subject);
  },
  120_000,
);

describe.each(RUNTIMES.map((runtime) => [runtime] as const))('%s', (runtime) => {
  test('a handler that reads slowly holds the client back', async () => {
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
  });

  test('requests follow one that was answered before its body was read', async () => {
    const subject = await begin(runtime);
    const client = await open(subject);
    client.write('POST /throw HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc');
    await received(client, /\{"errors":\[\]\}\r\n0\r\n\r\n$/);
    client.write('GET /size HTTP/1.1\r\nHost: h\r\n\r\n');
    await received(client, /x{12345}/);
    client.destroy();
    await stop(subject);
  });

  test('no Host is refused', async () => {
    const subject = await begin(runtime);
    const client = await open(subject);
    client.write('GET / HTTP/1.1\r\nConnection: close\r\n\r\n');
    expect(await closed(client)).toStartWith('HTTP/1.1 400');
    await stop(subject);
  });

  test('a drain waits for requests, and not for those who have connected and ask nothing', async () => {
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
    await delay(500);
    subject.kill('SIGTERM');
    expect(await answer).toEndWith('slow');
    expect((await subject.exited).code).toBe(0);
  }, 60_000);
});

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
