/** What `http.tls` means beside the certificate that it names first. */
import { resolve } from 'node:path';
import { CIPHER_SUITES, readCipherSuites } from './cipher-suites.ts';
import type { NamedCertificateConfig, TlsConfig } from './config.ts';
import { type Findings, printable } from './findings.ts';
import type { File } from './schema.ts';
import type { MapNode } from './tree.ts';

type Section = NonNullable<NonNullable<NonNullable<File['http']>['tls']>>;

const PATH = ['http', 'tls'] as const;

/** Certificates that are chosen by name, in the file's order. */
export function namedCertificates({ certificates }: Section): readonly NamedCertificateConfig[] {
  return (certificates ?? []).map(({ certificate, key, names }) => ({
    certificate: resolve(certificate),
    key: resolve(key),
    ...(names === null || names === undefined || names.length === 0 ? {} : { names }),
  }));
}

/** Which versions of TLS and which ciphers are spoken. */
export function spoken(
  { minimumtls, ciphersuites }: Section,
  root: MapNode,
  findings: Findings,
): Pick<TlsConfig, 'minimumVersion' | 'ciphers'> {
  const minimumVersion = minimumtls === 'tls1.3' ? 'tls1.3' : 'tls1.2';
  if (minimumtls === 'tls1.0' || minimumtls === 'tls1.1') {
    const text = `TLS 1.0 and 1.1 are broken (RFC 8996) and never spoken: it counts as tls1.2`;
    findings.warningAt(root, [...PATH, 'minimumtls'], text);
  }
  if (ciphersuites === null || ciphersuites === undefined || ciphersuites.length === 0)
    return { minimumVersion, ciphers: [] };
  const path = [...PATH, 'ciphersuites'];
  const choice = readCipherSuites(ciphersuites);
  for (const index of choice.unknown) {
    const found = printable(ciphersuites[index] ?? '');
    const known = CIPHER_SUITES.join(', ');
    findings.problemAt(root, [...path, index], `"${found}" is no cipher suite; there are ${known}`);
  }
  if (minimumVersion === 'tls1.3') {
    findings.warningAt(root, path, 'has no effect: the suites of TLS 1.3 are not chosen');
    return { minimumVersion, ciphers: [] };
  }
  if (choice.leftOut.length > 0)
    findings.warningAt(root, path, `${choice.leftOut.join(', ')}: never spoken, and left out`);
  if (choice.ciphers.length > 0 || choice.unknown.length > 0)
    return { minimumVersion, ciphers: choice.ciphers };
  if (!choice.hasTls13) findings.problemAt(root, path, 'leaves nothing that could be spoken');
  // A list without a suite of TLS 1.2 leaves TLS 1.3 alone.
  return { minimumVersion: 'tls1.3', ciphers: [] };
}
