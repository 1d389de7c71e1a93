import { createHash } from 'node:crypto';

/** The media types that a pull accepts; `docker-registry` answers 404 for those that are not named. */
export const ACCEPT = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ');

/** What of a manifest the tests look into. */
export interface ManifestDocument {
  readonly mediaType?: string;
  readonly config?: { readonly digest: string; readonly size: number };
  readonly layers?: readonly { readonly digest: string; readonly size: number }[];
  readonly manifests?: readonly { readonly digest: string; readonly size: number }[];
  readonly subject?: { readonly digest: string };
}

/**
 * A request to a registry whose status must be one of those expected.
 * @throws Error with the answer's status and body when it is not
 */
export async function ask(
  url: string,
  path: string,
  expected: number | readonly number[],
  init: RequestInit = {},
): Promise<Response> {
  const answer = await fetch(new URL(path, url), { redirect: 'manual', ...init });
  const statuses = typeof expected === 'number' ? [expected] : expected;
  if (statuses.includes(answer.status)) return answer;
  throw new Error(
    `${init.method ?? 'GET'} ${path} answered ${answer.status}, not ${statuses.join(' or ')}: ${await answer.text()}`,
  );
}

/** The body as JSON of the given shape, which is not checked. */
export async function jsonOf<T>(answer: Response): Promise<T> {
  const value: T = JSON.parse(await answer.text());
  return value;
}

/** Where an upload goes on: the Location header as an absolute URL. @throws Error when there is none */
export function locationOf(answer: Response): URL {
  const location = answer.headers.get('location');
  if (location === null) throw new Error(`${answer.url} answered without Location`);
  return new URL(location, answer.url);
}

/** The location with `digest=` added, as the closing PUT names it. */
export function closing(location: URL, digest: string): string {
  const url = new URL(location);
  url.searchParams.set('digest', digest);
  return url.href;
}

/** Pushes a blob by POST and PUT and returns its digest. */
export async function pushBlob(
  url: string,
  repository: string,
  bytes: Uint8Array<ArrayBuffer>,
  algorithm: 'sha256' | 'sha512' = 'sha256',
): Promise<string> {
  const digest = digestBy(algorithm, bytes);
  const begun = await ask(url, `/v2/${repository}/blobs/uploads/`, 202, { method: 'POST' });
  await ask(url, closing(locationOf(begun), digest), 201, { method: 'PUT', body: bytes });
  return digest;
}

/** Pushes a manifest (a value, which is written as JSON) under a tag or digest, and returns its digest. */
export async function pushManifest(
  url: string,
  repository: string,
  reference: string | undefined,
  document: { readonly mediaType: string; readonly [key: string]: unknown },
): Promise<{ digest: string; size: number; answer: Response }> {
  const bytes = Buffer.from(JSON.stringify(document));
  const digest = digestBy('sha256', bytes);
  const answer = await ask(url, `/v2/${repository}/manifests/${reference ?? digest}`, 201, {
    method: 'PUT',
    headers: { 'content-type': document.mediaType },
    body: bytes,
  });
  return { digest, size: bytes.length, answer };
}

/** The exact bytes of a manifest, its digest as computed from them, and its type. */
export async function pullManifest(
  url: string,
  repository: string,
  reference: string,
): Promise<{ bytes: Buffer; digest: string; mediaType: string; document: ManifestDocument }> {
  const path = `/v2/${repository}/manifests/${reference}`;
  const answer = await ask(url, path, 200, { headers: { accept: ACCEPT } });
  const bytes = Buffer.from(await answer.arrayBuffer());
  const document: ManifestDocument = JSON.parse(bytes.toString());
  return {
    bytes,
    digest: digestBy('sha256', bytes),
    mediaType: answer.headers.get('content-type') ?? '',
    document,
  };
}

/**
 * Pulls a tag with all that it refers to and compares every digest and size with the bytes.
 * @returns the digests of all that was pulled, in order, without repetition
 * @throws Error when something is missing or is not what its digest says
 */
export async function verifyImage(url: string, repository: string, reference: string): Promise<string[]> {
  const seen = new Set<string>();
  const manifests = [reference];
  for (let next = manifests.pop(); next !== undefined; next = manifests.pop()) {
    const { digest, document } = await pullManifest(url, repository, next);
    if (next.includes(':') && digest !== next) throw new Error(`${repository}@${next} is in truth ${digest}`);
    if (seen.has(digest)) continue;
    seen.add(digest);
    manifests.push(...(document.manifests ?? []).map((child) => child.digest));
    const blobs = [...(document.config === undefined ? [] : [document.config]), ...(document.layers ?? [])];
    for (const blob of blobs) {
      if (seen.has(blob.digest)) continue;
      seen.add(blob.digest);
      await verifyBlob(url, repository, blob);
    }
  }
  return [...seen].sort();
}

/** Streams a blob and compares it with its descriptor. @throws Error when it differs */
export async function verifyBlob(
  url: string,
  repository: string,
  blob: { readonly digest: string; readonly size: number },
): Promise<void> {
  const answer = await ask(url, `/v2/${repository}/blobs/${blob.digest}`, 200);
  const hash = createHash(blob.digest.split(':')[0] ?? 'sha256');
  let size = 0;
  for await (const piece of answer.body ?? []) {
    hash.update(piece);
    size += piece.length;
  }
  const found = `${blob.digest.split(':')[0]}:${hash.digest('hex')}`;
  if (found !== blob.digest || size !== blob.size) {
    throw new Error(`${repository}@${blob.digest} (${blob.size} bytes) came as ${found} (${size} bytes)`);
  }
}

/** `algorithm:` and the hexadecimal sum. */
export function digestBy(algorithm: 'sha256' | 'sha512', bytes: Uint8Array): string {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
}
