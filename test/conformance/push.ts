/** The ways to push, as steps of tests: each checks what the specification says of its answers. */
import { randomBytes } from 'node:crypto';
import { digestOf, expectHeader, expectStatus, expectThat } from './check.ts';
import { withQuery } from './client.ts';
import type { RequestHeaders } from './client.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import type { Exchange } from './exchange.ts';
import { TYPE } from './vocabulary.ts';
import type { Algorithm } from './vocabulary.ts';
import type { WireBody } from './wire.ts';

export interface Blob {
  readonly bytes: Uint8Array;
  readonly digest: string;
}

/** A blob that no registry has seen. */
export function newBlob(size = 1024, algorithm: Algorithm = 'sha256'): Blob {
  return blobOf(randomBytes(size), algorithm);
}

export function blobOf(content: Uint8Array | string, algorithm: Algorithm = 'sha256'): Blob {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  return { bytes, digest: digestOf(bytes, algorithm) };
}

/** Where an upload session is to be continued, as an answer says. */
export function locationOf(context: Context, answer: Exchange): string {
  return context.client.resolve(answer, expectHeader(answer, 'location'));
}

/** Begins an upload session: 202 and a Location, which is returned. */
export async function startUpload(
  context: Context,
  repository: string,
  query: Readonly<Record<string, string>> = {},
): Promise<string> {
  const answer = await context.send('POST', withQuery(path.uploads(repository), query), {
    headers: { 'Content-Length': '0' },
  });
  expectStatus(answer, 202);
  return locationOf(context, answer);
}

/** Sends a chunk with its range. */
export function patch(
  context: Context,
  location: string,
  bytes: Uint8Array,
  start: number,
): Promise<Exchange> {
  return context.send('PATCH', location, {
    headers: { 'Content-Type': TYPE.octets, 'Content-Range': `${start}-${start + bytes.length - 1}` },
    body: bytes,
  });
}

/** Closes a session with its last bytes, which may be none. */
export function finish(
  context: Context,
  location: string,
  digest: string,
  body?: WireBody,
  headers: RequestHeaders = {},
): Promise<Exchange> {
  const none = body === undefined ? { 'Content-Length': '0' } : { 'Content-Type': TYPE.octets };
  return context.send('PUT', withQuery(location, { digest }), {
    headers: { ...none, ...headers },
    ...(body === undefined ? {} : { body }),
  });
}

/** Pushes a blob by POST and PUT: 201. */
export async function pushBlob(context: Context, repository: string, blob: Blob): Promise<void> {
  const location = await startUpload(context, repository);
  const answer = await finish(context, location, blob.digest, blob.bytes);
  expectStatus(answer, 201);
}

/** `PUT`s a manifest, whatever comes of it. */
export function putManifest(
  context: Context,
  repository: string,
  reference: string,
  content: WireBody | string,
  mediaType: string = TYPE.image,
  headers: RequestHeaders = {},
): Promise<Exchange> {
  return context.send('PUT', path.manifest(repository, reference), {
    headers: { 'Content-Type': mediaType, ...headers },
    body: typeof content === 'string' ? Buffer.from(content) : content,
  });
}

/** Pushes a manifest by tag or digest: 201. */
export async function pushManifest(
  context: Context,
  repository: string,
  reference: string,
  content: Uint8Array | string,
  mediaType: string = TYPE.image,
): Promise<Exchange> {
  const answer = await putManifest(context, repository, reference, content, mediaType);
  expectStatus(answer, 201);
  return answer;
}

/** The blob must be readable, whole and under its digest. */
export async function expectBlobStored(context: Context, repository: string, blob: Blob): Promise<void> {
  const answer = await context.get(path.blob(repository, blob.digest));
  expectStatus(answer, 200);
  expectThat(Buffer.compare(answer.body, blob.bytes) === 0, 'exactly the bytes that were pushed', answer);
}

/** The blob must not be there. */
export async function expectBlobMissing(context: Context, repository: string, digest: string): Promise<void> {
  expectStatus(await context.head(path.blob(repository, digest)), 404);
}
