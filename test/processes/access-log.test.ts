/** What is on standard output of a server, and when. */
import { expect, test } from 'bun:test';
import { constants, closeSync, openSync, readSync, writeSync } from 'node:fs';
import { entrepotCommand, type RunningRegistry } from '../harness/entrepot.ts';
import { startRegistry } from '../harness/running-registry.ts';
import { run } from '../harness/tools.ts';
import { untilHolds } from '../harness/waiting.ts';
import { createWorkspace } from '../harness/workspace.ts';

/** Longer than a line is gathered, in milliseconds. */
const GATHERED = 200;

/** Starts a server of one worker whose standard output is that pipe. */
async function startWithOutput(pipe: string): Promise<RunningRegistry> {
  const { command, args } = await entrepotCommand();
  const config = { log: { accesslog: { disabled: false } } };
  return startRegistry('entrepot', { config, env: { REGISTRY_HTTP_WORKERS: '1' } }, (file) => ({
    command: 'sh',
    args: ['-c', 'exec "$@" >"$0"', pipe, command, ...args, 'serve', file],
  }));
}

/** All that a pipe holds that nobody writes to any more, or at the moment. */
function readAll(fd: number): string {
  const parts: string[] = [];
  const buffer = Buffer.alloc(65_536);
  for (;;) {
    let size: number;
    try {
      size = readSync(fd, buffer);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return parts.join('');
      throw error;
    }
    if (size === 0) return parts.join('');
    parts.push(buffer.toString('latin1', 0, size));
  }
}

/** Writes to a pipe until no byte more is taken. */
function fill(pipe: string): void {
  const fd = openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK);
  try {
    for (let size = 65_536; size >= 1;) {
      try {
        writeSync(fd, Buffer.alloc(size, '.'));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
        size /= 2;
      }
    }
  } finally {
    closeSync(fd);
  }
}

/** Hands over a server whose output is full, and that has a line of its access log on its way to it. */
async function withFullOutput(look: (server: RunningRegistry, fd: number) => Promise<void>): Promise<void> {
  const workspace = await createWorkspace('access-log');
  const pipe = workspace.join('output');
  await run('mkfifo', [pipe]);
  const fd = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
  const server = await startWithOutput(pipe);
  try {
    await Bun.sleep(GATHERED); // what came at the start is written then
    fill(pipe);
    await (await fetch(`${server.url}/v2/?CANARY`)).arrayBuffer();
    await Bun.sleep(GATHERED);
    await look(server, fd);
  } finally {
    await server.dispose();
    closeSync(fd);
    await workspace.remove();
  }
}

test('a server that ends loses no line of its access log, though its reader comes late', async () => {
  await withFullOutput(async (server, fd) => {
    const ended = server.stop();
    await Bun.sleep(300);
    let output = '';
    const timer = setInterval(() => (output += readAll(fd)), 20);
    expect(await ended).toBe(0);
    clearInterval(timer);
    output += readAll(fd);
    expect(output.replaceAll('.', '')).toContain('"GET /v2/?CANARY HTTP/11" 200');
  });
});

test('lines that come while the reader has stopped are written when it goes on, and not with the next request', async () => {
  await withFullOutput(async (server, fd) => {
    for (let i = 0; i < 3; i += 1) {
      await (await fetch(`${server.url}/v2/?LATER`)).arrayBuffer();
      await Bun.sleep(100);
    }
    let output = '';
    await untilHolds(() => (output += readAll(fd)).split('LATER').length > 3);
  });
});

test('a server whose standard output cannot be written serves, and ends as it should', async () => {
  const server = await startWithOutput('/dev/full');
  try {
    expect((await fetch(`${server.url}/v2/`)).status).toBe(200);
    expect(await server.stop()).toBe(0);
    expect(server.logs()).not.toContain('ENOSPC');
  } finally {
    await server.dispose();
  }
});

test('a server ends although nobody reads its access log', async () => {
  await withFullOutput(async (server) => {
    expect(await server.stop()).toBe(0);
    expect(server.logs()).not.toContain('was killed');
  });
});
