/** The X.509 library, made ready, and what all that we sign has in common. Large: import what needs it when it is needed. */
import { webcrypto } from 'node:crypto';

// Awaited one after the other: in one bundle the order of plain imports is lost, and x509 needs the first to be there.
await import('reflect-metadata');
const library = await import('@peculiar/x509');
library.cryptoProvider.set(webcrypto as Crypto);

/** `@peculiar/x509`, which signs by the runtime's own WebCrypto. */
export const x509 = library;

/** Keys and signatures: what every client of today understands. */
export const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** A new pair of keys that can be exported. */
export function makeKeys(): Promise<CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

/** The private key as PEM (PKCS #8). */
export async function exportKey({ privateKey }: CryptoKeyPair): Promise<string> {
  const der = await webcrypto.subtle.exportKey('pkcs8', privateKey);
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN PRIVATE KEY-----\n${lines.join('\n')}\n-----END PRIVATE KEY-----\n`;
}

/** 127 bits at random: positive, and never used twice (RFC 5280 §4.1.2.2). */
export function serial(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x01;
  return Buffer.from(bytes).toString('hex');
}
