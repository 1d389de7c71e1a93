import { type Digest, parseAlgorithm, parseDigest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import { isRepositoryName, type RepositoryName } from '../oci/name.ts';
import type { Chunk, Content, UploadStatus } from '../oci/registry.ts';
import { checkContentEncoding, checkWritable, type Exchange, location, mayPull } from './exchange.ts';
import { StallWatch } from './stall-watch.ts';

/** POST `/v2/<name>/blobs/uploads/`: begins an upload, or mounts, or takes the whole blob (end-4a, 4b, 4c, 11). */
export async function startUpload(exchange: Exchange, name: RepositoryName): Promise<Response> {
  checkWritable(exchange);
  checkContentEncoding(exchange);
  const { query, registry } = exchange;
  const mount = query.one('mount');
  const digest = query.one('digest');
  const algorithm = query.one('digest-algorithm');
  const { uploads, blobs } = registry.repository(name);
  if (mount !== undefined) {
    const from = query.one('from');
    const content = await blobs.mount(parseDigest(mount), {
      ...sourceOf(from),
      mayPull: from === undefined || isRepositoryName(from) ? mayPull(exchange) : never,
      signal: exchange.request.signal,
    });
    if (content !== undefined) return created(exchange, name, content);
  } else if (digest !== undefined) {
    const whole = parseDigest(digest);
    const { id } = await uploads.start();
    try {
      return await finish(exchange, name, id, whole);
    } catch (error) {
      await uploads.cancel(id).catch(() => undefined); // the client was never told of this upload
      throw error;
    }
  }
  const status = await uploads.start(algorithm === undefined ? {} : { algorithm: parseAlgorithm(algorithm) });
  return accepted(exchange, name, status, 202);
}

function sourceOf(from: string | undefined): { from?: RepositoryName } {
  return from !== undefined && isRepositoryName(from) ? { from } : {};
}

/** A `from` that is no name names nothing: the answer is that of any other source that has not the blob. */
function never(): Promise<boolean> {
  return Promise.resolve(false);
}

/** GET `<upload>`: how much has arrived (end-13). The location may be one from before the last chunk. */
export async function getUpload(exchange: Exchange, name: RepositoryName, id: string): Promise<Response> {
  checkState(exchange, name, id);
  const status = await exchange.registry.repository(name).uploads.status(id);
  return accepted(exchange, name, status, 204);
}

/** PATCH `<upload>`: the next chunk, or with no `Content-Range` whatever comes next (end-5). */
export async function patchUpload(exchange: Exchange, name: RepositoryName, id: string): Promise<Response> {
  checkWritable(exchange);
  checkState(exchange, name, id);
  checkContentEncoding(exchange);
  const { uploads } = exchange.registry.repository(name);
  return inSession(exchange, name, id, async () => {
    const status = await withChunk(exchange, (chunk) => uploads.append(id, chunk));
    return accepted(exchange, name, status, 202);
  });
}

/** PUT `<upload>?digest=`: the last chunk, if any, and the end (end-6). */
export async function putUpload(exchange: Exchange, name: RepositoryName, id: string): Promise<Response> {
  checkWritable(exchange);
  checkState(exchange, name, id);
  checkContentEncoding(exchange);
  const given = exchange.query.one('digest');
  if (given === undefined) throw new RegistryError('DIGEST_INVALID', 'the closing request needs a ?digest=');
  const digest = parseDigest(given);
  return inSession(exchange, name, id, () => finish(exchange, name, id, digest));
}

async function finish(
  exchange: Exchange,
  name: RepositoryName,
  id: string,
  digest: Digest,
): Promise<Response> {
  const { uploads } = exchange.registry.repository(name);
  const content = await withChunk(exchange, (chunk) => uploads.finish(id, digest, chunk));
  return created(exchange, name, content);
}

/** DELETE `<upload>`: gives it up (end-14). */
export async function deleteUpload(exchange: Exchange, name: RepositoryName, id: string): Promise<Response> {
  checkWritable(exchange);
  checkState(exchange, name, id);
  await exchange.registry.repository(name).uploads.cancel(id);
  return new Response(null, { status: 204 });
}

function checkState({ query, settings }: Exchange, name: RepositoryName, id: string): void {
  settings.uploadState?.check(name, id, query.one('_state'));
}

/** Runs `work`; a chunk out of order is answered with where the session is, and the session goes on. */
async function inSession(
  exchange: Exchange,
  name: RepositoryName,
  id: string,
  work: () => Promise<Response>,
): Promise<Response> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof RegistryError) || error.status !== 416) throw error;
    const status = await exchange.registry.repository(name).uploads.status(id);
    throw new RegistryError(error.code, error.message, {
      status: 416,
      detail: { offset: status.offset },
      headers: progressHeaders(exchange, name, status),
    });
  }
}

/** Gives the request's body as a chunk to `work`, which may take as long as something arrives. */
async function withChunk<T>(exchange: Exchange, work: (chunk: Chunk) => Promise<T>): Promise<T> {
  const { request, connection, settings } = exchange;
  const range = contentRange(request);
  connection.liftIdleLimit();
  const watch = new StallWatch();
  const forget = settings.writes.onCut((error) => watch.cut(error));
  try {
    return await work({
      body: request.body,
      ...range,
      signal: watch.signal,
      onProgress: () => watch.progress(),
    });
  } finally {
    forget();
    watch.stop();
  }
}

/** What the request says of its body's place and size. @throws RegistryError 416 when that contradicts itself */
function contentRange(request: Request): { offset?: number; size?: number } {
  const length = request.headers.get('content-length');
  const size = length === null ? undefined : Number(length);
  const header = request.headers.get('content-range');
  if (header === null) return size === undefined ? {} : { size };
  const [, first, last] = /^([0-9]{1,15})-([0-9]{1,15})$/.exec(header) ?? [];
  if (first === undefined || last === undefined)
    throw outOfRange('Content-Range must be <first byte>-<last byte>');
  const offset = Number(first);
  const announced = Number(last) - offset + 1;
  if (announced < 0 || (size !== undefined && size !== announced)) {
    throw outOfRange('Content-Range and Content-Length do not agree');
  }
  return { offset, size: announced };
}

function outOfRange(message: string): RegistryError {
  return new RegistryError('BLOB_UPLOAD_INVALID', message, { status: 416 });
}

function progressHeaders(
  exchange: Exchange,
  name: RepositoryName,
  status: UploadStatus,
): Record<string, string> {
  const state = exchange.settings.uploadState?.sign(name, status);
  const query = state === undefined ? '' : `?_state=${state}`;
  return {
    Location: location(exchange, `/v2/${name}/blobs/uploads/${status.id}${query}`),
    // The last byte received; for none at all everybody answers 0-0, and "0--1" breaks clients.
    Range: `0-${Math.max(0, status.offset - 1)}`,
    'Docker-Upload-UUID': status.id,
  };
}

function accepted(exchange: Exchange, name: RepositoryName, status: UploadStatus, code: 202 | 204): Response {
  const headers = progressHeaders(exchange, name, status);
  if (code === 202) headers['Content-Length'] = '0';
  return new Response(null, { status: code, headers });
}

function created(exchange: Exchange, name: RepositoryName, { digest }: Content): Response {
  return new Response(null, {
    status: 201,
    headers: {
      'Content-Length': '0',
      Location: location(exchange, `/v2/${name}/blobs/${digest}`),
      'Docker-Content-Digest': digest,
    },
  });
}
