/** Conditional and range requests (RFC 9110 §13 and §14), with `"<digest>"` as the entity tag of all content. */
import { RegistryError } from '../oci/errors.ts';
import type { ByteRange, Content } from '../oci/registry.ts';

export function entityTag(digest: string): string {
  return `"${digest}"`;
}

/** Whether a list of entity tags names this digest; by weak comparison, which GET and HEAD ask for. */
function names(header: string, digest: string): boolean {
  const wanted = entityTag(digest);
  return header.split(',').some((entry) => {
    const tag = entry.trim();
    return tag === '*' || tag === wanted || tag === `W/${wanted}` || tag === digest;
  });
}

/** Whether the client has this content already (`If-None-Match`), so that the answer is 304. */
export function notModified(request: Request, digest: string): boolean {
  const header = request.headers.get('if-none-match');
  return header !== null && names(header, digest);
}

/**
 * The conditions of a PUT on a tag, as a check of the digest that the tag has at the moment (null: no tag).
 * @returns undefined when the request has none
 */
export function precondition(request: Request): ((current: string | null) => void) | undefined {
  const match = request.headers.get('if-match');
  const noneMatch = request.headers.get('if-none-match');
  if (match === null && noneMatch === null) return undefined;
  return (current) => {
    const held =
      (match === null || (current !== null && names(match, current))) &&
      (noneMatch === null || current === null || !names(noneMatch, current));
    if (held) return;
    throw new RegistryError('DENIED', 'the tag is not in the state that the request asks for', {
      status: 412,
      detail: { current },
    });
  };
}

/**
 * The single range that a request asks for; undefined when it asks for none, or for something that a server
 * may ignore: several ranges (CVE-2011-3192), another unit, or an `If-Range` of other content.
 * @throws RegistryError 416 for a range that is outside of the content
 */
export function requestedRange(request: Request, { digest, size }: Content): ByteRange | undefined {
  const header = request.headers.get('range');
  if (header === null) return undefined;
  const condition = request.headers.get('if-range');
  if (condition !== null && condition.trim() !== entityTag(digest)) return undefined;
  const found = /^bytes=([0-9]*)-([0-9]*)$/i.exec(header);
  if (found === null) return undefined;
  const [, first = '', last = ''] = found;
  if (first === '' && last === '') return undefined;
  if (first === '') {
    const length = Math.min(Number(last), size);
    if (length === 0) throw unsatisfiable(size);
    return { start: size - length, end: size };
  }
  const start = Number(first);
  const end = last === '' ? size : Math.min(Number(last) + 1, size);
  if (start >= size || end <= start) throw unsatisfiable(size);
  return { start, end };
}

function unsatisfiable(size: number): RegistryError {
  return new RegistryError('SIZE_INVALID', 'the range is outside of the content', {
    status: 416,
    headers: { 'Content-Range': `bytes */${size}` },
  });
}
