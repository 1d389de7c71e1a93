/** What a SIGHUP leaves behind: old workers with requests, crashes in the middle of it, starts that fail, terminals. */
import { afterAll, describe, expect, test } from 'bun:test';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { LAST_HANDSHAKES_MS } from '../../src/server/bun-listening-sockets.ts';
import { MAX_REPLACED } from '../../src/server/worker-slot.ts';
import { childrenOf, untilEnded } from '../faults/worker-pids.ts';
import { untilHolds } from '../harness/waiting.ts';
import { RawClient } from './raw-client.ts';
import { closed, openTls, tlsWithClients } from './tls-client.ts';
import { cleanUp, type Line, start, type Subject, stop, temporaryFolder } from './subject.ts';

afterAll(cleanUp);

const says =
  (text: string) =>
  (line: Line): boolean =>
    String(line['message']).includes(text);

const SIZE = 64_000_000;

/** A download of more than the kernel buffers from the youngest worker, whose reader has not read yet. */
async function download(subject: Subject): Promise<RawClient> {
  for (;;) {
    const client = new RawClient({ port: subject.port, host: '127.0.0.1' });
    client.send('GET /stream?chunks=64&bytes=1000000 HTTP/1.1\r\nHost: h\r\n\r\n');
    const begin = await new Promise<Buffer>((resolve) => client.socket.once('data', resolve));
    client.socket.pause();
    const pid = /^x-pid: (\d+)/im.exec(begin.toString('latin1'))?.[1];
    if (Number(pid) === childrenOf(subject.pid).at(-1)) return client;
    // The one before has not left the port yet.
    client.destroy();
    await delay(20);
  }
}

/** Replaces the workers once more. */
async function roll(subject: Subject): Promise<void> {
  const replaced = () => subject.lines.filter(says('is replaced')).length;
  const before = replaced();
  subject.kill('SIGHUP');
  await subject.line(() => replaced() > before);
}

async function statusOf(subject: Subject): Promise<number> {
  return (await fetch(subject.url('/size'), { headers: { connection: 'close' } })).status;
}

describe.each(['bun', 'node24'] as const)('%s', (runtime) => {
  test('replaced workers go on with what they have; of many the oldest is ended, and SIGTERM ends all', async () => {
    const subject = await start(runtime, { drainTimeoutMs: 500 });
    const clients: RawClient[] = [];
    for (let generation = 0; generation <= MAX_REPLACED; generation += 1) {
      clients.push(await download(subject));
      await roll(subject);
    }
    const [first, ...others] = clients;
    const cut = await subject.line(says('is ended with its requests'));
    expect(cut).toMatchObject({ level: 'warn', reason: expect.stringContaining('were replaced after it') });
    first?.socket.resume();
    await first?.closed();
    const [second, ...left] = others;
    second?.socket.resume();
    expect((await second?.response())?.body).toHaveLength(SIZE);
    expect(await statusOf(subject)).toBe(200);
    expect(childrenOf(subject.pid).length).toBeGreaterThanOrEqual(1 + left.length);
    subject.kill('SIGTERM');
    expect((await subject.exited).code).toBe(0);
    expect(subject.lines.filter(says('was killed'))).toHaveLength(left.length);
    expect(subject.lines.filter(says('is ended with its requests'))).toHaveLength(1);
    for (const client of clients) client.destroy();
  }, 300_000);

  test('a replaced worker ends at its limit, which is told', async () => {
    const subject = await start(runtime, { replacedLimitMs: 200 });
    const client = await download(subject);
    await roll(subject);
    expect(await subject.line(says('is ended with its requests'))).toMatchObject({
      reason: 'they took too long',
    });
    client.destroy();
    await stop(subject);
  }, 300_000);

  test('a worker that crashes while it is replaced leaves one in its place', async () => {
    const subject = await start(runtime);
    const [old] = childrenOf(subject.pid);
    subject.kill('SIGHUP');
    await subject.line(says('SIGHUP'));
    // The new one is not at the point of serving yet.
    process.kill(old ?? 0, 'SIGKILL');
    await subject.line(says('ended unasked'));
    await subject.line(says('is replaced'));
    expect(childrenOf(subject.pid)).toHaveLength(1);
    expect(await statusOf(subject)).toBe(200);
    await stop(subject);
  }, 300_000);

  test('what keeps a crashed worker from starting again ends nothing, and SIGHUP tries at once', async () => {
    const failWhile = join(await temporaryFolder(), 'unreadable');
    const subject = await start(runtime, { workers: 2, failWhile });
    await writeFile(failWhile, '');
    await fetch(subject.url('/crash')).catch(() => undefined);
    const failures = () => subject.lines.filter(says('did not start'));
    await subject.line(() => failures().length === 6);
    expect(failures()[5]).toMatchObject({ level: 'error', reason: 'not to be read', pauseMs: 3200 });
    expect(await statusOf(subject)).toBe(200);
    await rm(failWhile);
    // The other one is replaced, and this one started.
    await roll(subject);
    while (childrenOf(subject.pid).length !== 2) await delay(20);
    expect(await statusOf(subject)).toBe(200);
    await stop(subject);
  }, 300_000);
});

test('bun, TLS with certificates of clients: who has asked nothing when the worker is replaced is answered', async () => {
  const tls = await tlsWithClients();
  const subject = await start('bun', { tls });
  const old = childrenOf(subject.pid);
  const sockets = [await openTls(subject, tls), await openTls(subject, tls)];
  await roll(subject);
  await delay(LAST_HANDSHAKES_MS + 400);
  // After the first one's answer idle connections are closed, as they were before.
  for (const socket of sockets) {
    const answer = closed(socket);
    socket.write('GET /size HTTP/1.1\r\nHost: h\r\n\r\n');
    const text = await answer;
    expect(text).toStartWith('HTTP/1.1 200 OK\r\n');
    expect(text).toMatch(/\r\nconnection: close\r\n/i);
  }
  await untilEnded(old);
  await stop(subject);
}, 300_000);

test.each(['node20', 'node24'] as const)(
  '%s: who is at the headers of a request when its worker is replaced is answered',
  async (runtime) => {
    const subject = await start(runtime);
    const old = childrenOf(subject.pid);
    const client = new RawClient({ port: subject.port, host: '127.0.0.1' });
    client.send('GET /a HTTP/1.1\r\nHost: h\r\nX-Slow: ');
    // A connection that is made later comes after it.
    expect(await statusOf(subject)).toBe(200);
    await roll(subject);
    for (let i = 0; i < 40; i += 1) {
      await delay(100);
      client.send('x');
    }
    client.send('\r\n\r\n');
    const response = await client.response();
    expect([response?.status, response?.headers.get('connection')]).toEqual([200, 'close']);
    await untilEnded(old);
    await stop(subject);
  },
  300_000,
);

test.each([
  ['a terminal', ''],
  ['a terminal, without its input', '</dev/null'],
  ['a terminal, without its outputs', '>FILE 2>&1'],
  ['a terminal, of which only the errors are told', '</dev/null >FILE'],
])(
  'a SIGHUP replaces the workers below %s, and ends the server when that is closed',
  async (_, redirected) => {
    const settings = { address: { hostname: '127.0.0.1', port: 0 } };
    const program = join(import.meta.dirname, 'fixture/main.ts');
    let text = '';
    const file = join(await temporaryFolder(), 'out');
    const command = `exec "$0" "$@" ${redirected.replace('FILE', file)}`;
    const child = Bun.spawn(['sh', '-c', command, process.execPath, program, JSON.stringify(settings)], {
      terminal: { cols: 200, data: (_, data) => void (text += Buffer.from(data).toString()) },
    });
    const said = async (word: string) =>
      `${text}${await readFile(file, 'utf8').catch(() => '')}`.includes(word);
    await untilHolds(() => said('"ready"'));
    const [old] = childrenOf(child.pid);
    child.kill('SIGHUP');
    await untilHolds(() => said('is replaced'));
    while (childrenOf(child.pid).includes(old ?? 0)) await delay(20);
    const workers = childrenOf(child.pid);
    expect(workers).toHaveLength(1);
    child.terminal?.close();
    await child.exited;
    await untilEnded(workers);
  },
  300_000,
);
