/** The keys by which another server's tokens are verified. */
import {
  createHash,
  createPublicKey,
  createSecretKey,
  type JsonWebKey,
  type KeyObject,
  X509Certificate,
} from 'node:crypto';
import { thumbprint } from './token-keys.ts';

/** Certificates in one `x5c` header; a chain has two or three. */
const MAX_CHAIN = 10;

/** What of a token's header may say which key it is signed with. */
export interface KeyHints {
  readonly kid?: unknown;
  readonly x5c?: unknown;
  readonly jwk?: unknown;
}

export class ExternalKeys {
  readonly #byId = new Map<string, KeyObject>();
  readonly #roots: readonly X509Certificate[];

  /**
   * `bundle` is the text of a PEM file with trusted certificates, `jwks` that of a JWK set.
   * @throws Error when they hold no key, or cannot be read
   */
  constructor({
    bundle,
    jwks,
  }: {
    readonly bundle?: string | undefined;
    readonly jwks?: string | undefined;
  }) {
    this.#roots = bundle === undefined ? [] : certificatesIn(bundle);
    for (const { publicKey } of this.#roots) this.#add(publicKey, []);
    if (jwks !== undefined) this.#addSet(jwks);
    if (this.#byId.size === 0) throw new Error('there is no key in it');
  }

  /** The key that a token is to be verified with; undefined when it names none that is trusted. */
  find({ kid, x5c, jwk }: KeyHints): KeyObject | undefined {
    if (x5c !== undefined) return this.#byChain(x5c);
    // A key that a token brings counts only if it is one of ours (CVE-2025-24976).
    if (jwk !== undefined)
      return typeof jwk === 'object' && jwk !== null
        ? this.#byId.get(thumbprint(jwk as JsonWebKey))
        : undefined;
    return typeof kid === 'string' ? this.#byId.get(kid) : undefined;
  }

  #add(key: KeyObject, ids: readonly string[]): void {
    for (const id of ids) this.#byId.set(id, key);
    if (key.type === 'secret') return;
    this.#byId.set(thumbprint(key.export({ format: 'jwk' })), key);
    this.#byId.set(libtrustId(key), key);
  }

  #addSet(text: string): void {
    const { keys } = JSON.parse(text) as { keys?: unknown };
    if (!Array.isArray(keys)) throw new Error('a JWK set has a list of "keys"');
    for (const jwk of keys as (JsonWebKey & { kid?: unknown })[]) {
      const ids = typeof jwk.kid === 'string' ? [jwk.kid] : [];
      const key =
        jwk.kty === 'oct'
          ? createSecretKey(Buffer.from(jwk.k ?? '', 'base64url'))
          : createPublicKey({ key: jwk, format: 'jwk' });
      this.#add(key, ids);
    }
  }

  /** The first certificate's key, if the chain leads to one of the trusted certificates and all of them are valid. */
  #byChain(x5c: unknown): KeyObject | undefined {
    if (!Array.isArray(x5c) || x5c.length === 0 || x5c.length > MAX_CHAIN) return undefined;
    try {
      const chain = (x5c as unknown[]).map((der) => new X509Certificate(Buffer.from(String(der), 'base64')));
      const now = Date.now();
      if (!chain.every((certificate) => isValidAt(certificate, now))) return undefined;
      for (const [index, certificate] of chain.entries()) {
        if (this.#roots.some((root) => isSame(root, certificate) || isIssuedBy(certificate, root))) {
          return chain[0]?.publicKey;
        }
        const next = chain[index + 1];
        if (next === undefined || !next.ca || !isIssuedBy(certificate, next)) return undefined;
      }
    } catch {
      // no certificates
    }
    return undefined;
  }
}

function certificatesIn(pem: string): readonly X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

function isSame(one: X509Certificate, other: X509Certificate): boolean {
  return one.raw.equals(other.raw);
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

function isValidAt({ validFrom, validTo }: X509Certificate, now: number): boolean {
  return Date.parse(validFrom) <= now && now < Date.parse(validTo);
}

/** How version 2 of the distribution registry names keys: twelve groups of four letters, base32 of a hash. */
export function libtrustId(key: KeyObject): string {
  const der = key.export({ format: 'der', type: 'spki' });
  const hash = createHash('sha256').update(der).digest().subarray(0, 30);
  return base32(hash).match(/.{4}/g)?.join(':') ?? '';
}

function base32(bytes: Uint8Array): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  let bits = '';
  for (const byte of bytes) bits += byte.toString(2).padStart(8, '0');
  return (bits.match(/.{5}/g) ?? []).map((five) => alphabet[Number.parseInt(five, 2)] ?? '').join('');
}
