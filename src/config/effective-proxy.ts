/** From the section `proxy` to what is in force. */
import { resolve } from 'node:path';
import type { ProxyConfig, UpstreamConfig } from './config.ts';
import type { Findings } from './findings.ts';
import type { DurationValue } from './scalars.ts';
import type { File } from './schema.ts';
import type { MapNode, Path } from './tree.ts';

type Section = NonNullable<File['proxy']>;
type Upstream = NonNullable<Section['upstreams']>[number];

/** `registry:2`'s `proxy.ttl` when it is left out. */
const DEFAULT_TTL_MS = 168 * 3_600_000;
const DEFAULT_TAG_TTL_MS = 60_000;
const DEFAULT_TIMEOUT_MS = 15_000;

/** What a path may name when nothing is said: registries that anybody may read. */
const PUBLIC_REGISTRIES = [
  'docker.io',
  'ghcr.io',
  'quay.io',
  'registry.k8s.io',
  'gcr.io',
  'mcr.microsoft.com',
  'public.ecr.aws',
  'registry.gitlab.com',
];

/** What is said of it; `push` may be left out, and then depends on who can reach us. */
export type SaidProxy = Omit<ProxyConfig, 'push'> & Partial<Pick<ProxyConfig, 'push'>>;

/** What is cached when nobody has said anything: what the large public registries have. */
export const DEFAULT_PROXY: SaidProxy = {
  upstreams: [],
  allow: PUBLIC_REGISTRIES,
  own: [],
  defaults: { tagTtlMs: DEFAULT_TAG_TTL_MS, ttlMs: DEFAULT_TTL_MS, timeoutMs: DEFAULT_TIMEOUT_MS },
};

export class EffectiveProxy {
  readonly #section: Section;
  readonly #root: MapNode;
  readonly #findings: Findings;

  constructor(section: Section, root: MapNode, findings: Findings) {
    this.#section = section;
    this.#root = root;
    this.#findings = findings;
  }

  /** undefined for a section that means nothing, as `registry:2` takes one without a URL. */
  read(): SaidProxy | undefined {
    const { remoteurl, upstreams, allow, own, maxsize, push, ttl, tagttl, timeout } = this.#section;
    const isOurs = [upstreams, allow, own, maxsize, tagttl, timeout, push].some(isGiven);
    if (remoteurl === '' && !isOurs) return undefined;
    const defaults = {
      ttlMs: this.#ms(ttl, ['ttl']) ?? DEFAULT_TTL_MS,
      tagTtlMs: this.#ms(tagttl, ['tagttl']) ?? DEFAULT_TAG_TTL_MS,
      timeoutMs: this.#ms(timeout, ['timeout']) ?? DEFAULT_TIMEOUT_MS,
    };
    const configured = (upstreams ?? []).map((one, index) => this.#upstream(one, index, defaults));
    for (const [index, { name }] of configured.entries()) {
      if (configured.findIndex((one) => one.name === name) < index)
        this.#problem(['upstreams', index, 'name'], 'is the name of another upstream too');
    }
    const fallback = remoteurl ? this.#fallback(remoteurl, configured, defaults) : undefined;
    return {
      upstreams:
        fallback === undefined || configured.includes(fallback) ? configured : [...configured, fallback],
      ...(fallback === undefined ? {} : { fallback: fallback.name }),
      // A mirror of one registry offers that one, unless more is said.
      allow: allow ?? (remoteurl ? [] : PUBLIC_REGISTRIES),
      own: own ?? [],
      defaults,
      ...(isGiven(maxsize) ? { maxBytes: maxsize } : {}),
      ...(isGiven(push) ? { push } : {}),
    };
  }

  #upstream(one: Upstream, index: number, defaults: ProxyConfig['defaults']): UpstreamConfig {
    const { name, url, ca, insecure, tags, allow, deny, ratelimit, push } = one;
    const path = ['upstreams', index];
    if (!url && !name.includes('.')) {
      this.#problem([...path, 'url'], 'is missing: a short name does not say where the registry is');
    }
    if (ca && insecure === true)
      this.#problem([...path, 'insecure'], 'takes any certificate, and ca asks for one');
    return {
      name,
      url: url || `https://${name === 'docker.io' ? 'registry-1.docker.io' : name}`,
      ...this.#login(one, path),
      ...(ca ? { ca: resolve(ca) } : {}),
      ...(insecure === true ? { insecure } : {}),
      hosts: one.hosts ?? [],
      ttlMs: this.#ms(one.ttl, [...path, 'ttl']) ?? defaults.ttlMs,
      tagTtlMs: this.#ms(one.tagttl, [...path, 'tagttl']) ?? defaults.tagTtlMs,
      tags: (tags ?? []).map(({ match, ttl }, rule) => ({
        match,
        ttlMs: this.#ms(ttl, [...path, 'tags', rule, 'ttl']) ?? 0,
      })),
      allow: allow ?? [],
      deny: deny ?? [],
      timeoutMs: this.#ms(one.timeout, [...path, 'timeout']) ?? defaults.timeoutMs,
      ...(isGiven(ratelimit) ? { rateLimit: ratelimit } : {}),
      ...(push === true ? { push } : {}),
    };
  }

  /** The upstream of `remoteurl`: one that is configured by the same URL, or one of its own. */
  #fallback(
    remoteUrl: string,
    configured: readonly UpstreamConfig[],
    defaults: ProxyConfig['defaults'],
  ): UpstreamConfig {
    const { host, href } = new URL(remoteUrl);
    const known = configured.find(({ url }) => new URL(url).href === href);
    if (known !== undefined) return known;
    const name = host === 'registry-1.docker.io' ? 'docker.io' : host.replaceAll(/[^a-z0-9.]+/g, '-');
    return {
      name: name.replaceAll(/^-|-$/g, ''),
      url: remoteUrl,
      ...this.#login(this.#section, []),
      ttlMs: defaults.ttlMs,
      // registry:2 asks for a tag each time.
      tagTtlMs: isGiven(this.#section.tagttl) ? defaults.tagTtlMs : 0,
      tags: [],
      allow: [],
      deny: [],
      hosts: [],
      timeoutMs: defaults.timeoutMs,
    };
  }

  #login(
    { username, password, exec }: Pick<Upstream, 'username' | 'password' | 'exec'>,
    path: Path,
  ): Pick<UpstreamConfig, 'username' | 'password' | 'exec'> {
    if (!username && password) this.#problem([...path, 'username'], 'is missing, and password needs it');
    if (isGiven(exec)) {
      if (username)
        this.#problem([...path, 'exec'], 'tells another login than username: leave one of them out');
      const lifetimeMs = this.#ms(exec.lifetime, [...path, 'exec', 'lifetime']);
      return { exec: { command: exec.command, ...(lifetimeMs === undefined ? {} : { lifetimeMs }) } };
    }
    if (username && !isGiven(password))
      this.#problem([...path, 'password'], 'is missing, and username needs it');
    return username ? { username, password: password ?? '' } : {};
  }

  #ms(value: DurationValue | null | undefined, path: Path): number | undefined {
    if (!isGiven(value)) return undefined;
    const { ms, unitless } = value;
    const whole = ['proxy', ...path];
    if (unitless)
      this.#findings.warningAt(this.#root, whole, 'has no unit, so it counts as nanoseconds; write "30s"');
    return ms;
  }

  #problem(path: Path, message: string): void {
    this.#findings.problemAt(this.#root, ['proxy', ...path], message);
  }
}

/** A setting of which only the name is written is as good as left out. */
function isGiven<T>(value: T | null | undefined): value is T {
  return value !== null && value !== undefined;
}
