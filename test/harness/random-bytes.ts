import { createCipheriv, createHash } from 'node:crypto';

/** Bytes that look random and follow from the seed alone. */
export function randomBytes(seed: string, length: number): Buffer<ArrayBuffer> {
  return Buffer.from(keystream(seed).update(Buffer.alloc(length)));
}

/** AES in counter mode over zeros: random enough, and faster than any disk. */
export function keystream(seed: string) {
  const key = createHash('sha256').update(seed).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
}
