/** From the configuration's upstreams to a registry that caches them. A part of the composition root. */
import { readFileSync } from 'node:fs';
import type { Peers } from './app-access.ts';
import type { Config, ProxyConfig, UpstreamConfig } from './config/config.ts';
import { type StorageDriver, StorageFailure } from './drivers/driver.ts';
import type { Logger } from './log.ts';
import type { RepositoryName } from './oci/name.ts';
import type { Registry } from './oci/registry.ts';
import { adoptCache } from './proxy/adopt-cache.ts';
import { ProxyRegistry } from './proxy/proxy-registry.ts';
import { CacheStatistics } from './proxy/statistics.ts';
import { type UpstreamConfig as Upstream, Upstreams } from './proxy/upstreams.ts';
import { StartFailure } from './start-failure.ts';
import { LocalRegistry } from './store/local-registry.ts';
import type { ManifestRules } from './store/manifest-rules.ts';
import { Objects } from './store/objects.ts';
import { discardUnlinked, emptyTrash, TRASH_KEPT_FOR } from './store/trash.ts';

/** How often what is too old or too much is looked for, in milliseconds; and for the first time after the start. */
const SWEEP_EVERY = 10 * 60_000;
const FIRST_SWEEP = 5_000;

/** What an image refers to comes when it is asked for. */
const UNCHECKED: ManifestRules = { enabled: false, allowUrl: () => true, requireChild: () => false };

/**
 * Puts the cache of other registries around our own; undefined where none is configured.
 * @throws StartFailure when a file that it needs cannot be read
 */
export function wireProxy(
  { proxy, storage }: Config,
  driver: StorageDriver,
  own: Registry,
  log: Logger,
  {
    peers,
    readOnly = () => storage.readOnly,
  }: { readonly peers?: Peers | undefined; readonly readOnly?: () => boolean } = {},
): ProxyRegistry | undefined {
  if (proxy === undefined) return undefined;
  const objects = new Objects(driver);
  const mayPush = proxy.push && !storage.readOnly;
  const ttls = [proxy.defaults.ttlMs, ...proxy.upstreams.map(({ ttlMs }) => ttlMs)].filter((ttl) => ttl > 0);
  const registry = new ProxyRegistry({
    // A use has to be noted well within the shortest time that content is kept for.
    touchEveryMs: Math.min(60_000, ...ttls.map((ttl) => ttl / 4)),
    own,
    // The collector leaves the links of cached content alone.
    cache: new LocalRegistry(driver, UNCHECKED, () => Number.POSITIVE_INFINITY),
    storage: objects,
    reclaim: async (digests) => {
      if ((await discardUnlinked(objects, digests)).length > 0) emptyTrashSoon(objects, log);
    },
    upstreams: proxy.upstreams
      .map(upstreamOf)
      .map((upstream) => ({ ...upstream, push: upstream.push === true && mayPush })),
    defaults: proxy.defaults,
    allow: proxy.allow,
    fallback: proxy.fallback,
    pushBeside: mayPush,
    readOnly,
    maxBytes: proxy.maxBytes,
    log,
    ...(peers === undefined ? {} : { tell: (message: unknown) => peers.tell(message) }),
  });
  peers?.onTold((message) => registry.take(message));
  return registry;
}

/** The one name that rights are asked for, of a repository that has several. */
export function canonicalNames({ proxy }: Config): (name: RepositoryName) => RepositoryName {
  if (proxy === undefined) return (name) => name;
  const upstreams = namesOf(proxy);
  return (name) => upstreams.find(name)?.name ?? name;
}

/** Whether a repository's content is another registry's. */
export function cachedNames({ proxy }: Config): (name: RepositoryName) => boolean {
  if (proxy === undefined) return () => false;
  const upstreams = namesOf(proxy);
  return (name) => upstreams.find(name) !== undefined;
}

/** The upstreams, to be asked for names alone. */
function namesOf({ upstreams, defaults, allow }: ProxyConfig): Upstreams {
  return new Upstreams({
    upstreams: upstreams.map((upstream) => ({ ...upstream, ca: undefined, credentials: undefined })),
    defaults,
    allow,
    statistics: new CacheStatistics(),
  });
}

/** Tells which of our own repositories cannot be reached any more, because an upstream has their name. */
async function warnOfHidden(
  own: Registry,
  upstreams: readonly { readonly name: string }[],
  log: Logger,
): Promise<void> {
  for (const { name } of upstreams) {
    const { items } = await own.repositories({ last: name, limit: 1 });
    const hidden = [name, ...items].find((one) => one.startsWith(`${name}/`));
    if (hidden !== undefined)
      log.warn(
        `${hidden} and what else is below ${name}/ cannot be reached: the upstream ${name} has these names`,
      );
  }
}

function upstreamOf({ username, password, exec, ca, ...upstream }: UpstreamConfig): Upstream {
  return {
    ...upstream,
    credentials: username === undefined ? undefined : { username, password: password ?? '' },
    helper: exec === undefined ? undefined : { command: exec.command, lifetimeMs: exec.lifetimeMs },
    ca: ca === undefined ? undefined : readAuthorities(ca, upstream.name),
  };
}

/** @throws StartFailure */
function readAuthorities(path: string, upstream: string): string {
  try {
    const text = readFileSync(path, 'utf8');
    if (text.includes('-----BEGIN CERTIFICATE-----')) return text;
    throw new Error('there is no certificate in it');
  } catch (error) {
    const { message } = error as Error;
    throw new StartFailure(`proxy.upstreams: ${upstream}: ca: ${path}: ${message}`, { cause: error });
  }
}

/**
 * Before anybody is served: takes over what a `registry:2` cached in this storage, and tells what an upstream's name hides.
 * @throws StartFailure
 */
export async function takeOverCache(config: Config, driver: StorageDriver, log: Logger): Promise<void> {
  const { proxy, storage } = config;
  if (proxy === undefined) return;
  const cache = new LocalRegistry(driver, UNCHECKED);
  await warnOfHidden(cache, proxy.upstreams, log);
  const { fallback } = proxy;
  if (fallback === undefined || storage.readOnly) return;
  const registry = wireProxy(config, driver, cache, log);
  try {
    await adoptCache({
      storage: new Objects(driver),
      cache,
      nameOf: (old) => (registry?.isCached(old) === false ? registry.mirrorOf(fallback, old) : undefined),
      log,
    });
  } catch (error) {
    if (!(error instanceof StorageFailure)) throw error;
    throw new StartFailure(`proxy.remoteurl: what registry:2 had cached: ${error.message}`, { cause: error });
  }
}

/** What was let go to make room takes up the disk until the trash is emptied. */
function emptyTrashSoon(objects: Objects, log: Logger): void {
  const timer = setTimeout(() => {
    emptyTrash(objects, Date.now()).catch((error: unknown) =>
      log.error('the trash could not be emptied', { error: String(error) }),
    );
  }, TRASH_KEPT_FOR + 1_000);
  timer.unref();
}

/** Now and then ends what a crash left, and removes what is too old or too much. @returns what ends that */
export function sweepCache(
  registry: ProxyRegistry,
  driver: StorageDriver,
  log: Logger,
  readOnly: () => boolean,
): () => void {
  const objects = new Objects(driver);
  let running = false;
  const sweep = async (): Promise<void> => {
    if (running || readOnly()) return;
    running = true;
    try {
      await registry.sweep();
      await emptyTrash(objects, Date.now());
    } catch (error) {
      log.error('the cache could not be tidied up', { error: String(error) });
    } finally {
      running = false;
    }
  };
  const first = setTimeout(() => void sweep(), FIRST_SWEEP);
  const timer = setInterval(() => void sweep(), SWEEP_EVERY);
  first.unref();
  timer.unref();
  return () => {
    clearTimeout(first);
    clearInterval(timer);
  };
}
