/**
 * What is shown until a directory has signed something: TLS that nobody trusts, so that at least the port answers. To be
 * imported when it is needed: the X.509 library is large.
 */
import { PLACEHOLDER } from './acme-folder.ts';
import { ALGORITHM, exportKey, makeKeys, serial, x509 } from './x509.ts';

const HOUR = 3_600_000;
const LIFETIME = 7 * 24 * HOUR;

/** A self-signed certificate for the names and its key, in one PEM text. It holds for 7 days from `now` (milliseconds). */
export async function makePlaceholder(names: readonly string[], now = Date.now()): Promise<string> {
  const keys = await makeKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: PLACEHOLDER,
    serialNumber: serial(),
    notBefore: new Date(now - HOUR),
    notAfter: new Date(now + LIFETIME),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: 'dns', value }))),
    ],
  });
  return `${certificate.toString('pem')}\n${await exportKey(keys)}`;
}
