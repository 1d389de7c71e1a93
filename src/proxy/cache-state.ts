/**
 * What the cache remembers of itself, in the storage, so that it outlives restarts and all processes agree. Nothing of it
 * has to survive a power loss: what is missing is asked for again.
 *
 *     docker/registry/v2/_entrepot/cache/
 *       tags/<name>/_tags/<tag>                     JSON: the tag's digest, and when the upstream last said so
 *       used/<name>/_blobs/<alg>-<hex>-<size>         empty; its time is when that content was last served
 *       used/<name>/_manifests/<alg>-<hex>-<size>
 *       fetching/<name>/_blobs/<alg>-<hex>            JSON: who is fetching that blob, and into which upload
 *       locks/<what>                                JSON: who has the right to change it
 *
 * The content itself is in repositories of the store, by the same names: a link, and bytes that others may share.
 */
import type { ObjectInfo, StorageDriver } from '../drivers/driver.ts';
import type { Digest } from '../oci/digest.ts';
import { isDigest } from '../oci/digest.ts';
import type { RepositoryName, Tag } from '../oci/name.ts';

const ROOT = 'docker/registry/v2/_entrepot/cache';

export const USED = `${ROOT}/used/`;
export const FETCHING = `${ROOT}/fetching/`;

export type ContentKind = 'blobs' | 'manifests';

/** One piece of cached content. */
export interface CachedContent {
  readonly name: RepositoryName;
  readonly kind: ContentKind;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

export function tagKey(name: RepositoryName, tag: Tag): string {
  return `${ROOT}/tags/${name}/_tags/${tag}`;
}

/** Of a repository's tags. */
export function tagsPrefix(name: RepositoryName): string {
  return `${ROOT}/tags/${name}/_tags/`;
}

export function usedKey({ name, kind, digest, size }: CachedContent): string {
  return `${USED}${name}/_${kind}/${digest.replace(':', '-')}-${size}`;
}

export function fetchingKey(name: RepositoryName, digest: Digest): string {
  return `${FETCHING}${name}/_blobs/${digest.replace(':', '-')}`;
}

export function lockKey(what: string): string {
  return `${ROOT}/locks/${what}`;
}

const USED_KEY = /^(.+)\/_(blobs|manifests)\/([a-z0-9]+)-([0-9a-f]+)-(\d{1,15})$/;

/** What a key of `USED` stands for; undefined for none of ours. */
export function parseUsedKey(key: string): CachedContent | undefined {
  const [, name, kind, algorithm, hex, size] = USED_KEY.exec(key.slice(USED.length)) ?? [];
  const digest = `${algorithm}:${hex}`;
  if (name === undefined || !isDigest(digest)) return undefined;
  return { name: name as RepositoryName, kind: kind as ContentKind, digest, size: Number(size) };
}

/** The storage, as far as the cache's own state needs it. */
export interface StateStorage {
  /** The bytes of a small object, or undefined when there is none. */
  bytes(key: string): Promise<Uint8Array | undefined>;
  /** undefined when there is none. */
  info(key: string): Promise<ObjectInfo | undefined>;
  readonly driver: Pick<StorageDriver, 'write' | 'list' | 'delete'>;
}

/** Reads a JSON object; undefined when there is none, or a damaged one. */
export async function readState(storage: StateStorage, key: string): Promise<unknown> {
  const bytes = await storage.bytes(key);
  if (bytes === undefined || bytes.byteLength === 0) return undefined;
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
}

export async function writeState(storage: StateStorage, key: string, value: unknown): Promise<void> {
  await storage.driver.write(key, Buffer.from(JSON.stringify(value)), { volatile: true });
}
