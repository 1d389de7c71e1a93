import { type Digest, isDigest, parseDigest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import { MAX_MANIFEST_BYTES } from '../oci/manifest.ts';
import { isTag, type RepositoryName, type Tag } from '../oci/name.ts';
import type { StoredManifest } from '../oci/registry.ts';
import { readLimited } from './body.ts';
import { entityTag, notModified, precondition } from './conditions.ts';
import { badParameter } from './errors.ts';
import {
  checkContentEncoding,
  checkDeletable,
  checkWritable,
  type Exchange,
  location,
  STALE,
} from './exchange.ts';

/** Tags of one push: all that fit into the answer's `OCI-Tag` header within the usual 8 KiB of headers. */
const MAX_TAGS = 46;

/** GET and HEAD `/v2/<name>/manifests/<reference>` (end-3). `Accept` is ignored: the stored bytes are the answer. */
export async function getManifest(
  exchange: Exchange,
  name: RepositoryName,
  reference: string,
): Promise<Response> {
  const { request, method, registry } = exchange;
  const { manifests } = registry.repository(name);
  const asked = readable(reference);
  const manifest: Omit<StoredManifest, 'bytes'> & { readonly bytes?: Uint8Array } =
    method === 'HEAD' && manifests.stat !== undefined
      ? await manifests.stat(asked)
      : await manifests.get(asked);
  const { digest } = manifest;
  const headers: Record<string, string> = {
    'Content-Type': manifest.mediaType,
    'Content-Length': String(manifest.size),
    'Docker-Content-Digest': digest,
    ETag: entityTag(digest),
    'Content-Security-Policy': 'sandbox',
    'X-Content-Type-Options': 'nosniff',
    'Docker-Distribution-Api-Version': 'registry/2.0',
    ...(manifest.stale === true ? STALE : {}),
  };
  if (notModified(request, digest)) {
    delete headers['Content-Length'];
    return new Response(null, { status: 304, headers });
  }
  return new Response(method === 'HEAD' ? null : (manifest.bytes ?? null), { headers });
}

/** A reference of a read: a bad tag is merely unknown (conformance asks for 404), a bad digest is said to be bad. */
export function readable(reference: string): Tag | Digest {
  if (isTag(reference)) return reference;
  if (reference.includes(':')) return parseDigest(reference);
  throw new RegistryError('MANIFEST_UNKNOWN', 'the manifest is not known to this repository', {
    detail: { reference: reference.slice(0, 256) },
  });
}

/** PUT `/v2/<name>/manifests/<reference>`, also with `?tag=` (end-7a, end-7b). */
export async function putManifest(
  exchange: Exchange,
  name: RepositoryName,
  reference: string,
): Promise<Response> {
  checkWritable(exchange);
  checkContentEncoding(exchange);
  const { request, query, registry } = exchange;
  const { digest, tags } = target(reference, query.all('tag'));
  const condition = precondition(request);
  const bytes = await readLimited(exchange, MAX_MANIFEST_BYTES);
  const { content, subject } = await registry.repository(name).manifests.put({
    bytes,
    mediaType: mediaTypeOf(request),
    tags,
    ...(digest === undefined ? {} : { digest }),
    ...(condition === undefined ? {} : { precondition: condition }),
  });
  return new Response(null, {
    status: 201,
    headers: {
      'Content-Length': '0',
      Location: location(exchange, `/v2/${name}/manifests/${content.digest}`),
      'Docker-Content-Digest': content.digest,
      ETag: entityTag(content.digest),
      ...(subject === undefined ? {} : { 'OCI-Subject': subject }),
      ...(digest === undefined || tags.length === 0 ? {} : { 'OCI-Tag': tags.join(', ') }),
    },
  });
}

/** What is pushed: to a tag, or by digest with any number of tags. */
function target(
  reference: string,
  parameters: readonly string[],
): { digest: Digest | undefined; tags: Tag[] } {
  if (isTag(reference)) {
    if (parameters.length > 0) throw badParameter('?tag= belongs to a push by digest, not to one by tag');
    return { digest: undefined, tags: [reference] };
  }
  if (!reference.includes(':')) throw invalidTag(reference);
  if (parameters.length > MAX_TAGS) {
    throw new RegistryError('UNSUPPORTED', `at most ${MAX_TAGS} tags can be pushed at once`, { status: 414 });
  }
  const tags = parameters.map((tag) => {
    if (!isTag(tag)) throw invalidTag(tag);
    return tag;
  });
  return { digest: parseDigest(reference), tags: [...new Set(tags)] };
}

function invalidTag(tag: string): RegistryError {
  return new RegistryError('MANIFEST_INVALID', 'the tag is not valid', {
    detail: { tag: tag.slice(0, 256) },
  });
}

/** The client's media type without parameters; undefined when it sent none. */
function mediaTypeOf(request: Request): string | undefined {
  const type = request.headers.get('content-type')?.split(';')[0]?.trim();
  return type === '' ? undefined : type;
}

/** DELETE `/v2/<name>/manifests/<reference>` (end-9): a tag alone, or a manifest with all its tags. */
export async function deleteManifest(
  exchange: Exchange,
  name: RepositoryName,
  reference: string,
): Promise<Response> {
  checkDeletable(exchange);
  const repository = exchange.registry.repository(name);
  const what = readable(reference);
  if (isDigest(what)) {
    const tags = await repository.manifests.delete(what);
    exchange.note({
      event: 'delete',
      repository: name,
      reference: what,
      ...(tags.length === 0 ? {} : { detail: `with ${tags.length} tags: ${tags.join(', ')}` }),
    });
  } else await repository.tags.delete(what);
  return new Response(null, { status: 202, headers: { 'Content-Length': '0' } });
}
