/** The public keys of an issuer of workload identities, by OpenID Connect discovery, from a URL or from a file. */
import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { rootCertificates } from 'node:tls';
import type { Logger } from '../log.ts';
import { AuthenticationUnavailable } from './identity.ts';

/** How long keys are used before they are asked for again, in milliseconds; while the issuer is away they go on. */
const FRESH_FOR = 10 * 60_000;
/** Least time between two questions for a key that is not known, in milliseconds: anybody can make up a key's id. */
const ASK_AGAIN_AFTER = 30_000;
const TIMEOUT_MS = 5_000;
const MAX_ANSWER = 256 * 1024;

export interface RemoteKeysOptions {
  readonly issuer: string;
  /** A URL or the absolute path of a JWK set; undefined to ask the issuer where it is. */
  readonly jwks?: string | undefined;
  /** Text of a PEM file with authorities beside the usual ones. */
  readonly ca?: string | undefined;
  readonly log: Pick<Logger, 'warn'>;
  readonly now?: () => number;
}

type Keys = ReadonlyMap<string, KeyObject>;

/** A failed refresh never takes away keys that were good (CVE-2026-48524). */
export class RemoteKeys {
  readonly #options: RemoteKeysOptions;
  readonly #now: () => number;
  #keys: Keys | undefined;
  #fetchedAt = Number.NEGATIVE_INFINITY;
  #askedAt = Number.NEGATIVE_INFINITY;
  #running: Promise<void> | undefined;

  constructor(options: RemoteKeysOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /**
   * The key of that id; of a set with one key, that one for a token that names none.
   * @throws AuthenticationUnavailable when no keys could be had yet
   */
  async find(kid: string | undefined): Promise<KeyObject | undefined> {
    const isOld = this.#now() - this.#fetchedAt > FRESH_FOR;
    if (this.#keys === undefined || isOld || (kid !== undefined && !this.#keys.has(kid))) await this.#ask();
    const keys = this.#keys;
    if (keys === undefined) {
      throw new AuthenticationUnavailable(`${this.#options.issuer}: its keys could not be had`);
    }
    if (kid !== undefined) return keys.get(kid);
    const [only] = keys.values();
    return keys.size === 1 ? only : undefined;
  }

  async #ask(): Promise<void> {
    if (this.#running === undefined) {
      if (this.#now() - this.#askedAt < ASK_AGAIN_AFTER) return;
      this.#askedAt = this.#now();
      this.#running = this.#refresh().finally(() => (this.#running = undefined));
    }
    await this.#running;
  }

  async #refresh(): Promise<void> {
    const { issuer, log } = this.#options;
    try {
      const keys = keysIn(await this.#load());
      if (keys.size === 0) throw new Error('there is no key in the set');
      this.#keys = keys;
      this.#fetchedAt = this.#now();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      log.warn(
        `${issuer}: its keys could not be had${this.#keys === undefined ? '' : '; those known go on'}`,
        { error: reason },
      );
    }
  }

  async #load(): Promise<string> {
    const { issuer, jwks, ca } = this.#options;
    if (jwks !== undefined && !/^https?:/.test(jwks)) return readFileSync(jwks, 'utf8');
    if (jwks !== undefined) return fetchText(jwks, ca);
    const base = issuer.replace(/\/$/, '');
    const document = JSON.parse(await fetchText(`${base}/.well-known/openid-configuration`, ca)) as {
      issuer?: unknown;
      jwks_uri?: unknown;
    } | null;
    if (document?.issuer !== issuer) throw new Error('the discovery document is of another issuer');
    if (typeof document.jwks_uri !== 'string') throw new Error('the discovery document names no jwks_uri');
    return fetchText(document.jwks_uri, ca);
  }
}

/** Keys for signatures; what cannot be read is left out, as sets hold keys of kinds that are yet to come. */
function keysIn(text: string): Keys {
  const { keys } = JSON.parse(text) as { keys?: unknown };
  const found = new Map<string, KeyObject>();
  for (const jwk of Array.isArray(keys) ? (keys as (JsonWebKey & { kid?: unknown; use?: unknown })[]) : []) {
    if (jwk.kty === 'oct' || (jwk.use !== undefined && jwk.use !== 'sig')) continue;
    try {
      found.set(typeof jwk.kid === 'string' ? jwk.kid : '', createPublicKey({ key: jwk, format: 'jwk' }));
    } catch {
      // see above
    }
  }
  return found;
}

/** GET, without following anybody anywhere else. Plain HTTP is spoken with this machine only. */
function fetchText(address: string, ca: string | undefined): Promise<string> {
  const url = new URL(address);
  const isLocal = ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname);
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLocal)) {
    return Promise.reject(new Error(`${url.origin}: keys are asked for by HTTPS only`));
  }
  return new Promise((resolve, reject) => {
    const options = {
      headers: { accept: 'application/json' },
      timeout: TIMEOUT_MS,
      signal: AbortSignal.timeout(TIMEOUT_MS),
      ...(ca === undefined ? {} : { ca: [...rootCertificates, ca] }),
    };
    const ask = url.protocol === 'https:' ? httpsRequest : httpRequest;
    const request = ask(url, options, (answer) => {
      if (answer.statusCode !== 200) {
        answer.destroy();
        reject(new Error(`${url.href} answered ${answer.statusCode}`));
        return;
      }
      const chunks: Buffer[] = [];
      let size = 0;
      answer.on('data', (chunk: Buffer) => {
        size += chunk.length;
        chunks.push(chunk);
        if (size > MAX_ANSWER)
          request.destroy(new Error(`${url.href} answered more than ${MAX_ANSWER} bytes`));
      });
      answer.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
      answer.on('error', reject);
    });
    request.on('error', reject);
    request.end();
  });
}
