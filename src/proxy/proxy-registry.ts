/** The registry of both: our own repositories, and below `proxy/` those of others. */
import type { Logger } from '../log.ts';
import type { Digest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { Page, PageRequest, Registry, Repository } from '../oci/registry.ts';
import type { BlobTransfer } from './blob-transfer.ts';
import { type CacheTools, CachedRepository } from './cached-repository.ts';
import { TagFreshness } from './tag-freshness.ts';
import { Upstream } from './upstream.ts';
import { UpstreamContent } from './upstream-content.ts';
import {
  canonicalUpstream,
  parseProxyName,
  PROXY,
  proxyName,
  upstreamRepository,
  upstreamUrl,
} from './upstream-names.ts';
import type { UpstreamCredentials } from './upstream-tokens.ts';

export interface UpstreamConfig {
  /** As paths name it: a host, or a short name. */
  readonly name: string;
  readonly url: string;
  readonly credentials?: UpstreamCredentials | undefined;
  /** How long a tag is good without asking for it again, in milliseconds. */
  readonly tagTtlMs: number;
  readonly timeoutMs: number;
}

export interface ProxyOptions {
  readonly own: Registry;
  /** The same storage, by a registry that takes manifests of which the content is not here yet. */
  readonly cache: Registry;
  readonly upstreams: readonly UpstreamConfig[];
  /** Hosts that a path may name without being configured. `*` is any. */
  readonly allow: readonly string[];
  readonly log: Pick<Logger, 'warn'>;
}

const USUAL = { tagTtlMs: 60_000, timeoutMs: 15_000 };
/** Upstreams that are remembered beside those of the configuration. */
const MAX_UPSTREAMS = 1_000;

interface Reached {
  readonly upstream: Upstream;
  readonly tools: CacheTools;
}

export class ProxyRegistry implements Registry {
  readonly #options: ProxyOptions;
  readonly #reached = new Map<string, Reached>();
  readonly #shared = {
    freshness: new TagFreshness(),
    transfers: new Map<string, Promise<BlobTransfer | undefined>>(),
    resolving: new Map<string, Promise<Digest>>(),
  };

  constructor(options: ProxyOptions) {
    this.#options = options;
  }

  repository(name: RepositoryName): Repository {
    const { own, cache } = this.#options;
    if (!name.startsWith(`${PROXY}/`)) return own.repository(name);
    const parsed = parseProxyName(name);
    if (parsed === undefined) throw unknownUpstream(name);
    const { upstream, tools } = this.#reach(parsed.upstream, name);
    const kept = `${PROXY}/${parsed.upstream}/${parsed.repository}` as RepositoryName;
    return new CachedRepository(
      cache.repository(kept),
      new UpstreamContent(upstream, parsed.repository),
      tools,
    );
  }

  mirrorOf(namespace: string, name: RepositoryName): RepositoryName | undefined {
    if (name.startsWith(`${PROXY}/`)) return undefined;
    const repository = upstreamRepository(namespace, name);
    const here = proxyName(repository);
    return here !== undefined && this.#isReachable(repository.upstream) ? here : undefined;
  }

  repositories(page: PageRequest): Promise<Page<RepositoryName>> {
    return this.#options.own.repositories(page);
  }

  #configured(host: string): UpstreamConfig | undefined {
    return this.#options.upstreams.find((one) => canonicalUpstream(one.name) === host);
  }

  #isReachable(host: string): boolean {
    if (this.#configured(host) !== undefined) return true;
    const isAllowed = this.#options.allow.some((one) => one === '*' || canonicalUpstream(one) === host);
    // A path names a public registry, never a machine of this network.
    return isAllowed && host.includes('.') && !/^[\d.]+$/.test(host);
  }

  #reach(host: string, name: RepositoryName): Reached {
    const known = this.#reached.get(host);
    if (known !== undefined) return known;
    if (!this.#isReachable(host)) throw unknownUpstream(name);
    const { log } = this.#options;
    const config = this.#configured(host);
    const { tagTtlMs, timeoutMs } = config ?? USUAL;
    const url = config === undefined ? upstreamUrl(host) : new URL(config.url);
    const reached: Reached = {
      upstream: new Upstream({ name: host, url, credentials: config?.credentials, timeoutMs }),
      tools: {
        ...this.#shared,
        tagTtlMs,
        onStale: (stale, reason) => log.warn(`${stale}: what is kept is served`, { reason }),
      },
    };
    this.#reached.set(host, reached);
    if (this.#reached.size > MAX_UPSTREAMS) this.#reached.clear();
    return reached;
  }
}

function unknownUpstream(name: string): RegistryError {
  return new RegistryError('NAME_UNKNOWN', 'this registry caches nothing under that name', {
    status: 404,
    detail: { name },
  });
}
