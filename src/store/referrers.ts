import type { Change } from '../drivers/driver.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { algorithmOf, type Digest, hexOf, isDigest } from '../oci/digest.ts';
import { type Manifest } from '../oci/manifest.ts';
import { readStoredManifest } from '../oci/stored-manifest.ts';
import { isTag, type RepositoryName } from '../oci/name.ts';
import type { Page, PageRequest, Referrers } from '../oci/registry.ts';
import { referrerEntry, referrerKey, referrersPrefix } from './layout.ts';
import { presentLink } from './links.ts';
import { type ManifestTools, readLinkedManifest, subjectOf } from './linked-manifests.ts';
import type { Objects } from './objects.ts';
import { resolveTag } from './tags.ts';

/** A referrer with the name that orders it. */
interface Entry {
  readonly name: string;
  readonly descriptor: Descriptor;
}

type Query = PageRequest & { readonly artifactTypes?: readonly string[] };

/**
 * The referrers of manifests in one repository: those of our index, which costs one list, and those that a
 * client recorded by the tag scheme while a registry without the API served the repository.
 */
export class StoredReferrers implements Referrers {
  readonly #tools: ManifestTools;
  readonly #name: RepositoryName;

  constructor(tools: ManifestTools, name: RepositoryName) {
    this.#tools = tools;
    this.#name = name;
  }

  async list(digest: Digest, query: Query): Promise<Page<Descriptor>> {
    const last = query.last !== undefined && isDigest(query.last) ? referrerEntry(query.last) : '';
    const [indexed, tagged] = await Promise.all([
      this.#indexed(digest, last, query),
      this.#tagged(digest, last, query),
    ]);
    const all = new Map([...indexed, ...tagged].map((entry) => [entry.name, entry.descriptor]));
    const names = [...all.keys()].sort();
    const items = names.slice(0, query.limit).flatMap((name) => all.get(name) ?? []);
    return { items, more: names.length > query.limit };
  }

  /** One more than the page holds, so that it shows whether there is a next one. */
  async #indexed(subject: Digest, last: string, query: Query): Promise<Entry[]> {
    const { objects } = this.#tools;
    const prefix = referrersPrefix(this.#name, subject);
    const entries: Entry[] = [];
    for await (const { key } of objects.level(prefix, {
      after: last === '' ? '' : prefix + last,
      ...(query.signal === undefined ? {} : { signal: query.signal }),
    })) {
      const descriptor = parseDescriptor(await objects.bytes(key));
      if (descriptor === undefined || !matches(descriptor, query)) continue;
      if ((await presentLink(objects, this.#name, 'revisions', descriptor.digest)) === undefined) continue;
      entries.push({ name: key.slice(prefix.length), descriptor });
      if (entries.length > query.limit) break;
    }
    return entries;
  }

  /** The specification: those listed in the referrers tag's index whose subject is valid MUST be included. */
  async #tagged(subject: Digest, last: string, query: Query): Promise<Entry[]> {
    const { objects } = this.#tools;
    const tag = `${algorithmOf(subject)}-${hexOf(subject).slice(0, 64)}`;
    const target = isTag(tag) ? await resolveTag(objects, this.#name, tag) : undefined;
    const index = target === undefined ? undefined : await this.#read(target);
    if (index?.manifest.kind !== 'index') return [];
    const entries: Entry[] = [];
    for (const { digest } of index.manifest.manifests) {
      if (!isDigest(digest) || referrerEntry(digest) <= last) continue;
      const child = await this.#read(digest);
      if (child === undefined || subjectOf(child.manifest) !== subject) continue;
      const descriptor = describe(child);
      if (matches(descriptor, query)) entries.push({ name: referrerEntry(digest), descriptor });
    }
    return entries;
  }

  async #read(digest: Digest): Promise<Referrer | undefined> {
    const stored = await readLinkedManifest(this.#tools, this.#name, digest);
    return stored === undefined
      ? undefined
      : { digest, size: stored.size, manifest: readStoredManifest(stored.bytes) };
  }
}

/** A manifest that refers to another one. */
export interface Referrer {
  readonly digest: Digest;
  readonly manifest: Manifest;
  /** Size of the manifest in bytes. */
  readonly size: number;
}

function describe({ digest, manifest, size }: Referrer): Descriptor & { digest: Digest } {
  const { mediaType, artifactType, annotations } = manifest;
  return {
    mediaType,
    digest,
    size,
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(annotations === undefined ? {} : { annotations }),
  };
}

/** What enters a manifest into the index of its subject; undefined when it is there already, unless it is to be `isAnew`. */
export async function referrerChange(
  objects: Objects,
  name: RepositoryName,
  subject: Digest,
  referrer: Referrer,
  { isAnew = false }: { readonly isAnew?: boolean } = {},
): Promise<Change | undefined> {
  const key = referrerKey(name, subject, referrer.digest);
  if (!isAnew && (await objects.isSettled(key))) return undefined;
  return { write: key, bytes: Buffer.from(JSON.stringify(describe(referrer))) };
}

/** Takes a manifest out of the index of its subject. */
export async function deleteReferrer(
  objects: Objects,
  name: RepositoryName,
  subject: Digest,
  referrer: Digest,
): Promise<void> {
  await objects.driver.delete([referrerKey(name, subject, referrer)]);
}

/** The descriptor that `referrerChange` wrote; undefined for anything else that lies there. */
export function parseDescriptor(
  bytes: Uint8Array | undefined,
): (Descriptor & { digest: Digest }) | undefined {
  try {
    const value = JSON.parse(Buffer.from(bytes ?? []).toString()) as Descriptor | null;
    return typeof value?.digest === 'string' && isDigest(value.digest)
      ? { ...value, digest: value.digest }
      : undefined;
  } catch {
    return undefined;
  }
}

function matches(descriptor: Descriptor, { artifactTypes }: Query): boolean {
  return artifactTypes === undefined || artifactTypes.includes(descriptor.artifactType ?? '');
}
