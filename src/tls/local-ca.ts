/**
 * An authority of our own, for networks in which no public one signs: a root that people trust once, and a certificate
 * for every name and address by which this host is reached.
 *
 *     <folder>/root.key, root.crt        the authority; PEM. Made once, never replaced
 *     <folder>/server.key, server.crt    what the server shows, with the root behind it; made anew when it has to be
 */
import { createPrivateKey, X509Certificate as NodeCertificate } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { X509Certificate } from '@peculiar/x509';
import { withFileLock } from '../file-lock.ts';
import { fingerprintOf } from './fingerprint.ts';
import { readText, tighten, writeText } from './key-files.ts';
import { BACKDATED, openRoot, presentRoot, type Root } from './local-root.ts';
import { isPermitted } from './name-constraints.ts';
import { ALGORITHM, exportKey, makeKeys, serial, x509 } from './x509.ts';

export { RootLost } from './local-root.ts';

const DAY = 24 * 3_600_000;
/** Apple's programs take none of more than 398 days. */
const LEAF_DAYS = 397;
/** Longer than a lock of another machine counts, in milliseconds: a start after a crash there is to go on. */
const WAIT_FOR_OTHERS = 45_000;

export interface LocalCertificate {
  readonly certificateFile: string;
  readonly keyFile: string;
  /** PEM. */
  readonly root: string;
  /** SHA-256 of the root, in pairs of hexadecimal digits with colons. */
  readonly fingerprint: string;
  readonly names: readonly string[];
  /** Whether the root, and whether the certificate, was made just now. */
  readonly isNewRoot: boolean;
  readonly isNew: boolean;
}

export interface LocalCaOptions {
  readonly folder: string;
  /**
   * DNS names and IP addresses that the certificate is for, those left out that the authority may not sign for: one of
   * them, and clients would refuse the whole certificate.
   */
  readonly names: readonly string[];
  /** What of DNS the authority may sign, such as `local` and `lan`; everything unless told otherwise. */
  readonly onlyBelow?: readonly string[];
  /** Milliseconds since 1970. */
  readonly now?: number;
  /** Told of what was put right, such as keys that others could read. */
  readonly warn?: (message: string) => void;
}

/**
 * The certificate of this host: the one that is there, or a new one when it is missing, is not for all of the names, or
 * is old. Of several processes that see so, also of other machines, one makes it.
 * @throws RootLost
 * @throws LockHeld
 */
export async function localCertificate({
  folder,
  names: wanted,
  onlyBelow = [],
  now = Date.now(),
  warn = () => undefined,
}: LocalCaOptions): Promise<LocalCertificate> {
  const names = wanted.filter((name) => isIP(name) !== 0 || isPermitted(name, onlyBelow));
  const options = { folder, onlyBelow, now };
  const files = { certificateFile: join(folder, 'server.crt'), keyFile: join(folder, 'server.key') };
  const told = (root: Root, isNew: boolean): LocalCertificate => ({
    ...files,
    root: `${root.certificate.toString('pem')}\n`,
    fingerprint: fingerprintOf(root.certificate.rawData),
    names,
    isNewRoot: root.isNew,
    isNew,
  });
  for (const name of ['root.key', 'server.key']) await tighten(join(folder, name), warn);
  const present = await presentRoot(options);
  if (present !== undefined && (await isGood(files, present, names, now))) return told(present, false);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  return withFileLock(
    join(folder, 'making'),
    async () => {
      const root = await openRoot(options);
      if (await isGood(files, root, names, now)) return told(root, false);
      const leaf = await issue(root, names, now);
      // The key first: a certificate without its key is made anew.
      await writeText(files.keyFile, await exportKey(leaf.keys), 0o600);
      await writeText(
        files.certificateFile,
        `${leaf.certificate.toString('pem')}\n${root.certificate.toString('pem')}\n`,
        0o644,
      );
      return told(root, true);
    },
    { wait: WAIT_FOR_OTHERS },
  );
}

async function issue(
  root: Root,
  names: readonly string[],
  now: number,
): Promise<{ readonly certificate: X509Certificate; readonly keys: CryptoKeyPair }> {
  const keys = await makeKeys();
  const end = Math.min(now + LEAF_DAYS * DAY - BACKDATED, root.certificate.notAfter.getTime());
  const certificate = await x509.X509CertificateGenerator.create({
    subject: `CN=${names.find((name) => isIP(name) === 0) ?? names[0] ?? 'localhost'}`,
    issuer: root.certificate.subject,
    serialNumber: serial(),
    notBefore: new Date(now - BACKDATED),
    notAfter: new Date(end),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: root.key,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        names.map((value) => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value })),
      ),
      await x509.AuthorityKeyIdentifierExtension.create(root.certificate),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate, keys };
}

/** Whether the certificate is for all of the names and for its key, of our authority, and neither early nor old. */
async function isGood(
  { certificateFile, keyFile }: Pick<LocalCertificate, 'certificateFile' | 'keyFile'>,
  root: Root,
  names: readonly string[],
  now: number,
): Promise<boolean> {
  const pem = await readText(certificateFile);
  const key = await readText(keyFile);
  if (pem === undefined || key === undefined) return false;
  let certificate: X509Certificate;
  try {
    if (!new NodeCertificate(pem).checkPrivateKey(createPrivateKey(key))) return false;
    certificate = new x509.X509Certificate(pem);
  } catch {
    return false;
  }
  const alternative = certificate.getExtension(x509.SubjectAlternativeNameExtension);
  const known = new Set(alternative?.names.items.map(({ value }) => canonicalName(value)));
  const isOurs = certificate.issuer === root.certificate.subject;
  return isOurs && names.every((name) => known.has(canonicalName(name))) && isTimely(certificate, root, now);
}

/** One that was made while the clock was wrong is early; one that ends with the authority would be made anew for ever. */
function isTimely({ notBefore, notAfter }: X509Certificate, root: Root, now: number): boolean {
  const end = notAfter.getTime();
  if (now < notBefore.getTime() || now >= end) return false;
  const begin = notBefore.getTime() + BACKDATED;
  return now < begin + ((end - begin) * 2) / 3 || end >= root.certificate.notAfter.getTime();
}

/** IPv6 addresses are written in several ways. */
function canonicalName(name: string): string {
  if (isIP(name) !== 6) return name.toLowerCase();
  return new URL(`http://[${name}]`).hostname;
}
