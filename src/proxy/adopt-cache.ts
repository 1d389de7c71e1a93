/**
 * What a `registry:2` has cached of its one upstream lies under unprefixed names, as if it had been pushed, and would win
 * over the upstream for ever. Its `scheduler-state.json` tells what of it is cached (distribution,
 * registry/proxy/scheduler): that is taken over as our own cache, and its links under the old names go.
 */
import type { StorageDriver } from '../drivers/driver.ts';
import type { Logger } from '../log.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import { isRepositoryName, type RepositoryName, type Tag } from '../oci/name.ts';
import type { Registry, Repository } from '../oci/registry.ts';
import { type StateStorage, usedKey } from './cache-state.ts';
import { found } from './found.ts';

const STATE = 'scheduler-state.json';
/** Where it is kept when all of it is taken over. */
const TAKEN = 'scheduler-state.json.taken-over';
const BLOB = 0;

export interface AdoptOptions {
  readonly storage: StateStorage & { readonly driver: StorageDriver };
  /** The storage's repositories, by a registry that checks no references. */
  readonly cache: Registry;
  /** The name here of the upstream's repository that an old name stands for; undefined for none. */
  readonly nameOf: (old: RepositoryName) => RepositoryName | undefined;
  readonly log: Pick<Logger, 'info'>;
}

/**
 * Takes over what a `registry:2` has cached, once. What it does can be broken off and done again.
 * @returns how many manifests and blobs it was
 */
export async function adoptCache({ storage, cache, nameOf, log }: AdoptOptions): Promise<number> {
  const bytes = await storage.bytes(STATE);
  if (bytes === undefined) return 0;
  const byName = new Map<RepositoryName, { blobs: Digest[]; manifests: Digest[] }>();
  for (const { name, digest, isBlob } of entriesOf(bytes)) {
    const entries = byName.get(name) ?? { blobs: [], manifests: [] };
    (isBlob ? entries.blobs : entries.manifests).push(digest);
    byName.set(name, entries);
  }
  let count = 0;
  for (const [old, { blobs, manifests }] of byName) {
    const name = nameOf(old);
    if (name === undefined) continue;
    const from = cache.repository(old);
    const to = cache.repository(name);
    for (const digest of blobs) count += (await moveBlob(storage, from, to, digest)) ? 1 : 0;
    const tags = await tagsByDigest(from);
    for (const digest of manifests)
      count += (await moveManifest(storage, from, to, digest, tags.get(digest) ?? [])) ? 1 : 0;
  }
  await storage.driver.write(TAKEN, bytes);
  await storage.driver.delete([STATE]);
  log.info('what registry:2 had cached is taken over', { repositories: byName.size, entries: count });
  return count;
}

async function moveBlob(
  storage: StateStorage,
  from: Repository,
  to: Repository,
  digest: Digest,
): Promise<boolean> {
  const mount = { from: from.name, mayPull: () => Promise.resolve(true) };
  const content = await to.blobs.mount(digest, mount);
  if (content !== undefined) {
    const used = { name: to.name, kind: 'blobs', digest, size: content.size } as const;
    await storage.driver.write(usedKey(used), new Uint8Array(), { volatile: true });
  }
  await found(from.blobs.delete(digest));
  return content !== undefined;
}

async function moveManifest(
  storage: StateStorage,
  from: Repository,
  to: Repository,
  digest: Digest,
  tags: readonly Tag[],
): Promise<boolean> {
  const manifest = await found(from.manifests.get(digest));
  if (manifest === undefined) return false;
  const { bytes, mediaType, size } = manifest;
  await to.manifests.put({ bytes, mediaType, digest, tags });
  const used = { name: to.name, kind: 'manifests', digest, size } as const;
  await storage.driver.write(usedKey(used), new Uint8Array(), { volatile: true });
  await found(from.manifests.delete(digest));
  return true;
}

async function tagsByDigest({ tags }: Repository): Promise<ReadonlyMap<Digest, readonly Tag[]>> {
  const byDigest = new Map<Digest, Tag[]>();
  for (let last: Tag | undefined; ;) {
    const page = await found(tags.list({ limit: 1000, ...(last === undefined ? {} : { last }) }));
    for (const tag of page?.items ?? []) {
      const digest = await found(tags.resolve(tag));
      if (digest !== undefined) byDigest.set(digest, [...(byDigest.get(digest) ?? []), tag]);
    }
    last = page?.items.at(-1);
    if (page?.more !== true || last === undefined) return byDigest;
  }
}

/** `{"library/busybox@sha256:…": {"Key": …, "ExpiryData": …, "EntryType": 0}}`; what is none of it is passed over. */
function entriesOf(
  bytes: Uint8Array,
): { readonly name: RepositoryName; readonly digest: Digest; readonly isBlob: boolean }[] {
  let state: unknown;
  try {
    state = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return [];
  }
  return Object.entries(state ?? {}).flatMap(([key, entry]) => {
    const [name = '', digest = ''] = key.split('@');
    if (!isRepositoryName(name) || !isDigest(digest)) return [];
    return [{ name, digest, isBlob: (entry as { EntryType?: unknown } | null)?.EntryType === BLOB }];
  });
}
