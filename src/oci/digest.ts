import { RegistryError } from './errors.ts';

/** A content digest `algorithm:encoded` whose algorithm this registry can compute and whose form is right. */
export type Digest = string & { readonly __digest: true };

/** The algorithms that content may be stored under (image-spec, descriptor.md, "Registered Algorithms"). */
export type Algorithm = 'sha256' | 'sha512';

/** Length of the encoded part, in hexadecimal characters. */
const HEX_LENGTH: Readonly<Record<Algorithm, number>> = { sha256: 64, sha512: 128 };

const SUPPORTED = /^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$/;

/** The grammar of image-spec descriptor.md, for digests that are only carried and never stored under. */
const WELL_FORMED = /^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/;

/** Whether `text` is a digest that content can be stored under. */
export function isDigest(text: string): text is Digest {
  return text.length <= 135 && SUPPORTED.test(text);
}

/**
 * Whether `text` may stand in a descriptor: a known algorithm with exactly its length in lower-case
 * hexadecimal, or an unknown algorithm of the right form (image-spec: implementations SHOULD let those pass).
 */
export function isDescriptorDigest(text: string): boolean {
  if (text.length > 1024 || !WELL_FORMED.test(text)) return false;
  return /^sha(?:256|512):/.test(text) ? isDigest(text) : true;
}

/**
 * Reads a digest that a client sent.
 * @throws RegistryError `DIGEST_INVALID` when it is malformed or of an algorithm we cannot compute.
 */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  throw new RegistryError('DIGEST_INVALID', 'the digest is malformed or its algorithm is not supported', {
    detail: { digest: text.slice(0, 256), supported: Object.keys(HEX_LENGTH) },
  });
}

/** Reads the name of a digest algorithm. @throws RegistryError `DIGEST_INVALID` for one we cannot compute. */
export function parseAlgorithm(text: string): Algorithm {
  if (text === 'sha256' || text === 'sha512') return text;
  throw new RegistryError('DIGEST_INVALID', 'the digest algorithm is not supported', {
    detail: { algorithm: text.slice(0, 64), supported: Object.keys(HEX_LENGTH) },
  });
}

/** The digest made of an algorithm and the lower-case hexadecimal form of its sum. */
export function digestOf(algorithm: Algorithm, hex: string): Digest {
  return `${algorithm}:${hex}` as Digest;
}

/** The part before the colon. */
export function algorithmOf(digest: Digest): Algorithm {
  return digest.startsWith('sha512') ? 'sha512' : 'sha256';
}

/** The part after the colon: lower-case hexadecimal. */
export function hexOf(digest: Digest): string {
  return digest.slice(7);
}
