/** The keys that our tokens are signed with. */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
} from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readStateFile, stateFiles, writeStateFile } from './state-files.ts';

export type SigningMethod = 'RS256' | 'ES256' | 'HS256';

export interface SigningKey {
  /** RFC 7638 thumbprint of the public key, as version 3 of the distribution registry looks keys up by. */
  readonly kid: string;
  readonly algorithm: SigningMethod;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** undefined for a shared secret, which is published nowhere. */
  readonly publicJwk: JsonWebKey | undefined;
}

export interface TokenKeysOptions {
  readonly method: SigningMethod;
  /** Paths of PEM files; without `privateKey` keys are kept in `folder`, or in memory. */
  readonly privateKey?: string | undefined;
  readonly publicKey?: string | undefined;
  readonly secret?: string | undefined;
  /** Folder of key files, one JSON each. */
  readonly folder?: string | undefined;
}

/** A key cannot be used. The message is for the operator. */
export class UnusableKey extends Error {
  override readonly name = 'UnusableKey';
}

/** How often the folder is looked at for keys of other processes, in milliseconds. */
const LOOK_EVERY = 1_000;

/**
 * The newest key signs; all of them verify, so that adding one logs nobody out. Processes that start together on an empty
 * folder may each make a key: they find each other's by looking again.
 */
export class TokenKeys {
  readonly #options: TokenKeysOptions;
  #keys: readonly SigningKey[] = [];
  #byId: ReadonlyMap<string, SigningKey> = new Map();
  #folderTime = -1;
  #lookedAt = Number.NEGATIVE_INFINITY;

  /** @throws UnusableKey */
  constructor(options: TokenKeysOptions) {
    this.#options = options;
    const { method, secret, privateKey, folder } = options;
    if (method === 'HS256') this.#use([secretKey(secret ?? '')]);
    else if (privateKey !== undefined) this.#use([fileKey(method, privateKey, options.publicKey)]);
    else if (folder === undefined) this.#use([keyOf(method, newPrivateKey(method))]);
    else this.#open(folder);
  }

  /** What new tokens are signed with. */
  get current(): SigningKey {
    this.#look();
    const key = this.#keys.at(-1);
    if (key === undefined) throw new UnusableKey('there is no signing key');
    return key;
  }

  /** The key of that id; undefined when it is none of ours. */
  find(kid: string): SigningKey | undefined {
    const known = this.#byId.get(kid);
    if (known !== undefined) return known;
    this.#look();
    return this.#byId.get(kid);
  }

  /** The public keys, as a JWK set. */
  jwks(): { readonly keys: readonly object[] } {
    this.#look();
    const published = this.#keys.map(({ publicJwk }) => publicJwk);
    return { keys: published.filter((jwk) => jwk !== undefined) };
  }

  #use(keys: readonly SigningKey[]): void {
    this.#keys = keys;
    this.#byId = new Map(keys.map((key) => [key.kid, key]));
  }

  #open(folder: string): void {
    this.#load(folder);
    if (this.#keys.length > 0) return;
    addKey(folder, this.#options.method);
    this.#load(folder);
  }

  #look(): void {
    const { folder, method, privateKey } = this.#options;
    if (folder === undefined || method === 'HS256' || privateKey !== undefined) return;
    if (Math.abs(Date.now() - this.#lookedAt) < LOOK_EVERY) return;
    this.#lookedAt = Date.now();
    const time = statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? -1;
    if (time !== this.#folderTime && time !== -1) this.#load(folder);
  }

  #load(folder: string): void {
    const { method } = this.#options;
    this.#folderTime = statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? -1;
    const keys = stateFiles(folder).flatMap((name) => {
      const text = readStateFile(join(folder, name));
      if (text === undefined) return [];
      const key = storedKey(join(folder, name), text);
      return key.algorithm === method ? [key] : [];
    });
    // What cannot be found any more must not be found in memory either, unless nothing would be left.
    if (keys.length > 0 || this.#keys.length === 0) this.#use(keys);
  }
}

/** Adds a key that signs from now on. @returns its id */
export function addKey(folder: string, method: SigningMethod): string {
  const privateKey = newPrivateKey(method);
  const { kid } = keyOf(method, privateKey);
  const jwk = privateKey.export({ format: 'jwk' });
  // Names are in the order of age.
  const name = `${String(Date.now()).padStart(15, '0')}-${kid}.json`;
  writeStateFile(join(folder, name), `${JSON.stringify({ alg: method, jwk })}\n`);
  return kid;
}

function newPrivateKey(method: SigningMethod): KeyObject {
  return method === 'ES256'
    ? generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    : generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
}

function storedKey(path: string, text: string): SigningKey {
  try {
    const { alg, jwk } = JSON.parse(text) as { alg: SigningMethod; jwk: JsonWebKey };
    return keyOf(alg, createPrivateKey({ key: jwk, format: 'jwk' }));
  } catch (error) {
    throw new UnusableKey(`${path}: is no key of ours; remove it`, { cause: error });
  }
}

function fileKey(method: SigningMethod, path: string, publicPath: string | undefined): SigningKey {
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(readFileSync(path));
  } catch (error) {
    throw new UnusableKey(`auth.private_key: ${path}: ${(error as Error).message}`, { cause: error });
  }
  const key = keyOf(method, privateKey);
  const wanted = method === 'RS256' ? 'rsa' : 'ec';
  const curve = privateKey.asymmetricKeyDetails?.namedCurve;
  if (privateKey.asymmetricKeyType !== wanted || (wanted === 'ec' && curve !== 'prime256v1')) {
    throw new UnusableKey(`auth.private_key: ${path}: is no key for ${method}`);
  }
  if (publicPath === undefined) return key;
  try {
    const given = createPublicKey(readFileSync(publicPath)).export({ format: 'der', type: 'spki' });
    if (given.equals(key.publicKey.export({ format: 'der', type: 'spki' }))) return key;
  } catch (error) {
    throw new UnusableKey(`auth.public_key: ${publicPath}: ${(error as Error).message}`, { cause: error });
  }
  throw new UnusableKey(`auth.public_key: ${publicPath}: does not belong to auth.private_key`);
}

function secretKey(secret: string): SigningKey {
  const key = createSecretKey(Buffer.from(secret));
  const kid = createHash('sha256').update('entrepot key id').update(secret).digest('base64url');
  return { kid, algorithm: 'HS256', privateKey: key, publicKey: key, publicJwk: undefined };
}

function keyOf(algorithm: SigningMethod, privateKey: KeyObject): SigningKey {
  const publicKey = createPublicKey(privateKey);
  const jwk = publicKey.export({ format: 'jwk' });
  const kid = thumbprint(jwk);
  return { kid, algorithm, privateKey, publicKey, publicJwk: { ...jwk, kid, alg: algorithm, use: 'sig' } };
}

/** RFC 7638: the members that make the key, in the order of their names. */
export function thumbprint(jwk: JsonWebKey): string {
  const { kty, crv, x, y, e, n } = jwk;
  const members = kty === 'RSA' ? { e, kty, n } : kty === 'EC' ? { crv, kty, x, y } : { crv, kty, x };
  return createHash('sha256').update(JSON.stringify(members)).digest('base64url');
}
