import { RegistryError } from '../oci/errors.ts';
import type { Exchange } from './exchange.ts';
import { StallWatch } from './stall-watch.ts';

/**
 * Reads a small body whole. The limit holds while it streams, so that a body without end costs no more memory
 * than the limit (CVE-2017-11468).
 * @throws RegistryError `MANIFEST_INVALID` with 413 above `limit` bytes
 */
export async function readLimited({ request, connection }: Exchange, limit: number): Promise<Uint8Array> {
  if (Number(request.headers.get('content-length') ?? 0) > limit) throw tooLarge(limit);
  if (request.body === null) return new Uint8Array();
  connection.liftIdleLimit();
  const watch = new StallWatch();
  const reader = request.body.getReader();
  const abort = () => void reader.cancel().catch(() => undefined);
  watch.signal.addEventListener('abort', abort, { once: true });
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.byteLength;
      if (size > limit) {
        abort();
        throw tooLarge(limit);
      }
      chunks.push(value);
      watch.progress();
    }
    watch.signal.throwIfAborted();
  } finally {
    watch.stop();
  }
  const [only] = chunks;
  return chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks, size);
}

function tooLarge(limit: number): RegistryError {
  return new RegistryError('MANIFEST_INVALID', `the manifest is larger than ${limit} bytes`, {
    status: 413,
    detail: { limit },
    headers: { Connection: 'close' },
  });
}
