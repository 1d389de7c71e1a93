import type { ServerResponse } from 'node:http';
import { open } from 'node:fs/promises';
import type { FileSlice } from './response-source.ts';
import { fileSliceOf, sizeOf, sourceOf } from './response-source.ts';

/** Bytes of a file that are read at once. Smaller ones cost up to twice the time, larger ones only memory. */
const FILE_CHUNK = 256 * 1024;

/** Bytes of a `Blob` of unknown origin that are read at once. */
const BLOB_CHUNK = 1024 * 1024;

/**
 * Sends a web `Response` by node:http. Resolves when the last byte is handed over, or the client has left.
 * @throws what reading the body threw, and an error when the body is not of the announced length; the connection
 *   must be ended then, as it is the only way to tell the client
 */
export async function sendResponse(
  response: Response,
  outgoing: ServerResponse,
  head: boolean,
): Promise<void> {
  const { status } = response;
  const source = sourceOf(response);
  const bodiless = head || status === 204 || status === 304;
  const headers: string[] = [];
  let announced: number | undefined;
  for (const [name, value] of response.headers) {
    if (name === 'content-length') {
      if (status === 204) continue;
      announced = Number(value);
    }
    headers.push(name, value);
  }
  if (announced === undefined && status !== 204 && status !== 304) {
    announced = source === undefined ? (response.body === null ? 0 : undefined) : sizeOf(source);
    if (announced !== undefined) headers.push('content-length', String(announced));
  }
  outgoing.writeHead(status, headers);
  if (bodiless || response.body === null) {
    if (source === undefined) await response.body?.cancel();
    if (!bodiless && announced !== undefined && announced > 0) throw wrongLength(0, announced);
    outgoing.end();
    return;
  }
  if (typeof source === 'string' || source instanceof Uint8Array) {
    if (announced !== sizeOf(source)) throw wrongLength(sizeOf(source), announced);
    outgoing.end(source);
    return;
  }
  const file = source instanceof Blob ? fileSliceOf(source) : undefined;
  let sent: number;
  if (file !== undefined) sent = await sendFile(file, outgoing);
  else if (source instanceof Blob) sent = await sendBlob(source, outgoing);
  else sent = await sendStream(response.body, outgoing, announced);
  if (announced !== undefined && sent !== announced && !outgoing.destroyed)
    throw wrongLength(sent, announced);
  outgoing.end();
}

function wrongLength(sent: number, announced: number | undefined): Error {
  return new Error(`the body of a response has ${sent} bytes and not the announced ${announced}`);
}

/** Reads one half ahead while the other is being sent. */
async function sendFile(slice: FileSlice, outgoing: ServerResponse): Promise<number> {
  const file = await open(slice.path);
  try {
    const length = Math.min(FILE_CHUNK, slice.end - slice.start);
    let ready = Buffer.allocUnsafeSlow(length);
    let spare = Buffer.allocUnsafeSlow(length);
    let position = slice.start;
    const fill = async (buffer: Buffer): Promise<Buffer> => {
      const { bytesRead } = await file.read(buffer, 0, Math.min(length, slice.end - position), position);
      position += bytesRead;
      return buffer.subarray(0, bytesRead);
    };
    let sent = 0;
    let next = await fill(ready);
    while (next.length > 0 && !outgoing.destroyed) {
      const written = write(outgoing, next);
      sent += next.length;
      const [following] = await Promise.all([fill(spare), written]);
      next = following;
      [ready, spare] = [spare, ready];
    }
    return sent;
  } finally {
    await file.close();
  }
}

async function sendBlob(blob: Blob, outgoing: ServerResponse): Promise<number> {
  let sent = 0;
  while (sent < blob.size && !outgoing.destroyed) {
    const chunk = new Uint8Array(await blob.slice(sent, sent + BLOB_CHUNK).arrayBuffer());
    if (chunk.length === 0) break;
    sent += chunk.length;
    await write(outgoing, chunk);
  }
  return sent;
}

async function sendStream(
  body: ReadableStream<Uint8Array>,
  outgoing: ServerResponse,
  announced: number | undefined,
): Promise<number> {
  const reader = body.getReader();
  // Also wakes a body that is waiting for its next bytes.
  const left = (): void => void reader.cancel().catch(() => undefined);
  outgoing.once('close', left);
  try {
    let sent = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done || outgoing.destroyed) return sent;
      sent += value.length;
      // What is too much must not be taken for the next response.
      if (announced !== undefined && sent > announced) throw wrongLength(sent, announced);
      await write(outgoing, value);
    }
  } finally {
    outgoing.off('close', left);
    if (outgoing.destroyed) left();
  }
}

/** Resolves when the bytes have left for the kernel, or can no more because the client has left. */
function write(outgoing: ServerResponse, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    // The callback is called with an error when the connection ends; the caller sees it by `destroyed`.
    outgoing.write(chunk, () => resolve());
  });
}
