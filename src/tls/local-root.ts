/**
 * The authority that people trust once: made once, by one of all processes that share its folder, and never replaced.
 *
 *     <folder>/root.key, root.crt   PEM
 *     <folder>/root.new             both, while they are put in their places: who finds it goes on with that
 */
import { createPrivateKey, webcrypto, X509Certificate as NodeCertificate } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Extension, X509Certificate } from '@peculiar/x509';
import { placeText, readText, writeText } from './key-files.ts';
import { encodeConstraints, NAME_CONSTRAINTS } from './name-constraints.ts';
import { ALGORITHM, exportKey, makeKeys, serial, x509 } from './x509.ts';

const DAY = 24 * 3_600_000;
const ROOT_DAYS = 3_650;

/** By how much the clocks of those who look at a certificate may be behind, in milliseconds. */
export const BACKDATED = DAY;

/** The authority is half there, or is not what is asked for: another one would have to be trusted by everybody again. */
export class RootLost extends Error {
  override readonly name = 'RootLost';
}

export interface Root {
  readonly certificate: X509Certificate;
  readonly key: CryptoKey;
  /** Whether it was made just now. */
  readonly isNew: boolean;
}

export interface RootOptions {
  readonly folder: string;
  /** What of DNS it may sign; everything when there is nothing in it. */
  readonly onlyBelow: readonly string[];
  /** Milliseconds since 1970. */
  readonly now: number;
}

/**
 * The authority that is there, whole; undefined when there is none, or it is being made.
 * @throws RootLost when it cannot be used
 */
export async function presentRoot({ folder, onlyBelow, now }: RootOptions): Promise<Root | undefined> {
  const files = filesOf(folder);
  // The one that is made last first: with it the other has to be there.
  const pem = await readText(files.certificate);
  const keyPem = await readText(files.key);
  if (pem === undefined || keyPem === undefined) {
    if ((pem === undefined && keyPem === undefined) || (await readText(files.making)) !== undefined)
      return undefined;
    // It may have been finished between the two looks.
    if (pem === undefined && (await readText(files.certificate)) !== undefined)
      return presentRoot({ folder, onlyBelow, now });
    const missing = pem === undefined ? files.certificate : files.key;
    throw new RootLost(`${missing} is missing, and ${lost(folder)}`);
  }
  let fits: boolean;
  let certificate: X509Certificate;
  try {
    certificate = new x509.X509Certificate(pem);
    fits = new NodeCertificate(pem).checkPrivateKey(createPrivateKey(keyPem));
  } catch (error) {
    throw new RootLost(
      `${files.certificate} or ${files.key} is damaged (${(error as Error).message}), and ${lost(folder)}`,
      { cause: error },
    );
  }
  if (!fits) throw new RootLost(`${files.key} is not the key of ${files.certificate}, and ${lost(folder)}`);
  const before = Buffer.from(certificate.getExtension(NAME_CONSTRAINTS)?.value ?? new ArrayBuffer());
  if (!before.equals(onlyBelow.length === 0 ? Buffer.alloc(0) : encodeConstraints(onlyBelow))) {
    throw new RootLost(
      `${files.certificate} was made with other constraints, and they cannot be changed: set http.tls.constraints as it was, or remove ${folder} to begin anew, and trust the new one everywhere`,
    );
  }
  const { notBefore, notAfter } = certificate;
  if (now < notBefore.getTime() || now > notAfter.getTime()) {
    const [begin, end, today] = [notBefore, notAfter, new Date(now)].map((date) =>
      date.toISOString().slice(0, 10),
    );
    throw new RootLost(
      `${files.certificate} is good from ${begin} to ${end}, and the clock of this machine says ${today}: set the clock${now > notAfter.getTime() ? `. If it is right, the authority has come to its end: remove ${folder} to begin anew, and trust the new one everywhere` : ''}`,
    );
  }
  return { certificate, key: await importKey(keyPem), isNew: false };
}

/**
 * The authority that is there, or a new one. To be called under a lock.
 * @throws RootLost when there is one that cannot be used
 */
export async function openRoot(options: RootOptions): Promise<Root> {
  const { folder } = options;
  const files = filesOf(folder);
  const present = await presentRoot(options);
  if (present !== undefined) {
    await rm(files.making, { force: true });
    return present;
  }
  // One that was cut short goes on as it began: the fingerprint may have been told.
  let made = await readText(files.making);
  if (made === undefined) {
    made = await makeRoot(options);
    await writeText(files.making, made, 0o600);
  }
  const [certificate, key] = made.split(/(?<=-----END CERTIFICATE-----\n)/);
  await placeText(files.key, key ?? '', 0o600);
  await placeText(files.certificate, certificate ?? '', 0o644);
  const root = await presentRoot(options);
  if (root === undefined) throw new RootLost(`${files.making} is damaged: remove ${folder} to begin anew`);
  await rm(files.making, { force: true });
  return { ...root, isNew: true };
}

function filesOf(folder: string) {
  return {
    key: join(folder, 'root.key'),
    certificate: join(folder, 'root.crt'),
    making: join(folder, 'root.new'),
  };
}

function lost(folder: string): string {
  return `without it the authority that clients trust is lost: bring it back, or remove ${folder} to begin anew, and trust the new one everywhere`;
}

/** Certificate and key. */
async function makeRoot({ onlyBelow, now }: RootOptions): Promise<string> {
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
  return `${certificate.toString('pem')}\n${await exportKey(keys)}`;
}

function constraints(onlyBelow: readonly string[]): Extension[] {
  if (onlyBelow.length === 0) return [];
  return [new x509.Extension(NAME_CONSTRAINTS, true, Uint8Array.from(encodeConstraints(onlyBelow)))];
}

function importKey(pem: string): Promise<CryptoKey> {
  const der = Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64');
  return webcrypto.subtle.importKey('pkcs8', der, ALGORITHM, true, ['sign']);
}
