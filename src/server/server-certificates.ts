/** Which of several certificates a client is shown: by the name that it asks for (SNI, RFC 6066 §3). */
import type { ServerCertificate, ServerCertificates } from './listener.ts';

/** The number of TLS 1.3 on the wire (RFC 8446 §4.1.2). */
export const TLS_1_3 = 0x0304;

/** Each name in lower case, with the first certificate that has it. */
export type CertificateNames<T = ServerCertificate> = ReadonlyMap<string, T>;

/** Those that are chosen by name; the default one has an entry only where it is among them. */
export function namesOf({ named = [] }: ServerCertificates): CertificateNames {
  const found = new Map<string, ServerCertificate>();
  for (const { names, certificate, key } of named) {
    for (const name of names) {
      const lower = name.toLowerCase();
      if (!found.has(lower)) found.set(lower, { certificate, key });
    }
  }
  return found;
}

/**
 * What goes with the name that a client asks for: an entry for itself, before one for its wildcard, which stands for one
 * label (RFC 6125 §6.4.3). As Bun's server does it by itself.
 */
export function forName<T>(names: CertificateNames<T>, asked: string): T | undefined {
  const lower = asked.toLowerCase();
  return names.get(lower) ?? names.get(lower.replace(/^[^.]*/, '*'));
}
