import { createHash } from 'node:crypto';

/** SHA-256 of a certificate's DER, in pairs of hexadecimal digits with colons, as openssl writes it. */
export function fingerprintOf(der: ArrayBuffer | Uint8Array): string {
  const hex = createHash('sha256').update(new Uint8Array(der)).digest('hex').toUpperCase();
  return (hex.match(/../g) ?? []).join(':');
}
