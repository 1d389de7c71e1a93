/** Many slow transfers at once cost little memory and are all served. That stalled ones end is in test/security. */
import { connect, type Socket } from 'node:net';
import { expect, test } from 'bun:test';
import { pause } from '../harness/waiting.ts';
import { startEntrepot } from '../harness/entrepot.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { ask, closing, digestBy, locationOf, pushBlob } from '../harness/registry-client.ts';
import { childrenOf, residentBytes } from './worker-pids.ts';

/** The aim is 80 MiB; the rest is for allocators and for what other tests in the machine do to them. */
const MEMORY_LIMIT = 120 * 1024 * 1024;
const DOWNLOADS = 100;
const UPLOADS = 100;
const UPLOAD_BYTES = 1_000_000;
const PIECE = 4096;
const STEPS = 20;

interface Transfer {
  readonly socket: Socket;
  bytes: number;
  open: boolean;
}

async function open(host: string, head: string): Promise<Transfer> {
  const [address = '', port = ''] = host.split(':');
  const socket = connect(Number(port), address);
  const transfer: Transfer = { socket, bytes: 0, open: true };
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve).once('error', reject);
  });
  socket.on('close', () => (transfer.open = false));
  socket.on('error', () => (transfer.open = false));
  socket.write(head);
  return transfer;
}

test(`${DOWNLOADS} slow downloads and ${UPLOADS} slow uploads: all go on, in little memory`, async () => {
  const registry = await startEntrepot({ workers: 1 });
  const large = randomBytes('large', 48 * 1024 * 1024);
  const digest = await pushBlob(registry.url, 'slow', large);
  const [worker = -1] = childrenOf(registry.pid);
  const downloads: Transfer[] = [];
  for (let i = 0; i < DOWNLOADS; i += 1) {
    const transfer = await open(registry.host, `GET /v2/slow/blobs/${digest} HTTP/1.1\r\nHost: x\r\n\r\n`);
    transfer.socket.on('data', (data) => {
      transfer.bytes += data.length;
      transfer.socket.pause();
    });
    downloads.push(transfer);
  }
  const content = randomBytes('slow upload', UPLOAD_BYTES);
  const uploads: (Transfer & { location: URL })[] = [];
  for (let i = 0; i < UPLOADS; i += 1) {
    const begun = await ask(registry.url, '/v2/slow/blobs/uploads/', 202, { method: 'POST' });
    const location = locationOf(begun);
    const transfer = await open(
      registry.host,
      `PATCH ${location.pathname} HTTP/1.1\r\nHost: x\r\nContent-Length: ${UPLOAD_BYTES}\r\n\r\n`,
    );
    uploads.push(Object.assign(transfer, { location }));
  }
  let most = 0;
  for (let step = 0; step < STEPS; step += 1) {
    for (const { socket } of downloads) socket.resume();
    for (const upload of uploads) {
      // From half of them a byte at a time, as by a very bad line.
      const size = upload.socket.localPort !== undefined && upload.socket.localPort % 2 === 0 ? 1 : PIECE;
      upload.socket.write(content.subarray(upload.bytes, upload.bytes + size));
      upload.bytes += size;
    }
    await pause(100);
    most = Math.max(most, residentBytes(worker));
    await ask(registry.url, `/v2/slow/blobs/${digest}`, 200, { method: 'HEAD' });
  }
  expect(downloads.filter((one) => one.open && one.bytes > 0)).toHaveLength(DOWNLOADS);
  expect(uploads.filter((one) => one.open)).toHaveLength(UPLOADS);
  expect(most).toBeLessThan(MEMORY_LIMIT);

  // Each of the uploads is whole in the end, however its bytes came.
  for (const { socket } of downloads) socket.destroy();
  const finished = uploads.slice(0, 20);
  for (const { socket } of uploads.slice(20)) socket.destroy();
  await Promise.all(
    finished.map(async (upload) => {
      const answered = new Promise<string>((resolve) => {
        upload.socket.once('data', (data) => resolve(data.toString()));
      });
      upload.socket.write(content.subarray(upload.bytes));
      expect(await answered).toStartWith('HTTP/1.1 202');
      upload.socket.destroy();
      const put = closing(upload.location, digestBy('sha256', content));
      await ask(registry.url, put, 201, { method: 'PUT' });
    }),
  );
  expect(childrenOf(registry.pid)).toEqual([worker]);
  await registry.dispose();
}, 300_000);
