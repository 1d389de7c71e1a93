/** The life of the workers: crashes, drains, replacements. The same on every runtime. */
import { afterAll, describe, expect, test } from 'bun:test';
import { setTimeout as delay } from 'node:timers/promises';
import { restartPause } from '../../src/server/worker-slot.ts';
import { run } from '../harness/tools.ts';
import { untilHolds } from '../harness/waiting.ts';
import { RawClient } from './raw-client.ts';
import { cleanUp, launch, type Line, RUNTIMES, start, stop, type Subject, untilAsked } from './subject.ts';

afterAll(cleanUp);

test('the pause before a restart doubles from 100 ms to 10 s, after one restart at once', () => {
  expect([1, 2, 3, 4, 8, 9, 50].map(restartPause)).toEqual([0, 100, 200, 400, 6400, 10_000, 10_000]);
});

/** The pids of workers, asked by so many new connections. */
async function workersOf(subject: Subject, connections = 20): Promise<Set<number>> {
  const pids = new Set<number>();
  for (let i = 0; i < connections; i += 1) {
    const response = await fetch(subject.url('/events'), { headers: { connection: 'close' } });
    pids.add(((await response.json()) as { pid: number }).pid);
  }
  return pids;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

const says =
  (text: string) =>
  (line: Line): boolean =>
    String(line['message']).includes(text);

/** A download of much more than the kernel buffers, whose reader has not read yet. */
async function slowDownload(subject: Subject): Promise<RawClient> {
  const client = new RawClient({ port: subject.port, host: '127.0.0.1' });
  client.socket.pause();
  client.send(`GET /stream?chunks=64&bytes=1000000 HTTP/1.1\r\nHost: h\r\n\r\n`);
  await untilAsked(subject, '/stream');
  return client;
}

describe.each([...RUNTIMES])('%s', (runtime) => {
  test('connections are spread over the workers', async () => {
    const subject = await start(runtime, { workers: 2 });
    // By chance all of 40 connections fall on one of two about once in 10^12 runs.
    expect((await workersOf(subject, 40)).size).toBe(2);
    await stop(subject);
  }, 300_000);

  test('a crashed worker is logged and replaced, and requests go on', async () => {
    const subject = await start(runtime, { workers: 2 });
    const before = await workersOf(subject, 40);
    await fetch(subject.url('/crash')).catch(() => undefined);
    const line = await subject.line(says('ended unasked'));
    expect(line).toMatchObject({ level: 'error', signal: 'SIGKILL', pauseMs: 0 });
    expect(before.has(Number(line['pid']))).toBe(true);
    let after = await workersOf(subject, 40);
    while (after.size < 2 || after.has(Number(line['pid']))) after = await workersOf(subject, 40);
    await stop(subject);
  });

  test('the only worker that crashes comes back', async () => {
    const subject = await start(runtime);
    await fetch(subject.url('/crash')).catch(() => undefined);
    await subject.line(says('ended unasked'));
    while ((await fetch(subject.url('/size')).catch(() => undefined))?.status !== 200) await delay(20);
    await stop(subject);
  });

  test('what ended before a worker was replaced does not make the next restart wait', async () => {
    const subject = await start(runtime);
    const ends = () => subject.lines.filter(says('ended unasked'));
    const crash = async (pid: unknown) => {
      process.kill(Number(pid), 'SIGKILL');
      await subject.line((line) => says('ended unasked')(line) && line['pid'] === pid);
      const times = ends().length;
      await subject.line(() => subject.lines.filter(says('serves again')).length === times);
      return subject.lines.findLast(says('serves again'))?.['pid'];
    };
    let [pid]: Iterable<unknown> = await workersOf(subject, 1);
    for (let times = 1; times <= 4; times += 1) pid = await crash(pid);
    subject.kill('SIGHUP');
    await crash((await subject.line(says('is replaced')))['pid']);
    expect(ends().map((line) => line['pauseMs'])).toEqual([0, 100, 200, 400, 0]);
    await stop(subject);
  });

  test('why the process of a worker cannot even be made is told, and it is tried again', async () => {
    const subject = await start(runtime);
    const [worker] = await workersOf(subject);
    const limit = async (files: string) => run('prlimit', [`--pid=${subject.pid}`, `--nofile=${files}:`]);
    await limit('3');
    process.kill(worker ?? 0, 'SIGKILL');
    const { reason } = await subject.line(says('did not start'));
    expect(reason).toMatch(/^its process could not be made: .*EMFILE/);
    await limit('1024');
    await subject.line(says('serves again'));
    expect((await workersOf(subject, 1)).size).toBe(1);
    await stop(subject);
  });

  test('a worker that cannot start is tried five times, then the server ends with 1', async () => {
    const subject = await launch(runtime, { failStart: 'exit' });
    const { error } = await subject.line((line) => 'error' in line);
    expect(error).toContain('could not start 5 times in a row');
    expect((await subject.exited).code).toBe(1);
    const failures = subject.lines.filter(says('did not start'));
    expect(failures).toHaveLength(4 + 1);
    expect(failures[0]).toMatchObject({ exitCode: 7 });
  });

  test('a worker that says why it cannot start is tried once', async () => {
    const subject = await launch(runtime, { failStart: 'failed', workers: 2 });
    await subject.line((line) => line['error'] === 'no such folder');
    expect((await subject.exited).code).toBe(1);
    expect(subject.lines).toHaveLength(1);
  });

  test.each(['SIGTERM', 'SIGINT'] as const)(
    '%s lets a download finish, and takes no new connection',
    async (signal) => {
      const subject = await start(runtime, { workers: 2, drainTimeoutMs: 300_000 });
      const workers = await workersOf(subject);
      const client = await slowDownload(subject);
      subject.kill(signal);
      await subject.line(says(signal));
      // One that comes in the moment of the drain may be left waiting by Node 20.
      const refused = () =>
        fetch(subject.url('/size'), { signal: AbortSignal.timeout(2000) }).then(
          () => false,
          () => true,
        );
      while (!(await refused())) await delay(20);
      client.socket.resume();
      expect((await client.response())?.body).toHaveLength(64_000_000);
      expect(await subject.exited).toEqual({ code: 0, signal: null });
      expect([...workers].filter(isAlive)).toEqual([]);
    },
  );

  test('SIGTERM ends idle connections at once', async () => {
    const subject = await start(runtime, { drainTimeoutMs: 60_000 });
    const client = new RawClient({ port: subject.port, host: '127.0.0.1' });
    client.send('GET /a HTTP/1.1\r\nHost: h\r\n\r\n');
    expect((await client.response())?.status).toBe(200);
    subject.kill('SIGTERM');
    await client.closed();
    expect((await subject.exited).code).toBe(0);
  });

  test('a request that takes longer than the drain timeout is cut, and that is logged', async () => {
    const subject = await start(runtime, { drainTimeoutMs: 300 });
    const client = await slowDownload(subject);
    subject.kill('SIGTERM');
    await subject.line(says('was killed'));
    expect((await subject.exited).code).toBe(0);
    client.destroy();
  });

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('a second %s ends at once, one that follows at its heels is the same', async (signal, code) => {
    const subject = await start(runtime, { drainTimeoutMs: 600_000 });
    const [worker] = await workersOf(subject, 1);
    const client = await slowDownload(subject);
    subject.kill(signal);
    await subject.line(says(signal));
    subject.kill(signal);
    await delay(700);
    expect(isAlive(worker ?? 0)).toBe(true);
    subject.kill(signal);
    expect((await subject.exited).code).toBe(code);
    await untilHolds(() => !isAlive(worker ?? 0));
    client.destroy();
  });

  test('workers end when their supervisor is killed', async () => {
    const subject = await start(runtime, { workers: 2 });
    const workers = await workersOf(subject, 40);
    subject.kill('SIGKILL');
    await subject.exited;
    while ([...workers].some(isAlive)) await delay(20);
  });

  test('SIGHUP replaces the workers while a download and requests go on', async () => {
    const subject = await start(runtime, { workers: 2 });
    const before = await workersOf(subject, 40);
    const client = await slowDownload(subject);
    let answered = 0;
    let failed = 0;
    const over = new AbortController();
    const asking = (async () => {
      while (!over.signal.aborted) {
        // On Node 20 a connection can be given to a worker in the moment that it stops to listen: nobody answers it.
        const response = await fetch(subject.url('/size'), {
          headers: { connection: 'close' },
          signal: AbortSignal.timeout(30_000),
        }).catch(() => undefined);
        if (response?.status === 200) answered += 1;
        else failed += 1;
      }
    })();
    subject.kill('SIGHUP');
    const replaced = () => subject.lines.filter(says('is replaced'));
    // No worker waits for the end of another one.
    await subject.line(() => replaced().length === 2);
    client.socket.resume();
    expect((await client.response())?.body).toHaveLength(64_000_000);
    while ([...before].some(isAlive)) await delay(20);
    over.abort();
    await asking;
    const after = await workersOf(subject, 40);
    expect([...after].filter((pid) => before.has(pid))).toEqual([]);
    expect(answered).toBeGreaterThan(0);
    expect(failed).toBeLessThanOrEqual(runtime === 'node20' ? Math.ceil(answered / 50) : 0);
    await stop(subject);
  });
});
