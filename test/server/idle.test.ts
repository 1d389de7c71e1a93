/** The idle limit: honest slowness lives, silence ends. On all runtimes at once, as waiting is most of it. */
import { afterAll, expect, test } from 'bun:test';
import { setTimeout as delay } from 'node:timers/promises';
import { RawClient } from './raw-client.ts';
import { cleanUp, RUNTIMES, start, stop } from './subject.ts';

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
  120_000,
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
  120_000,
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
  120_000,
);
