/**
 * A client that is still sending when it is refused reads why: its connection is not broken under it. Each of these
 * clients writes all that it has before it reads, as simple ones do.
 */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { connect } from 'node:net';
import { once } from 'node:events';
import { type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { pause } from '../harness/waiting.ts';

/** More than the buffers of both ends take. */
const SIZE = 12 * 1024 * 1024;

let open: RunningRegistry;
let closed: RunningRegistry;
beforeAll(async () => {
  open = await startEntrepot();
  closed = await startEntrepot({ config: { auth: { silly: { realm: 'test', service: 'test' } } } });
});
afterAll(async () => {
  await open.dispose();
  await closed.dispose();
});

/** Sends a body whole, and then reads. On a machine that is too busy it may be silent for too long: then once more. */
async function sendAll(...given: Parameters<typeof sendOnce>): Promise<string> {
  for (let attempt = 1; ; attempt += 1) {
    const said = await sendOnce(...given);
    if (said.startsWith('HTTP/') || attempt === 5) return said;
  }
}

/** @returns the status line, or how the connection broke */
async function sendOnce(
  registry: RunningRegistry,
  method: string,
  target: string,
  headers: readonly string[],
  { size = SIZE, piece = 1024 * 1024, pause: every = 0 } = {},
): Promise<string> {
  const { hostname, port } = new URL(registry.url);
  const socket = connect({ host: hostname, port: Number(port) });
  const broken: Error[] = [];
  socket.on('error', (error) => broken.push(error));
  await once(socket, 'connect');
  const head = [`${method} ${target} HTTP/1.1`, 'Host: localhost', 'Connection: close', ...headers];
  socket.write(`${head.join('\r\n')}\r\nContent-Length: ${size}\r\n\r\n`);
  const bytes = Buffer.alloc(piece);
  for (let sent = 0; sent < size && broken.length === 0; sent += piece) {
    await new Promise<void>((resolve) => void socket.write(bytes, () => resolve()));
    if (every > 0) await pause(every);
  }
  if (broken[0] !== undefined) return broken[0].message;
  let text = '';
  for await (const more of socket) text += String(more);
  return text.split('\r\n')[0] ?? '';
}

async function uploadOf(registry: RunningRegistry): Promise<string> {
  const answer = await fetch(`${registry.url}/v2/a/b/blobs/uploads/`, { method: 'POST' });
  return new URL(answer.headers.get('location') ?? '', registry.url).pathname;
}

test('a chunk out of order', async () => {
  const range = [`Content-Range: 5-${SIZE + 4}`];
  expect(await sendAll(open, 'PATCH', await uploadOf(open), range)).toStartWith('HTTP/1.1 416');
});

test('an upload that is not known', async () => {
  const target = '/v2/a/b/blobs/uploads/5fd2b1b0-13a5-4c8a-9d7e-0f5c1f8a2b11';
  expect(await sendAll(open, 'PATCH', target, [])).toStartWith('HTTP/1.1 404');
});

test('a small body that comes slowly', async () => {
  const target = '/v2/a/b/blobs/uploads/5fd2b1b0-13a5-4c8a-9d7e-0f5c1f8a2b11';
  const slow = { size: 100_000, piece: 4000, pause: 200 };
  expect(await sendAll(open, 'PATCH', target, [], slow)).toStartWith('HTTP/1.1 404');
});

test('a digest that is none', async () => {
  expect(await sendAll(open, 'PUT', `${await uploadOf(open)}?digest=none`, [])).toStartWith('HTTP/1.1 400');
});

test('a place where nothing is', async () => {
  expect(await sendAll(open, 'PUT', '/nothing/here', [])).toStartWith('HTTP/1.1 404');
});

test('somebody who is not logged in', async () => {
  const target = '/v2/a/b/blobs/uploads/5fd2b1b0-13a5-4c8a-9d7e-0f5c1f8a2b11';
  expect(await sendAll(closed, 'PATCH', target, [])).toStartWith('HTTP/1.1 401');
});

test('one who never comes to an end is let go', async () => {
  const target = '/v2/a/b/blobs/uploads/5fd2b1b0-13a5-4c8a-9d7e-0f5c1f8a2b11';
  const size = Number.MAX_SAFE_INTEGER;
  // Also one so slow that its bytes would be read to their end, if there was one.
  const slow = { size, piece: 4000, pause: 200 };
  const each = [{ size }, slow].map((how) => sendOnce(open, 'PATCH', target, [], how));
  for (const said of await Promise.all(each)) expect(said).toMatch(/EPIPE|ECONNRESET/);
});
