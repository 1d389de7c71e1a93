/** The upstreams: those of the configuration, and public ones that a path may name. */
import { glob } from '../oci/glob.ts';
import type { RepositoryName, Tag } from '../oci/name.ts';
import { RateLimit, type RateLimitOptions } from './rate-limit.ts';
import type { CacheStatistics } from './statistics.ts';
import { Upstream } from './upstream.ts';
import type { UpstreamTools } from './upstream-content.ts';
import { type CredentialHelper, credentialSource, type UpstreamCredentials } from './upstream-credentials.ts';
import { type Rest, UpstreamHealth } from './upstream-health.ts';
import { canonicalHost, keptName, PROXY, repositoryAt, splitName, upstreamUrl } from './upstream-names.ts';

export interface UpstreamConfig {
  /** As paths name it: a host, or a short name. */
  readonly name: string;
  readonly url: string;
  readonly credentials?: UpstreamCredentials | undefined;
  readonly helper?: CredentialHelper | undefined;
  /** PEM. */
  readonly ca?: string | undefined;
  readonly insecure?: boolean | undefined;
  /** Other hosts that it may send us to, for tokens and content, also in a private network. */
  readonly hosts?: readonly string[];
  /** How long a tag is good without asking for it again, in milliseconds. */
  readonly tagTtlMs: number;
  /** Other times for tags that match a pattern; the first that matches counts. */
  readonly tags?: readonly { readonly match: string; readonly ttlMs: number }[];
  /** Milliseconds after its last use at which content is forgotten; 0 for never. */
  readonly ttlMs: number;
  /** Patterns of its repositories; without any, all are allowed. */
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
  readonly timeoutMs: number;
  readonly rateLimit?: RateLimitOptions | undefined;
  /** Whether pushes are handed on to it. */
  readonly push?: boolean | undefined;
}

/** What goes for upstreams that are not configured. */
export interface UpstreamDefaults {
  readonly tagTtlMs: number;
  readonly ttlMs: number;
  readonly timeoutMs: number;
}

export interface UpstreamsOptions {
  readonly upstreams: readonly UpstreamConfig[];
  readonly defaults: UpstreamDefaults;
  /** Hosts that a path may name without being configured. `*` is any public one. */
  readonly allow: readonly string[];
  readonly statistics: CacheStatistics;
  /** Tells other processes that a fetch was counted against an upstream's limit. */
  readonly onTaken?: ((upstream: string) => void) | undefined;
  /** Tells other processes that an upstream asked to be left alone. */
  readonly onRest?: ((upstream: string, rest: Rest) => void) | undefined;
  /** Told when an upstream refuses us something although we have a login there. */
  readonly onRefused?: ((upstream: string, reason: string) => void) | undefined;
  readonly now?: (() => number) | undefined;
}

/** One upstream that is asked. */
export interface Reached {
  readonly name: string;
  readonly tools: UpstreamTools;
  readonly tagTtlMs: (tag: Tag) => number;
  readonly push: boolean;
}

/** A repository of an upstream, and its name here. */
export interface UpstreamRepository {
  readonly upstream: string;
  /** As the upstream calls it. */
  readonly repository: RepositoryName;
  readonly name: RepositoryName;
}

/** Upstreams that are remembered beside those of the configuration. */
const MAX_UPSTREAMS = 1_000;
const MAX_FOUND = 10_000;

export class Upstreams {
  readonly #options: UpstreamsOptions;
  readonly #reached = new Map<string, Reached>();
  /** What names were found to stand for, as each request asks. */
  readonly #found = new Map<RepositoryName, UpstreamRepository>();

  constructor(options: UpstreamsOptions) {
    this.#options = options;
  }

  /**
   * The upstream's repository that a name here stands for: `proxy/<upstream>/<repository>`, or `<upstream>/<repository>`
   * for an upstream of the configuration. undefined for names of our own, and for what nobody may name.
   */
  find(name: RepositoryName): UpstreamRepository | undefined {
    const known = this.#found.get(name);
    if (known !== undefined) return known;
    const found = this.#find(name);
    if (found === undefined) return undefined;
    if (this.#found.size >= MAX_FOUND) this.#found.clear();
    this.#found.set(name, found);
    return found;
  }

  #find(name: RepositoryName): UpstreamRepository | undefined {
    // Most names are our own, and this is asked for each request: so the first component alone before anything else.
    const first = name.slice(0, Math.max(0, name.indexOf('/')));
    if (first !== PROXY && this.#configured(first) === undefined) return undefined;
    const split = splitName(name);
    if (split === undefined || first !== PROXY) return split && this.#at(split.first, split.rest);
    const inner = splitName(split.rest);
    return inner === undefined ? undefined : this.#at(inner.first, inner.rest);
  }

  /** What a client means that calls a repository by its name in a registry of that host. */
  mirrored(host: string, name: RepositoryName): UpstreamRepository | undefined {
    return this.#at(host, name);
  }

  /** Whether the upstream is one that it may be asked for. */
  isAllowed({ upstream, repository }: UpstreamRepository): boolean {
    const config = this.#configured(upstream);
    const matches = (patterns: readonly string[]) => patterns.some((pattern) => glob(pattern)(repository));
    const { allow = [], deny = [] } = config ?? {};
    return (allow.length === 0 || matches(allow)) && !matches(deny);
  }

  /** Milliseconds after its last use at which content of a cached repository goes; undefined for never. */
  ttlOf(name: RepositoryName): number | undefined {
    const found = this.find(name);
    const ttl =
      (found === undefined ? undefined : this.#configured(found.upstream)?.ttlMs) ??
      this.#options.defaults.ttlMs;
    return ttl === 0 ? undefined : ttl;
  }

  /** What is needed to ask it. */
  reach(name: string): Reached {
    const known = this.#reached.get(name);
    if (known !== undefined) return known;
    const { defaults, statistics, onTaken, onRest, onRefused, now } = this.#options;
    const config = this.#configured(name);
    const url = config === undefined ? upstreamUrl(name) : new URL(config.url);
    const { tagTtlMs, timeoutMs } = config ?? defaults;
    const rules = (config?.tags ?? []).map(({ match, ttlMs }) => ({ matches: glob(match), ttlMs }));
    const reached: Reached = {
      name,
      tools: {
        upstream: new Upstream({
          name,
          url,
          credentials: credentialSource(config?.credentials, config?.helper, url),
          trust: { ca: config?.ca, insecure: config?.insecure },
          isConfigured: config !== undefined,
          hosts: config?.hosts ?? [],
          timeoutMs,
        }),
        health: new UpstreamHealth(now, (rest) => onRest?.(name, rest)),
        onRefused:
          config?.credentials === undefined && config?.helper === undefined
            ? undefined
            : (reason) => onRefused?.(name, reason),
        limit:
          config?.rateLimit === undefined
            ? undefined
            : new RateLimit(config.rateLimit, now, () => onTaken?.(name)),
        statistics,
      },
      tagTtlMs: (tag) => rules.find(({ matches }) => matches(tag))?.ttlMs ?? tagTtlMs,
      push: config?.push === true,
    };
    this.#reached.set(name, reached);
    if (this.#reached.size > MAX_UPSTREAMS) this.#reached.clear();
    return reached;
  }

  #configured(name: string): UpstreamConfig | undefined {
    return this.#options.upstreams.find((one) => one.name === name);
  }

  /** By its name, or by the host that it is at: who asks for `docker.io` gets what is configured as `hub`. */
  #at(called: string, repository: RepositoryName): UpstreamRepository | undefined {
    const host = canonicalHost(called);
    const config =
      this.#options.upstreams.find((one) => one.name === called || canonicalHost(one.name) === host) ??
      this.#options.upstreams.find((one) => canonicalHost(new URL(one.url).host) === host);
    if (config === undefined && !this.#isPublic(host)) return undefined;
    const upstream = config?.name ?? host;
    // Also for a mirror of Docker Hub that goes by its name.
    const isHub = config !== undefined && canonicalHost(config.name) === 'docker.io';
    const at = config === undefined || isHub ? host : canonicalHost(new URL(config.url).host);
    const full = repositoryAt(at, repository);
    const name = keptName(upstream, full);
    return name === undefined ? undefined : { upstream, repository: full, name };
  }

  /** A path names a public registry, never a machine of this network. */
  #isPublic(host: string): boolean {
    const isAllowed = this.#options.allow.some((one) => one === '*' || canonicalHost(one) === host);
    return isAllowed && host.includes('.') && !/^[\d.]+$/.test(host);
  }
}
