/** The registry of both: our own repositories, and those of others. */
import type { Logger } from '../log.ts';
import type { Digest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { Page, PageRequest, Registry, Repository } from '../oci/registry.ts';
import { Absences } from './absences.ts';
import { RecentLists } from './cached-lists.ts';
import type { CachedPlace, CacheTools } from './cached-place.ts';
import { CachedRepository } from './cached-repository.ts';
import { CacheSpace } from './cache-space.ts';
import type { CachedContent, StateStorage } from './cache-state.ts';
import { FallbackRepository } from './fallback-repository.ts';
import { ForwardedPushes } from './forwarded-pushes.ts';
import { found } from './found.ts';
import { ImageCache } from './image-cache.ts';
import { CacheStatistics } from './statistics.ts';
import { TagRecords } from './tag-records.ts';
import { Transfers } from './transfers.ts';
import { UpstreamContent } from './upstream-content.ts';
import { PROXY } from './upstream-names.ts';
import type { Rest } from './upstream-health.ts';
import {
  type UpstreamConfig,
  type UpstreamDefaults,
  type UpstreamRepository,
  Upstreams,
} from './upstreams.ts';

export interface ProxyOptions {
  readonly own: Registry;
  /** The same storage, by a registry that takes manifests of which the content is not here yet. */
  readonly cache: Registry;
  /** The same storage, for what the cache remembers of itself. */
  readonly storage: StateStorage;
  /** Removes the bytes of digests to which no repository has a link. */
  readonly reclaim: (digests: readonly Digest[]) => Promise<void>;
  readonly upstreams: readonly UpstreamConfig[];
  readonly defaults: UpstreamDefaults;
  /** Hosts that a path may name without being configured. `*` is any public one. */
  readonly allow: readonly string[];
  /** The upstream's name whose repositories are served by unprefixed names, where we have none of our own. */
  readonly fallback?: string | undefined;
  /** Whether unprefixed names can be pushed to although there is a fallback. */
  readonly pushBeside?: boolean | undefined;
  /** What the cache may take, in bytes. */
  readonly maxBytes?: number | undefined;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** Told of everything that other processes of this server should know; plain JSON. */
  readonly tell?: ((message: unknown) => void) | undefined;
  /** Milliseconds since 1970. */
  readonly now?: (() => number) | undefined;
  readonly touchEveryMs?: number | undefined;
  readonly lookEveryMs?: number | undefined;
  /** Whether nothing may be written: then only what is kept is served. */
  readonly readOnly?: (() => boolean) | undefined;
}

/** Messages that a process sends to the others of its server. */
interface Added {
  readonly subject: 'cache added';
  readonly digest: Digest;
  readonly size: number;
}

interface Resting {
  readonly subject: 'upstream rests';
  readonly upstream: string;
  readonly rest: Rest;
}

interface LimitTaken {
  readonly subject: 'upstream limit';
  readonly upstream: string;
}

/** Milliseconds for which the same is not told again. */
const TELL_EVERY = 60_000;

export class ProxyRegistry implements Registry {
  readonly statistics: CacheStatistics;
  readonly cache: ImageCache;
  readonly space: CacheSpace;
  readonly #options: ProxyOptions;
  readonly #upstreams: Upstreams;
  readonly #tools: CacheTools;
  readonly #recent = new RecentLists();
  readonly #told = new Map<string, number>();

  constructor(options: ProxyOptions) {
    this.#options = options;
    const { storage, maxBytes, log, reclaim, tell, now = Date.now, touchEveryMs, lookEveryMs } = options;
    this.statistics = new CacheStatistics(tell);
    const { statistics } = this;
    this.#upstreams = new Upstreams({
      ...options,
      statistics,
      onRest: (upstream, rest) => tell?.({ subject: 'upstream rests', upstream, rest } satisfies Resting),
      onRefused: (upstream, reason) =>
        this.#warn(upstream, `${reason}: the login of the configuration is refused, or may not see it`),
      onTaken: (upstream) => tell?.({ subject: 'upstream limit', upstream } satisfies LimitTaken),
    });
    this.space = new CacheSpace({
      storage,
      maxBytes,
      ttlOf: (name) => this.#upstreams.ttlOf(name),
      unlink: (content) => this.#unlink(content),
      reclaim,
      readOnly: options.readOnly,
      onAdded: (digest, size) => tell?.({ subject: 'cache added', digest, size } satisfies Added),
      log,
      now,
      ...(touchEveryMs === undefined ? {} : { touchEveryMs }),
    });
    this.#tools = {
      records: new TagRecords(storage, now),
      space: this.space,
      transfers: new Transfers({ storage, space: this.space, statistics, lookEveryMs, log }),
      absences: new Absences(now),
      statistics,
      running: new Map(),
      readOnly: options.readOnly ?? (() => false),
      now,
      onStale: (name, reason) => this.#warnStale(name, reason),
    };
    this.cache = new ImageCache({
      placeOf: (name) => {
        const repository = this.#named(name);
        return repository === undefined ? undefined : this.#placeOf(repository);
      },
      contents: () => this.space.list(),
      remove: (contents) => this.space.remove(contents),
      counted: () => statistics.read(),
      maxBytes,
      log,
    });
  }

  repository(name: RepositoryName): Repository {
    const { own, fallback, pushBeside = false } = this.#options;
    const upstream = this.#upstreams.find(name);
    if (upstream !== undefined) return this.#cached(upstream);
    if (name.startsWith(`${PROXY}/`)) throw unknownUpstream(name);
    const behind = fallback === undefined ? undefined : this.#upstreams.mirrored(fallback, name);
    if (behind === undefined || !this.#upstreams.isAllowed(behind)) return own.repository(name);
    return new FallbackRepository({
      own: own.repository(name),
      behind: () => this.#cached(behind),
      kept: this.#options.cache.repository(behind.name),
      pushable: pushBeside,
    });
  }

  mirrorOf(namespace: string, name: RepositoryName): RepositoryName | undefined {
    // Who names the registry of a mirror by its path here says the same twice.
    if (this.#upstreams.find(name) !== undefined) return undefined;
    return this.#upstreams.mirrored(namespace, name)?.name;
  }

  canonicalName(name: RepositoryName): RepositoryName {
    return this.#upstreams.find(name)?.name ?? name;
  }

  /** Whether the name is one of another registry's repository. */
  isCached(name: RepositoryName): boolean {
    return this.#upstreams.find(name) !== undefined;
  }

  /** The upstream's repository of that name, also by an unprefixed one. */
  #named(name: RepositoryName): UpstreamRepository | undefined {
    const { fallback } = this.#options;
    return (
      this.#upstreams.find(name) ??
      (fallback === undefined ? undefined : this.#upstreams.mirrored(fallback, name))
    );
  }

  /** Whether what is read by that name may be another registry's: clients send such names the logins of that one. */
  isMirrored(name: RepositoryName): boolean {
    return this.#upstreams.find(name) !== undefined || this.#options.fallback !== undefined;
  }

  repositories(page: PageRequest): Promise<Page<RepositoryName>> {
    return this.#options.own.repositories(page);
  }

  /** Takes what another process of this server told. */
  take(message: unknown): void {
    const { subject } = message as { subject?: unknown };
    if (subject === 'cache statistics')
      this.statistics.take(message as Parameters<CacheStatistics['take']>[0]);
    if (subject === 'cache added') {
      const { digest, size } = message as Added;
      this.space.noteAdded(digest, size);
    }
    if (subject === 'upstream rests') {
      const { upstream, rest } = message as Resting;
      this.#upstreams.reach(upstream).tools.health.note(rest);
    }
    if (subject === 'upstream limit') {
      this.#upstreams.reach((message as LimitTaken).upstream).tools.limit?.note();
    }
  }

  /** What is to be done now and then, and at the start: ends what a crash left, and makes room. */
  async sweep(): Promise<void> {
    await this.#tools.transfers.sweep((name) => this.#options.cache.repository(name));
    await this.space.sweep();
  }

  #cached(repository: UpstreamRepository): Repository {
    const place = this.#placeOf(repository);
    const { push, tools } = this.#upstreams.reach(repository.upstream);
    const pushes = push
      ? new ForwardedPushes({ place, upstream: tools.upstream, repository: repository.repository })
      : undefined;
    return new CachedRepository(place, this.#recent, pushes);
  }

  #placeOf(repository: UpstreamRepository): CachedPlace {
    if (!this.#upstreams.isAllowed(repository)) throw notAllowed(repository.name);
    const { tools, tagTtlMs } = this.#upstreams.reach(repository.upstream);
    return {
      local: this.#options.cache.repository(repository.name),
      upstream: new UpstreamContent(tools, repository.repository),
      tagTtlMs,
      tools: this.#tools,
    };
  }

  async #unlink({ name, kind, digest }: CachedContent): Promise<void> {
    const repository = this.#options.cache.repository(name);
    if (kind === 'blobs') await found(repository.blobs.delete(digest));
    else await found(repository.manifests.delete(digest));
  }

  #warnStale(name: RepositoryName, reason: string): void {
    this.#warn(name, `what is kept is served: ${reason}`);
  }

  /** The same about the same once a minute. */
  #warn(about: string, told: string): void {
    const now = Date.now();
    if (now - (this.#told.get(about) ?? 0) < TELL_EVERY) return;
    if (this.#told.size > 1_000) this.#told.clear();
    this.#told.set(about, now);
    this.#options.log.warn(`${about}: ${told}`);
  }
}

function unknownUpstream(name: string): RegistryError {
  return new RegistryError('NAME_UNKNOWN', 'this registry caches nothing under that name', {
    status: 404,
    detail: { name },
  });
}

function notAllowed(name: string): RegistryError {
  return new RegistryError('DENIED', 'this registry does not cache that repository of the upstream', {
    detail: { name },
  });
}
