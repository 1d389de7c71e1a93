/**
 * What is kept for ACME (RFC 8555), in a folder that all processes of all nodes share. Everything is for this user only.
 *
 *     <folder>/account.key       who we are to the directory; PEM
 *     <folder>/certificate.pem   what the server shows: certificate, chain, and key, in one file so that they always fit
 *     <folder>/state.json        who signed it, and the attempts that failed since
 *     <folder>/order.lock        held by the process that asks for a certificate
 *     <folder>/challenges/       answers to the directory's questions: http-01 tokens, certificates for tls-alpn-01
 */
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { withFileLock } from '../file-lock.ts';
import { placeText, readText, tighten, writeText } from './key-files.ts';

/** The age at which another machine's lock counts as left behind: clocks may differ by as much. */
const STALE = 5 * 60_000;

/** Where an ACME folder keeps what the server shows: certificate and key alike. */
export function certificateFileOf(folder: string): string {
  return join(folder, 'certificate.pem');
}

/** The subject of what is shown until there is a certificate. */
export const PLACEHOLDER = 'CN=Entrepot placeholder';

/** Whether a certificate was made by `makePlaceholder`. */
export function isPlaceholder({ subject, issuer }: X509Certificate): boolean {
  return subject === PLACEHOLDER && issuer === PLACEHOLDER;
}

/** What is known of the certificate and of what failed. Everything may be missing. */
export interface AcmeState {
  /** The URL of the directory that signed the certificate. */
  readonly signedBy?: string;
  /** How many attempts have failed since then. */
  readonly failures?: number;
  /** Milliseconds since 1970 before which no other attempt is made with the same settings. */
  readonly notBefore?: number;
  /** The settings that failed. */
  readonly settings?: string;
}

/** The folder's files, read anew each time as others change them too. */
export class AcmeFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  get certificateFile(): string {
    return certificateFileOf(this.path);
  }

  get stateFile(): string {
    return join(this.path, 'state.json');
  }

  /** The certificate; undefined where there is none, or one that cannot be shown: with its chain, and its key. */
  async certificate(): Promise<X509Certificate | undefined> {
    const text = await readText(this.certificateFile);
    return text === undefined ? undefined : usable(text);
  }

  /** Puts another one in its place. @throws Error when it cannot be shown, and the one before stays */
  async writeCertificate(certificate: string, key: string): Promise<void> {
    const text = `${certificate.trim()}\n${key.trim()}\n`;
    // A key of the directory's choice would be the one that is used.
    if (usable(text) === undefined || (key !== '' && certificate.includes('PRIVATE KEY-----'))) {
      throw new Error(
        'what was signed does not fit the key that it was asked for, or its chain cannot be read',
      );
    }
    await writeText(this.certificateFile, text, 0o600);
  }

  /** The key of our account, made when there is none: it is the account, and a lost one costs no more than another. */
  async accountKey(): Promise<string> {
    const path = join(this.path, 'account.key');
    const present = await readText(path);
    if (present !== undefined) {
      try {
        createPrivateKey(present);
        return present;
      } catch (error) {
        throw new Error(`${path} is no key: bring it back, or remove it and another account is made`, {
          cause: error,
        });
      }
    }
    const made = newKey();
    await writeText(path, made, 0o600);
    return made;
  }

  /** Takes another key for our account, where there is none. @returns whether there was none */
  placeAccountKey(key: string): Promise<boolean> {
    return placeText(join(this.path, 'account.key'), key, 0o600);
  }

  /** Takes away what others may do with the keys. @param warn told of each of which there was something to take away */
  async tighten(warn: (message: string) => void): Promise<void> {
    for (const path of [join(this.path, 'account.key'), this.certificateFile]) await tighten(path, warn);
  }

  /** What is not readable counts as missing: it is only about when to try again. */
  async state(): Promise<AcmeState> {
    const text = await readText(this.stateFile);
    try {
      const state: unknown = JSON.parse(text ?? '{}');
      return typeof state === 'object' && state !== null ? state : {};
    } catch {
      return {};
    }
  }

  writeState(state: AcmeState): Promise<void> {
    return writeText(this.stateFile, `${JSON.stringify(state, undefined, 2)}\n`, 0o600);
  }

  /** Runs `work` while nobody else asks for a certificate. @throws LockHeld at once when somebody does */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    await mkdir(this.path, { recursive: true, mode: 0o700 });
    return withFileLock(join(this.path, 'order'), work, { wait: 0, stale: STALE });
  }
}

/** A new key, ECDSA P-256, as PEM (PKCS #8). */
export function newKey(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** Servers refuse to start with a chain of which one certificate cannot be read, so each counts. */
function usable(text: string): X509Certificate | undefined {
  try {
    const chain = text.split(/(?=-----BEGIN )/).filter((part) => part.startsWith('-----BEGIN CERTIFICATE-'));
    const [certificate] = chain.map((pem) => new X509Certificate(pem));
    const key = createPrivateKey(text);
    if (certificate?.checkPrivateKey(key) !== true) return undefined;
    createSecureContext({ cert: text, key: key.export({ type: 'pkcs8', format: 'pem' }) });
    return certificate;
  } catch {
    return undefined;
  }
}
