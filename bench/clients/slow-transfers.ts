/**
 * Holds slow downloads and slow uploads open: `slow-transfers.ts ORIGIN REPOSITORY BLOB-DIGEST DOWNLOADS UPLOADS SECONDS`.
 * A process of its own. Counts the seconds from when every transfer has moved bytes; prints one JSON line (`SlowResult`).
 */
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { openUpload } from '../harness/http.ts';

/** A step of a transfer; one a `STEP_MS`. 4 KiB in 250 ms is 16 KiB/s: a phone on the train. */
const STEP_MS = 250;
const UPLOAD_STEP = Buffer.alloc(4096, 7);
/** A blob's length for the uploads' `Content-Length`: more than they will ever send. */
const UPLOAD_LENGTH = 64 * 1024 * 1024;

/** What the process prints last. */
export interface SlowResult {
  /** Transfers that the server was still serving at the end. */
  readonly alive: number;
  readonly transfers: number;
  readonly bytesDown: number;
  readonly bytesUp: number;
}

/** One transfer under way. */
interface SlowTransfer {
  readonly socket: Socket;
  bytes: number;
  open: boolean;
}

function openTransfer(origin: string, head: string): Promise<SlowTransfer> {
  const { hostname, port } = new URL(origin);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => {
      socket.write(head);
      resolve(transfer);
    });
    const transfer: SlowTransfer = { socket, bytes: 0, open: true };
    socket.once('error', reject);
    socket.once('close', () => (transfer.open = false));
    socket.once('end', () => (transfer.open = false));
  });
}

async function openDownload(origin: string, path: string): Promise<SlowTransfer> {
  const { host } = new URL(origin);
  const transfer = await openTransfer(origin, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  // One chunk a step: the rest waits in the kernel's buffers, and behind them the server.
  transfer.socket.on('data', (data) => {
    if (transfer.bytes === 0 && !data.toString('latin1', 0, 12).startsWith('HTTP/1.1 200'))
      transfer.open = false;
    transfer.bytes += data.length;
    transfer.socket.pause();
  });
  return transfer;
}

async function openSlowUpload(origin: string, repository: string): Promise<SlowTransfer> {
  const { host, pathname, search } = new URL(await openUpload(origin, repository));
  const transfer = await openTransfer(
    origin,
    `PATCH ${pathname}${search} HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/octet-stream\r\n` +
      `Content-Length: ${UPLOAD_LENGTH}\r\n\r\n`,
  );
  // Any answer before the body is whole is a refusal.
  transfer.socket.on('data', () => (transfer.open = false));
  return transfer;
}

async function main(argv: readonly string[]): Promise<void> {
  const [origin = '', repository = '', digest = '', downloadCount, uploadCount, seconds] = argv;
  const downloads: SlowTransfer[] = [];
  const uploads: SlowTransfer[] = [];
  const path = `/v2/${repository}/blobs/${digest}`;
  while (downloads.length < Number(downloadCount)) downloads.push(await openDownload(origin, path));
  while (uploads.length < Number(uploadCount)) uploads.push(await openSlowUpload(origin, repository));
  const all = [...downloads, ...uploads];
  const timer = setInterval(() => {
    for (const { socket } of downloads) socket.resume();
    for (const upload of uploads) {
      if (!upload.open) continue;
      upload.socket.write(UPLOAD_STEP);
      upload.bytes += UPLOAD_STEP.length;
    }
  }, STEP_MS);
  while (all.some((transfer) => transfer.open && transfer.bytes === 0)) await sleep(50);
  const end = performance.now() + Number(seconds) * 1000;
  while (performance.now() < end && all.some((transfer) => transfer.open)) await sleep(100);
  clearInterval(timer);
  const sum = (transfers: readonly SlowTransfer[]): number =>
    transfers.reduce((bytes, one) => bytes + one.bytes, 0);
  const result: SlowResult = {
    alive: all.filter((transfer) => transfer.open).length,
    transfers: all.length,
    bytesDown: sum(downloads),
    bytesUp: sum(uploads),
  };
  console.log(JSON.stringify(result));
  for (const { socket } of all) socket.destroy();
}

await main(process.argv.slice(2));
process.exit(0);
