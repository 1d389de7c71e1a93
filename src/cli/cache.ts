/** `entrepot cache`: what is kept of other registries. It works on the storage, beside a server that runs or not. */
import { loggerFor, openForReading } from '../app.ts';
import { wireProxy } from '../app-proxy.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import type { StorageDriver } from '../drivers/driver.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import { isRepositoryName, isTag, type RepositoryName, type Tag } from '../oci/name.ts';
import type { CacheControl } from '../oci/registry.ts';
import type { ProxyRegistry } from '../proxy/proxy-registry.ts';
import { UpstreamFailure } from '../proxy/upstream-failure.ts';
import { StartFailure } from '../start-failure.ts';
import { LocalRegistry } from '../store/local-registry.ts';
import { changeStorage } from './change-storage.ts';
import { CommandFailure, type CommandIo, exitCodeOf, processIo } from './command-io.ts';
import { formatSize, formatTime, table } from './format.ts';
import { loadForStorage } from './run-job.ts';

interface WithFile {
  readonly file?: string;
}

/** Prints what is kept, a line a repository, and what it takes. @returns the exit code */
export async function cacheList(
  options: WithFile,
  io: CommandIo = processIo({ isListing: true }),
): Promise<number> {
  return inCache('list', options, io, async ({ space }) => {
    const repositories = new Map<string, { images: number; bytes: number; usedAt: number }>();
    const sizes = new Map<Digest, number>();
    for await (const { content, usedAt } of space.list()) {
      const one = repositories.get(content.name) ?? { images: 0, bytes: 0, usedAt: 0 };
      one.images += content.kind === 'manifests' ? 1 : 0;
      one.bytes += content.size;
      one.usedAt = Math.max(one.usedAt, usedAt);
      repositories.set(content.name, one);
      sizes.set(content.digest, content.size);
    }
    const rows = [...repositories]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, { images, bytes, usedAt }]) => [
        name,
        `${images} manifest${images === 1 ? '' : 's'}`,
        formatSize(bytes),
        `used ${formatTime(usedAt)}`,
      ]);
    for (const line of table(rows)) io.out(`${line}\n`);
    const total = [...sizes.values()].reduce((sum, size) => sum + size, 0);
    io.out(`${repositories.size} repositories, ${formatSize(total)} (what several share counts once)\n`);
  });
}

export interface CachePurgeOptions extends WithFile {
  /** `proxy/docker.io/library/busybox:1.36`, or a repository; undefined with `all`. */
  readonly reference?: string;
  readonly all?: boolean;
}

/** Lets an image go, a repository, or everything. @returns the exit code */
export async function cachePurge(options: CachePurgeOptions, io: CommandIo = processIo()): Promise<number> {
  return inCache('purge', options, io, async (registry) => {
    const { reference, all = false } = options;
    if ((reference === undefined) !== all) {
      throw new CommandFailure('expected an image or a repository, or --all for everything', 2);
    }
    if (reference !== undefined) {
      const { name, what } = parseReference(reference, registry);
      const { manifests, blobs, bytes } = await registry.cache.purge(name, what);
      io.out(`${name}: ${manifests} manifests and ${blobs} blobs are gone, ${formatSize(bytes)}\n`);
      return;
    }
    const contents = [];
    for await (const { content } of registry.space.list()) contents.push(content);
    await registry.space.remove(contents);
    const bytes = contents.reduce((sum, { size }) => sum + size, 0);
    io.out(`${contents.length} manifests and blobs are gone, ${formatSize(bytes)}\n`);
  });
}

export interface CacheWarmOptions extends WithFile {
  readonly reference: string;
  /** `linux/arm64`; all of an index's without one. */
  readonly platform?: string;
}

/** Fetches a whole image ahead. @returns the exit code */
export async function cacheWarm(options: CacheWarmOptions, io: CommandIo = processIo()): Promise<number> {
  return inCache('warm', options, io, async (registry) => {
    const { name, what = 'latest' as Tag } = parseReference(options.reference, registry);
    const { platform } = options;
    if (platform !== undefined && !/^[a-z0-9]+\/[a-z0-9_]+(?:\/[a-z0-9.]+)?$/.test(platform)) {
      throw new CommandFailure(
        `--platform: ${platform} is none; one is such as linux/arm64 or linux/arm/v7`,
        2,
      );
    }
    const { digest, done } = await registry.cache.warm(
      name,
      what,
      platform === undefined ? {} : { platform },
    );
    const { kept, missing } = await done;
    io.out(
      `${name}@${digest}: ${kept.manifests} manifests and ${kept.blobs} blobs are here, ${formatSize(kept.bytes)}\n`,
    );
    if (platform === undefined && missing.manifests + missing.blobs > 0) {
      throw new CommandFailure(`${missing.manifests} manifests and ${missing.blobs} blobs could not be had`);
    }
  });
}

async function inCache(
  command: 'list' | 'purge' | 'warm',
  { file, reference: about }: WithFile & { readonly reference?: string },
  io: CommandIo,
  work: (registry: CacheRegistry) => Promise<void>,
): Promise<number> {
  return exitCodeOf(io, async () => {
    try {
      // Only what stores something makes the folder.
      const config =
        command === 'warm'
          ? (await loadConfig({ ...(file === undefined ? {} : { file }), env: io.env })).config
          : await loadForStorage(file, io);
      if (config.storage.driver.kind === 'inmemory') {
        throw new CommandFailure('storage: what is kept in memory is known to the server alone');
      }
      if (command === 'list') await work(openCache(config, openForReading(config)));
      else await changeStorage(config, `cache ${command}`, io, (driver) => work(openCache(config, driver)));
    } catch (error) {
      if (error instanceof RegistryError || error instanceof UpstreamFailure)
        throw new CommandFailure(`${about ?? 'cache'}: ${error.message}`);
      if (error instanceof StartFailure) throw new CommandFailure(error.message);
      throw error;
    }
  });
}

type CacheRegistry = ProxyRegistry & { readonly cache: CacheControl };

/** @throws CommandFailure where nothing is cached */
function openCache(config: Config, driver: StorageDriver): CacheRegistry {
  const own = new LocalRegistry(driver, { enabled: false, allowUrl: () => true, requireChild: () => false });
  const registry = wireProxy(config, driver, own, loggerFor(config));
  if (registry === undefined)
    throw new CommandFailure('proxy: no other registry is cached by this configuration');
  return registry;
}

/** `proxy/<upstream>/<repository>[:tag|@digest]`; `proxy/` may be left out, and `docker.io/` where nothing else fits. */
function parseReference(
  text: string,
  registry: ProxyRegistry,
): { readonly name: RepositoryName; readonly what?: Tag | Digest } {
  const [, typed = '', tag, digest] = /^(.+?)(?::([^/:@]+))?(?:@(.+))?$/.exec(text) ?? [];
  // A host with its port, as images name it: a repository's name has no colon.
  const [, host = '', rest = ''] = /^([^/]+:\d+)\/(.+)$/.exec(typed) ?? [];
  const path = isRepositoryName(rest) ? (registry.mirrorOf(host, rest) ?? typed) : typed;
  const name =
    [path, `proxy/${path}`, `proxy/docker.io/${path}`].find(
      (one): one is RepositoryName => isRepositoryName(one) && registry.isCached(one),
    ) ?? (isRepositoryName(path) && registry.isMirrored(path) ? path : undefined);
  if (name === undefined) throw new CommandFailure(`${text}: no registry of that name is cached`, 2);
  if (digest !== undefined) {
    if (!isDigest(digest)) throw new CommandFailure(`${text}: ${digest} is no digest`, 2);
    return { name, what: digest };
  }
  if (tag === undefined) return { name };
  if (!isTag(tag)) throw new CommandFailure(`${text}: ${tag} is no tag`, 2);
  return { name, what: tag };
}
