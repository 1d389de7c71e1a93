/** A cache in this process, over storage in memory and a clock that the test moves. */
import { MemoryDriver } from '../../src/drivers/memory.ts';
import type { Digest } from '../../src/oci/digest.ts';
import type { RepositoryName, Tag } from '../../src/oci/name.ts';
import { ProxyRegistry, type ProxyOptions } from '../../src/proxy/proxy-registry.ts';
import type { UpstreamConfig } from '../../src/proxy/upstreams.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { Objects } from '../../src/store/objects.ts';
import { discardUnlinked } from '../../src/store/trash.ts';
import { sha256 } from './upstream-server.ts';

const UNCHECKED = { enabled: false, allowUrl: () => true, requireChild: () => false };

export interface TestCache {
  readonly driver: MemoryDriver;
  readonly own: LocalRegistry;
  /** Another process over the same storage. */
  another(more?: Partial<Pick<ProxyOptions, 'readOnly'>>): ProxyRegistry;
  readonly registry: ProxyRegistry;
  /** Lines of the log. */
  readonly lines: string[];
  now(): number;
  /** Moves the clock. */
  pass(ms: number): void;
}

export interface CacheSettings extends Partial<
  Pick<ProxyOptions, 'maxBytes' | 'fallback' | 'allow' | 'pushBeside'>
> {
  readonly url: string;
  readonly upstream?: Partial<UpstreamConfig>;
}

/** One that caches the upstream at `url` as `lab`. */
export function openCache({ url, upstream = {}, ...settings }: CacheSettings): TestCache {
  let now = Date.UTC(2026, 0, 1);
  const driver = new MemoryDriver(() => now);
  const objects = new Objects(driver);
  const own = new LocalRegistry(driver, UNCHECKED);
  const lines: string[] = [];
  const write = (message: string, fields?: object) =>
    void lines.push(`${message} ${JSON.stringify(fields ?? {})}`);
  const another = (more: Partial<Pick<ProxyOptions, 'readOnly'>> = {}) =>
    new ProxyRegistry({
      own,
      cache: new LocalRegistry(driver, UNCHECKED, () => Number.POSITIVE_INFINITY),
      storage: objects,
      reclaim: async (digests) => void (await discardUnlinked(objects, digests)),
      upstreams: [{ name: 'lab', url, tagTtlMs: 60_000, ttlMs: 0, timeoutMs: 2_000, ...upstream }],
      defaults: { tagTtlMs: 60_000, ttlMs: 0, timeoutMs: 2_000 },
      allow: [],
      log: { info: write, warn: write },
      now: () => now,
      touchEveryMs: 1,
      ...settings,
      ...more,
    });
  return {
    driver,
    own,
    another,
    registry: another(),
    lines,
    now: () => now,
    pass: (ms) => {
      now += ms;
    },
  };
}

export const NAME = 'proxy/lab/team/app' as RepositoryName;

/** A blob as a client gets it. It is given before it is kept, which is waited for here. */
export async function pullBlob(registry: ProxyRegistry, digest: string, name = NAME): Promise<Buffer> {
  const { blobs } = registry.repository(name);
  const { body } = await blobs.open(digest as Digest);
  const bytes = Buffer.from(await new Response(body).arrayBuffer());
  const isKept = async () => (await blobs.open(digest as Digest)).body instanceof Blob;
  for (const end = Date.now() + 120_000; !(await isKept()) && Date.now() < end;)
    await new Promise((resolve) => setTimeout(resolve, 1));
  return bytes;
}

export async function pullManifest(registry: ProxyRegistry, reference: string, name = NAME): Promise<string> {
  const { bytes } = await registry.repository(name).manifests.get(reference as Tag | Digest);
  return Buffer.from(bytes).toString();
}

/** An image manifest of those blobs. */
export function imageOf(config: string, ...layers: readonly string[]): string {
  const descriptor = (digest: string) => ({
    mediaType: 'application/vnd.oci.image.layer.v1.tar',
    digest,
    size: 1,
  });
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { ...descriptor(config), mediaType: 'application/vnd.oci.image.config.v1+json' },
    layers: layers.map(descriptor),
  });
}

/** The sum of the sizes of all cached content, each piece once. */
export async function keptBytes({ registry }: TestCache): Promise<number> {
  return ((await registry.cache.report()) as { bytes: number }).bytes;
}

/** Bytes in the storage under a digest, whoever links to them. */
export async function hasBytes({ driver }: TestCache, content: Buffer): Promise<boolean> {
  const hex = sha256(content).slice('sha256:'.length);
  return driver.statSmall(`docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`) !== undefined;
}
