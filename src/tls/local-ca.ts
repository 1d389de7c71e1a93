/**
 * An authority of our own, for networks in which no public one signs: a root that people trust once, and a certificate
 * for every name and address by which this host is reached.
 *
 *     <folder>/root.key, root.crt        the authority; PEM. Made once, never replaced
 *     <folder>/server.key, server.crt    what the server shows, with the root behind it; made anew when it has to be
 */
import { isIP } from 'node:net';
import { join } from 'node:path';
import { createPrivateKey, webcrypto, X509Certificate as NodeCertificate } from 'node:crypto';
import type { Extension, X509Certificate } from '@peculiar/x509';
import { fingerprintOf } from './fingerprint.ts';
import { readText, writeText } from './key-files.ts';
import { encodeConstraints, isPermitted, NAME_CONSTRAINTS } from './name-constraints.ts';
import { ALGORITHM, exportKey, makeKeys, serial, x509 } from './x509.ts';

const DAY = 24 * 3_600_000;
const ROOT_DAYS = 3_650;
/** Apple's programs take none of more than 398 days. */
const LEAF_DAYS = 397;
/** By how much the clocks of those who look at a certificate may be behind. */
const BACKDATED = DAY;

/** The authority is half there, or is not what is asked for: another one would have to be trusted by everybody again. */
export class RootLost extends Error {
  override readonly name = 'RootLost';
}

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
}

/**
 * The certificate of this host: the one that is there, or a new one when it is missing, is not for all of the names, or
 * is old.
 * @throws RootLost
 */
export async function localCertificate({
  folder,
  names: wanted,
  onlyBelow = [],
  now = Date.now(),
}: LocalCaOptions): Promise<LocalCertificate> {
  const names = wanted.filter((name) => isIP(name) !== 0 || isPermitted(name, onlyBelow));
  const root = await openRoot(folder, onlyBelow, now);
  const certificateFile = join(folder, 'server.crt');
  const keyFile = join(folder, 'server.key');
  const hasKey = (await readText(keyFile)) !== undefined;
  const isNew = !hasKey || !willDo(await readText(certificateFile), root, names, now);
  if (isNew) {
    const leaf = await issue(root, names, now);
    // The key first: a certificate without its key is made anew.
    await writeText(keyFile, await exportKey(leaf.keys), 0o600);
    await writeText(
      certificateFile,
      `${leaf.certificate.toString('pem')}\n${root.certificate.toString('pem')}\n`,
      0o644,
    );
  }
  return {
    certificateFile,
    keyFile,
    root: `${root.certificate.toString('pem')}\n`,
    fingerprint: fingerprintOf(root.certificate.rawData),
    names,
    isNewRoot: root.isNew,
    isNew,
  };
}

interface Root {
  readonly certificate: X509Certificate;
  readonly key: CryptoKey;
  readonly isNew: boolean;
}

async function openRoot(folder: string, onlyBelow: readonly string[], now: number): Promise<Root> {
  const certificateFile = join(folder, 'root.crt');
  const keyFile = join(folder, 'root.key');
  const [pem, keyPem] = [await readText(certificateFile), await readText(keyFile)];
  if (pem !== undefined && keyPem !== undefined) {
    const broken = brokenPart(pem, keyPem);
    if (broken !== undefined) {
      throw new RootLost(
        `${certificateFile} and ${keyFile}: ${broken}: bring them back, or remove ${folder} to begin anew, and trust the new one everywhere`,
      );
    }
    const certificate = new x509.X509Certificate(pem);
    const before = Buffer.from(certificate.getExtension(NAME_CONSTRAINTS)?.value ?? new ArrayBuffer());
    if (!before.equals(onlyBelow.length === 0 ? Buffer.alloc(0) : encodeConstraints(onlyBelow))) {
      throw new RootLost(
        `${certificateFile} was made with other constraints, and they cannot be changed: set http.tls.constraints as it was, or remove ${folder} to begin anew, and trust the new one everywhere`,
      );
    }
    return { certificate, key: await importKey(keyPem), isNew: false };
  }
  if (pem !== undefined || keyPem !== undefined) {
    const missing = pem === undefined ? certificateFile : keyFile;
    throw new RootLost(
      `${missing} is missing, and without it the authority that clients trust is lost: bring it back, or remove ${folder} to begin anew, and trust the new one everywhere`,
    );
  }
  const keys = await makeKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=Entrepot ${new Date(now).toISOString().slice(0, 10)} ${serial().slice(0, 6)}`,
    serialNumber: serial(),
    notBefore: new Date(now - BACKDATED),
    notAfter: new Date(now + ROOT_DAYS * DAY),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ...constraints(onlyBelow),
    ],
  });
  await writeText(keyFile, await exportKey(keys), 0o600);
  await writeText(certificateFile, `${certificate.toString('pem')}\n`, 0o644);
  return { certificate, key: keys.privateKey, isNew: true };
}

/** What of an authority cannot be used; undefined for a whole one. */
function brokenPart(pem: string, keyPem: string): string | undefined {
  let certificate: NodeCertificate;
  try {
    certificate = new NodeCertificate(pem);
  } catch {
    return 'the first is no certificate';
  }
  try {
    return certificate.checkPrivateKey(createPrivateKey(keyPem)) ? undefined : 'they do not fit each other';
  } catch {
    return 'the second is no key';
  }
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

/** Whether the certificate is for all of the names, of our authority, and not past two thirds of its time. */
function willDo(pem: string | undefined, root: Root, names: readonly string[], now: number): boolean {
  if (pem === undefined) return false;
  let certificate: X509Certificate;
  try {
    certificate = new x509.X509Certificate(pem);
  } catch {
    return false;
  }
  const alternative = certificate.getExtension(x509.SubjectAlternativeNameExtension);
  const known = new Set(alternative?.names.items.map(({ value }) => canonicalName(value)));
  const begin = certificate.notBefore.getTime() + BACKDATED;
  const renewAt = begin + ((certificate.notAfter.getTime() - begin) * 2) / 3;
  const isOurs = certificate.issuer === root.certificate.subject;
  return isOurs && names.every((name) => known.has(canonicalName(name))) && now < renewAt;
}

/** IPv6 addresses are written in several ways. */
function canonicalName(name: string): string {
  if (isIP(name) !== 6) return name.toLowerCase();
  return new URL(`http://[${name}]`).hostname;
}

function constraints(onlyBelow: readonly string[]): Extension[] {
  if (onlyBelow.length === 0) return [];
  return [new x509.Extension(NAME_CONSTRAINTS, true, Uint8Array.from(encodeConstraints(onlyBelow)))];
}

function importKey(pem: string): Promise<CryptoKey> {
  const der = Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64');
  return webcrypto.subtle.importKey('pkcs8', der, ALGORITHM, true, ['sign']);
}
