import { parseDigest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { ByteRange, Content } from '../oci/registry.ts';
import { entityTag, notModified, requestedRange } from './conditions.ts';
import { checkDeletable, type Exchange } from './exchange.ts';

/** Content cannot change under its digest. */
const FOREVER = 'max-age=31536000';

/** GET and HEAD `/v2/<name>/blobs/<digest>` (end-2, end-10). */
export async function getBlob(
  exchange: Exchange,
  name: RepositoryName,
  reference: string,
): Promise<Response> {
  const { request, method, registry } = exchange;
  const digest = parseDigest(reference);
  const { blobs } = registry.repository(name);
  if (method === 'HEAD' || notModified(request, digest)) {
    const content = await blobs.stat(digest);
    const headers = headersOf(content, undefined);
    if (!notModified(request, digest)) return new Response(null, { headers });
    delete headers['Content-Length'];
    return new Response(null, { status: 304, headers });
  }
  const { content, range, body } = await blobs.open(
    digest,
    (content) => requestedRange(request, content),
    request.signal,
  );
  return new Response(body, { status: range === undefined ? 200 : 206, headers: headersOf(content, range) });
}

/**
 * A blob is whatever somebody pushed: `attachment`, `nosniff` and the sandbox keep a browser from running it
 * on our origin. The explicit disposition also keeps the runtime from telling the stored file's name.
 */
function headersOf(
  { digest, size, mediaType }: Content,
  range: ByteRange | undefined,
): Record<string, string> {
  const headers: Record<string, string> = {
    'Content-Type': mediaType,
    'Content-Length': String(range === undefined ? size : range.end - range.start),
    'Docker-Content-Digest': digest,
    ETag: entityTag(digest),
    'Accept-Ranges': 'bytes',
    'Cache-Control': FOREVER,
    'Content-Disposition': 'attachment',
    'Content-Security-Policy': 'sandbox',
    'X-Content-Type-Options': 'nosniff',
    'Docker-Distribution-Api-Version': 'registry/2.0',
  };
  if (range !== undefined) headers['Content-Range'] = `bytes ${range.start}-${range.end - 1}/${size}`;
  return headers;
}

/** DELETE `/v2/<name>/blobs/<digest>` (end-10): unlinks it from this repository. */
export async function deleteBlob(
  exchange: Exchange,
  name: RepositoryName,
  reference: string,
): Promise<Response> {
  checkDeletable(exchange);
  await exchange.registry.repository(name).blobs.delete(parseDigest(reference));
  return new Response(null, { status: 202, headers: { 'Content-Length': '0' } });
}
