/**
 * The idle limit: honest slowness lives, silence ends; for both ways of a server. On all runtimes at once, as waiting is
 * most of it.
 */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { TlsOptions } from '../../src/server/listener.ts';
import { RawClient } from './raw-client.ts';
import { cleanUp, RUNTIMES, start, stop } from './subject.ts';
import { closed, openBare, openTls, tlsWithClients } from './tls-client.ts';

let tls: TlsOptions;

beforeAll(async () => {
  tls = await tlsWithClients();
}, 300_000);

afterAll(cleanUp);

const IDLE_SECONDS = 4;

test.concurrent.each([...RUNTIMES])(
  '%s does not cut a slow upload that lifted the limit, and closes its connection when idle afterwards',
  async (runtime) => {
    const subject = await start(runtime, { idleSeconds: IDLE_SECONDS });
    const client = new RawClient({ port: subject.port, host: '127.0.0.1' });
    // Three times the limit: Bun rounds up, and notices late.
    const size = IDLE_SECONDS * 3 * 4;
    client.send(`POST /upload?lift=1 HTTP/1.1\r\nHost: h\r\nContent-Length: ${size}\r\n\r\n`);
    for (let sent = 0; sent < size; sent += 1) {
      client.send('x');
      await delay(250);
    }
    expect((await client.response())?.body).toBe(JSON.stringify({ size }));
    await client.closed();
    await stop(subject);
  },
  300_000,
);

test.concurrent.each([...RUNTIMES])(
  '%s closes a connection that sends nothing',
  async (runtime) => {
    const subject = await start(runtime, { idleSeconds: IDLE_SECONDS });
    const fresh = new RawClient({ port: subject.port, host: '127.0.0.1' });
    const used = new RawClient({ port: subject.port, host: '127.0.0.1' });
    used.send('GET /size HTTP/1.1\r\nHost: h\r\n\r\n');
    expect((await used.response())?.status).toBe(200);
    await Promise.all([fresh.closed(), used.closed()]);
    await stop(subject);
  },
  300_000,
);

test.concurrent.each([...RUNTIMES])(
  '%s ends a download whose reader stalls',
  async (runtime) => {
    const subject = await start(runtime, { idleSeconds: IDLE_SECONDS });
    const client = new RawClient({ port: subject.port, host: '127.0.0.1' });
    client.socket.pause();
    client.send('GET /stream?chunks=500&bytes=1000000 HTTP/1.1\r\nHost: h\r\n\r\n');
    const gone = async (): Promise<boolean> => {
      const events = (await (await fetch(subject.url('/events'))).json()) as { cancelled: number };
      return events.cancelled === 1;
    };
    while (!(await gone())) await delay(200);
    client.destroy();
    await stop(subject);
  },
  300_000,
);

test.concurrent.each([...RUNTIMES])(
  '%s, with clients’ certificates: ends connections that are silent, at whatever point',
  async (runtime) => {
    const subject = await start(runtime, { tls, idleSeconds: IDLE_SECONDS });
    const [bare, silent, idle, half, upload] = await Promise.all([
      openBare(subject),
      openTls(subject, tls),
      openTls(subject, tls),
      openTls(subject, tls),
      openTls(subject, tls),
    ]);
    idle.write('GET /size HTTP/1.1\r\nHost: h\r\n\r\n');
    half.write('GET /si');
    upload.write('PUT /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na');
    const [, , answer] = await Promise.all([bare, silent, idle, half, upload].map(closed));
    expect(answer).toStartWith('HTTP/1.1 200');
    await stop(subject);
  },
  300_000,
);

test.concurrent.each([...RUNTIMES])(
  '%s, with clients’ certificates: does not end a slow upload that lifted the limit, but its connection when idle afterwards',
  async (runtime) => {
    const subject = await start(runtime, { tls, idleSeconds: IDLE_SECONDS });
    const client = await openTls(subject, tls);
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
  300_000,
);

test.concurrent.each([...RUNTIMES])(
  '%s, with clients’ certificates: ends a download that nobody takes',
  async (runtime) => {
    const subject = await start(runtime, { tls, idleSeconds: IDLE_SECONDS });
    const client = await openTls(subject, tls);
    client.pause();
    client.write('GET /stream?chunks=500&bytes=1000000 HTTP/1.1\r\nHost: h\r\n\r\n');
    const events = async (): Promise<string> => {
      const socket = await openTls(subject, tls);
      const text = closed(socket);
      socket.write('GET /events HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n');
      return text;
    };
    while (!(await events()).includes('"cancelled":1')) await delay(200);
    client.destroy();
    await stop(subject);
  },
  300_000,
);
