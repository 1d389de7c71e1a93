/** API keys: credentials of programs, with a name, an end and rights of their own. Only their hashes are kept. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { join } from 'node:path';
import type { Accounts, Authenticator, Credentials, Identity, Limit } from './identity.ts';
import { readStateFile, removeStateFile, stateFiles, writeStateFile } from './state-files.ts';

const FORM = /^entk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})$/;
const ID = /^[0-9a-f]{12}$/;

/** A key as it is kept. */
export interface ApiKey {
  readonly id: string;
  /** What it is for, in the words of whoever made it. */
  readonly name: string;
  /** Whose rights it has, as far as `limits` leave them. */
  readonly account: string;
  /** RFC 3339. */
  readonly created: string;
  /** RFC 3339; undefined for no end. */
  readonly expires?: string;
  readonly limits?: readonly Limit[];
}

interface StoredKey extends ApiKey {
  /** SHA-256 of the secret, which is random enough to need no slower hash. */
  readonly hash: string;
}

/** Makes a key in the folder. @returns what the program logs in with, which nobody can find out later */
export function createApiKey(
  folder: string,
  key: Omit<ApiKey, 'id' | 'created'>,
): { readonly id: string; readonly secret: string } {
  const id = randomBytes(6).toString('hex');
  const random = randomBytes(32).toString('base64url');
  const stored: StoredKey = { id, ...key, created: new Date().toISOString(), hash: hashOf(random) };
  writeStateFile(join(folder, `${id}.json`), `${JSON.stringify(stored, null, 2)}\n`);
  return { id, secret: `entk_${id}_${random}` };
}

/** All keys, the oldest first. */
export function listApiKeys(folder: string): readonly ApiKey[] {
  return stateFiles(folder)
    .flatMap((name) => readKey(folder, name.replace(/\.json$/, '')) ?? [])
    .map(publicPart)
    .sort((a, b) => (a.created < b.created ? -1 : 1));
}

/** Ends a key at once. @returns whether there was one of that id */
export function revokeApiKey(folder: string, id: string): boolean {
  return ID.test(id) && removeStateFile(join(folder, `${id}.json`));
}

/**
 * Takes API keys as passwords, with any account's name or the key's own, and as bearer tokens. The file is looked at each
 * time (about 10 µs), so a revoked key is refused from the next request on.
 */
export class ApiKeys implements Authenticator {
  readonly #folder: string;
  readonly #accounts: Accounts;
  readonly #now: () => number;

  constructor(folder: string, accounts: Accounts, now: () => number = Date.now) {
    this.#folder = folder;
    this.#accounts = accounts;
    this.#now = now;
  }

  authenticate(credentials: Credentials): Promise<Identity | 'refused' | undefined> {
    return Promise.resolve(this.#check(credentials));
  }

  #check(credentials: Credentials): Identity | 'refused' | undefined {
    if (credentials.kind === 'certificate') return undefined;
    const text = credentials.kind === 'password' ? credentials.password : credentials.token;
    const [, id = '', random = ''] = FORM.exec(text) ?? [];
    if (id === '') return undefined;
    const key = readKey(this.#folder, id);
    if (key === undefined || !isSame(key.hash, hashOf(random))) return 'refused';
    if (key.expires !== undefined && !(Date.parse(key.expires) > this.#now())) return 'refused';
    const account = this.#accounts.find(key.account);
    if (account === undefined) return 'refused';
    return {
      account: account.name,
      groups: account.groups,
      method: 'key',
      by: id,
      ...(key.limits === undefined ? {} : { limits: key.limits }),
    };
  }
}

/** undefined when there is no such key, or its file is damaged. */
function readKey(folder: string, id: string): StoredKey | undefined {
  if (!ID.test(id)) return undefined;
  const text = readStateFile(join(folder, `${id}.json`));
  try {
    const key = text === undefined ? undefined : (JSON.parse(text) as StoredKey | null);
    return typeof key?.hash === 'string' && typeof key.account === 'string' ? key : undefined;
  } catch {
    return undefined;
  }
}

function publicPart({ id, name, account, created, expires, limits }: StoredKey): ApiKey {
  return {
    id,
    name,
    account,
    created,
    ...(expires === undefined ? {} : { expires }),
    ...(limits === undefined ? {} : { limits }),
  };
}

function hashOf(random: string): string {
  return createHash('sha256').update(random).digest('hex');
}

function isSame(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}
