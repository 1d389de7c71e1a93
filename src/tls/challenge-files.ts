/**
 * Answers to a directory's questions, as files that every worker of every node can give: which of them is asked is up to
 * the kernel and to the network. Names come from strangers and are checked before a path is made of them.
 */
import { rm } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readText, writeText } from './key-files.ts';

/** RFC 8555 §8.3: characters of base64url, which no path can be made of. */
const TOKEN = /^[\w-]{16,256}$/;
/** A DNS name in lower case; neither a dot at its begin nor a slash. */
const HOST = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;

/** The answers in `<folder>/challenges`. */
export class ChallengeFiles {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = join(folder, 'challenges');
  }

  /** Takes away what an attempt that was cut short has left behind. Only for who holds the lock of the orders. */
  async clear(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Makes a token's key authorization known (http-01). @throws Error for a token that is none */
  putToken(token: string, keyAuthorization: string): Promise<void> {
    return writeText(this.#tokenFile(token), keyAuthorization, 0o600);
  }

  /** The key authorization of a token; undefined for one that nobody has put, and for what is no token at all. */
  async token(token: string): Promise<string | undefined> {
    return TOKEN.test(token) ? readText(this.#tokenFile(token)) : undefined;
  }

  async removeToken(token: string): Promise<void> {
    await rm(this.#tokenFile(token), { force: true });
  }

  /** Makes the certificate and key of a host's tls-alpn-01 known, in one PEM text. @throws Error for no name of a host */
  putCertificate(host: string, pem: string): Promise<void> {
    return writeText(this.#hostFile(host), pem, 0o600);
  }

  /** That text; undefined when nobody has put one. Read at once, as the handshake cannot wait. */
  certificate(host: string): string | undefined {
    try {
      return readFileSync(this.#hostFile(host), 'utf8');
    } catch {
      return undefined;
    }
  }

  async removeCertificate(host: string): Promise<void> {
    await rm(this.#hostFile(host), { force: true });
  }

  #tokenFile(token: string): string {
    if (!TOKEN.test(token)) throw new Error('the directory gave a token of characters that none can have');
    return join(this.#folder, `${token}.token`);
  }

  #hostFile(host: string): string {
    if (!HOST.test(host)) throw new Error(`${host} is no name of a host`);
    return join(this.#folder, `${host}.pem`);
  }
}
