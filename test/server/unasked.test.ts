/** Connections that have asked nothing: an end does not wait for them, and one worker in place of another loses none. */
import { afterAll, beforeAll, expect, spyOn, test } from 'bun:test';
import { once } from 'node:events';
import { connect as connectPlain, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import type { TlsOptions } from '../../src/server/listener.ts';
import { listen } from '../../src/server/bun.ts';
import { LAST_CALL_MS } from '../../src/server/last-call.ts';
import { childrenOf, untilEnded } from '../faults/worker-pids.ts';
import { cleanUp, type Runtime, start, stop, temporaryFolder } from './subject.ts';
import { closed, tlsWithClients } from './tls-client.ts';

const WAYS = ['plain', 'TLS', 'clientcas', 'unix', 'TLS by unix'] as const;
type Way = (typeof WAYS)[number];

/** What would be waited for without a last call: a minute, and then the worker is killed. */
const PATIENCE = { idleSeconds: 250, drainTimeoutMs: 60_000 };

const BYTES = 16_000_000;

let tls: TlsOptions;
beforeAll(async () => {
  tls = await tlsWithClients();
}, 300_000);
afterAll(cleanUp);

async function begin(runtime: Runtime, way: Way) {
  const path = way.endsWith('unix') ? join(await temporaryFolder(), 's.sock') : undefined;
  const isSecure = way !== 'plain' && way !== 'unix';
  const pair = { certificate: tls.certificate, key: tls.key };
  const subject = await start(runtime, {
    ...PATIENCE,
    ...(path === undefined ? {} : { address: { unix: path } }),
    ...(isSecure ? { tls: way === 'clientcas' ? tls : pair } : {}),
  });
  const where = path === undefined ? { port: subject.port, host: '127.0.0.1' } : { path };
  const opened = async (socket: Socket, event: string): Promise<Socket> => {
    socket.on('error', () => undefined);
    await once(socket, event);
    return socket;
  };
  const openBare = () => opened(connectPlain(where), 'connect');
  const checked = { ca: tls.certificate, checkServerIdentity: () => undefined };
  const open = () => (isSecure ? opened(connectTls({ ...where, ...checked }), 'secureConnect') : openBare());
  return { subject, openBare, open };
}

/** Takes no more than the first piece of a long answer, which is more than the kernel buffers. @returns what takes all of it */
async function beginDownload(socket: Socket): Promise<() => Promise<number>> {
  let bytes = 0;
  socket.on('data', (chunk: Buffer) => (bytes += chunk.length));
  const first = once(socket, 'data');
  socket.write(`GET /stream?chunks=${BYTES / 1_000_000}&bytes=1000000 HTTP/1.1\r\nHost: h\r\n\r\n`);
  await first;
  socket.pause();
  return async () => {
    const end = closed(socket);
    socket.resume();
    await end;
    return bytes;
  };
}

test.concurrent.each([
  ...WAYS.map((way) => ['bun', way] as const),
  // Plain connections of Node are those of unix here; for certificates of clients see `tls-front.test.ts`.
  ['node20', 'unix'],
  ['node20', 'TLS by unix'],
  ['node24', 'TLS'],
  ['node24', 'unix'],
] as const)(
  '%s, %s: SIGTERM waits for requests, and not for those who have asked nothing',
  async (runtime, way) => {
    const { subject, openBare, open } = await begin(runtime, way);
    await Promise.all([openBare(), openBare(), open(), open()]);
    const halves = await Promise.all([open(), open()]);
    for (const half of halves) half.write('GET /size HTTP/1.1\r\nHo');
    const rest = await beginDownload(await open());
    subject.kill('SIGTERM');
    // Whoever has asked is not cut by the last call.
    await delay(2 * LAST_CALL_MS);
    expect(await rest()).toBeGreaterThan(BYTES);
    expect(await subject.exited).toEqual({ code: 0, signal: null });
    expect(subject.lines.filter(({ level }) => level === 'warn')).toEqual([]);
  },
  300_000,
);

test.concurrent.each([
  ['bun', 'plain'],
  ['bun', 'TLS'],
  ['bun', 'unix'],
  ['node24', 'unix'],
] as const)(
  '%s, %s: whoever connects while workers are replaced, and asks later, is answered; and then the old one ends',
  async (runtime, way) => {
    const { subject, open } = await begin(runtime, way);
    const old = childrenOf(subject.pid);
    const replaced = new AbortController();
    const opening: Promise<Socket>[] = [open()];
    subject.kill('SIGHUP');
    const told = subject.line(({ message }) => String(message).endsWith('is replaced'));
    void told.then(() => replaced.abort());
    for (; !replaced.signal.aborted; await delay(50)) opening.push(open());
    const sockets = await Promise.all(opening);
    // Longer than the port is kept, and a last call after it.
    await delay(2500);
    const answers = sockets.map(async (socket) => {
      const text = closed(socket);
      socket.write('GET /size HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n');
      return (await text).split('\r\n')[0];
    });
    expect(new Set(await Promise.all(answers))).toEqual(new Set(['HTTP/1.1 200 OK']));
    await untilEnded(old);
    await stop(subject);
  },
  300_000,
);

// With a request under way, as above, its answer ends the others by Bun as well.
test('bun: a drain closes what is left when nobody asks anything, before the limits of the runtime do', async () => {
  const serve = spyOn(Bun, 'serve');
  const address = { hostname: '127.0.0.1', port: 0 };
  const handler = () => Promise.resolve(new Response());
  const listener = await listen({ address, handler, reusePort: true, idleSeconds: 250 });
  const stop = spyOn(serve.mock.results[0]?.value as Bun.Server<undefined>, 'stop');
  serve.mockRestore();
  const idle = connectPlain(listener.port, '127.0.0.1');
  idle.on('error', () => undefined);
  await once(idle, 'connect');
  const end = closed(idle);
  // Who connects later is served later.
  await fetch(`http://127.0.0.1:${listener.port}/`, { headers: { connection: 'close' } });
  await listener.drain();
  await end;
  expect(stop.mock.calls).toEqual([[false], [true]]);
}, 300_000);
