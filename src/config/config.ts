/**
 * The effective configuration: every default filled in, in our own words and units. It holds plain JSON values
 * only, because worker processes receive it as a message, and it is never changed after it was made.
 */
import type { TcpAddress } from './addresses.ts';
import type { AuthConfig } from './auth-config.ts';

export interface Config {
  readonly log: LogConfig;
  readonly storage: StorageConfig;
  readonly http: HttpConfig;
  readonly validation: ValidationConfig;
  /** Left out, no other registry is cached. */
  readonly proxy?: ProxyConfig;
  readonly garbageCollector: GarbageCollectorConfig;
  readonly scrub: ScrubConfig;
  /** Left out, all tags stay. */
  readonly retention?: RetentionConfig;
  /** Where the server that runs is asked for upkeep: the absolute path of a socket; left out, nowhere. */
  readonly admin: { readonly socket?: string };
  /** What repositories may hold; every one that matches goes. Left out, there is no limit. */
  readonly quotas?: readonly QuotaConfig[];
  /** The name under which the registry announces itself on its networks; left out, it does not. */
  readonly mdns?: { readonly name: string };
  /** Left out, nothing is asked of anybody. */
  readonly auth?: AuthConfig;
  /** Most repositories that one page of `/v2/_catalog` may hold. */
  readonly catalog: { readonly maxEntries: number };
  readonly tags: TagsConfig;
}

export interface TagsConfig {
  /** Most tags that one page of a tags list may hold. */
  readonly maxTags: number;
  /** Tags that are neither moved, once they are there, nor deleted. */
  readonly immutable: readonly TagRuleConfig[];
  /** Tags that are not deleted. */
  readonly protected: readonly TagRuleConfig[];
}

/** Tags by patterns: of any of the repositories, any of the tags, and none of the exceptions. */
export interface TagRuleConfig {
  readonly repositories: readonly string[];
  readonly tags: readonly string[];
  readonly except: readonly string[];
}

export type LogLevel = 'error' | 'warn' | 'info' | 'debug';
export type LogFormatter = 'text' | 'json' | 'logstash';

export interface LogConfig {
  readonly level: LogLevel;
  readonly formatter: LogFormatter;
  /** Fields that every line of the log carries. */
  readonly fields: Readonly<Record<string, Json>>;
  /** Whether each request is logged. */
  readonly accessLog: boolean;
}

export interface StorageConfig {
  readonly driver: DriverConfig;
  /** Whether manifests, tags and blobs can be deleted through the API. */
  readonly deleteEnabled: boolean;
  /** Whether what a manifest refers to can be deleted before that manifest. */
  readonly deleteReferenced: boolean;
  /** Whether every request that would change something is refused. */
  readonly readOnly: boolean;
  readonly uploadPurging: UploadPurgingConfig;
}

export type DriverConfig =
  | {
      readonly kind: 'filesystem';
      /** An absolute path. It need not exist yet. */
      readonly rootDirectory: string;
      /** Most file operations at a time; at least 25. */
      readonly maxThreads: number;
    }
  | { readonly kind: 'inmemory' };

export interface UploadPurgingConfig {
  readonly enabled: boolean;
  /** Uploads older than this are removed, in milliseconds. */
  readonly ageMs: number;
  /** Time between two rounds, in milliseconds; above 0. */
  readonly intervalMs: number;
  /** Only log what would be removed. */
  readonly dryRun: boolean;
}

/** Where to listen. An empty hostname means every address of the machine, IPv6 and IPv4. Port 0 takes a free one. */
export type AddressConfig = { readonly hostname: string; readonly port: number } | { readonly unix: string };

export interface HttpConfig {
  readonly addr: AddressConfig;
  /** The path under which `v2/` lies: `/`, or one that begins and ends with a slash such as `/registry/`. */
  readonly prefix: string;
  /** The base URL by which clients reach the registry, without a trailing slash; else Locations are relative. */
  readonly host?: string;
  /** Whether `Location` headers leave out scheme and host. */
  readonly relativeUrls: boolean;
  /** What upload states are signed with. Without it each start makes its own. */
  readonly secret?: string;
  /** Headers that every answer carries. */
  readonly headers: Readonly<Record<string, readonly string[]>>;
  /** How long requests under way may go on after SIGTERM, in milliseconds; 0 stops at once. */
  readonly drainTimeoutMs: number;
  /** Absolute paths of PEM files. Without it the registry speaks plain HTTP. */
  readonly tls?: TlsConfig;
  /** Number of processes that serve; without it the server chooses. */
  readonly workers?: number;
  /** Addresses and blocks of proxies whose word counts for who the client is; `unix` for who comes by the unix socket. */
  readonly trustedProxies: readonly string[];
  /** Where health and metrics are told, to anybody who gets there. */
  readonly debug?: DebugConfig;
}

export interface DebugConfig {
  readonly addr: TcpAddress;
  /** The path of the metrics; without it there are none. */
  readonly metrics?: string;
}

/** An authority of our own, and what it signs for this host. */
export interface LocalCaConfig {
  /** Where its keys and certificates are kept. */
  readonly folder: string;
  /** Names and addresses beside those that the host has. */
  readonly names: readonly string[];
  /** Domains that the authority may sign for; empty for all. */
  readonly constraints: readonly string[];
}

/** Absolute paths of PEM files. Without names it is for those that the certificate has. */
export interface NamedCertificateConfig {
  readonly certificate: string;
  readonly key: string;
  readonly names?: readonly string[];
}

/** A directory (RFC 8555) that signs the certificate. */
export interface AcmeConfig {
  /** Where account, key and certificate are kept; all nodes share it. */
  readonly folder: string;
  readonly directoryUrl: string;
  readonly email?: string;
  /** What a certificate is asked for, in lower case; nothing else ever. At least one. */
  readonly hosts: readonly string[];
  readonly challenge: 'http-01' | 'tls-alpn-01' | 'dns-01';
  /** The program that makes DNS records; there with dns-01, and only then. */
  readonly hook?: string;
  /** Binds the account to one that the directory knows from elsewhere. */
  readonly eab?: { readonly kid: string; readonly hmacKey: string };
  /** The path of a PEM file: authorities of the directory's own TLS, instead of the well-known ones. */
  readonly ca?: string;
}

export interface TlsConfig {
  /** The certificate and key are made by an authority of our own. */
  readonly localCa?: LocalCaConfig;
  /** The certificate and key come from a directory. */
  readonly acme?: AcmeConfig;
  /** Where the authority's certificate is told, a directory answered, and all else sent on to TLS, by plain HTTP. */
  readonly plainAddr?: AddressConfig;
  readonly certificate: string;
  readonly key: string;
  /** Other certificates, which clients are shown that ask for one of their names. */
  readonly named: readonly NamedCertificateConfig[];
  readonly minimumVersion: 'tls1.2' | 'tls1.3';
  /** What may be spoken in TLS 1.2, by OpenSSL's names; empty for the runtime's choice. */
  readonly ciphers: readonly string[];
  /** Who may sign clients' certificates; empty when clients are not asked for one. */
  readonly clientCas: readonly string[];
  readonly clientAuth:
    | 'request-client-cert'
    | 'require-any-client-cert'
    | 'verify-client-cert-if-given'
    | 'require-and-verify-client-cert';
}

export interface QuotaConfig {
  /** A pattern of repositories; `{namespace}` in it makes a quota for each first component of names. */
  readonly repositories: string;
  readonly bytes?: number;
  readonly maxRepositories?: number;
}

export interface ProxyConfig {
  readonly upstreams: readonly UpstreamConfig[];
  /** Hosts that a path may name without being configured; `*` is any public one. */
  readonly allow: readonly string[];
  /** The name of the upstream whose repositories unprefixed names stand for, where we have none of our own. */
  readonly fallback?: string;
  /** Names of this registry, as clients say them by `?ns=`. */
  readonly own: readonly string[];
  /** What goes for upstreams that are not configured. */
  readonly defaults: Pick<UpstreamConfig, 'tagTtlMs' | 'ttlMs' | 'timeoutMs'>;
  /** What all that is cached may take, in bytes; left out, there is no limit. */
  readonly maxBytes?: number;
  /** Whether pushes are taken beside a fallback, and handed on to upstreams. */
  readonly push: boolean;
}

/** Another registry that is cached. */
export interface UpstreamConfig {
  /** What paths call it: a host, or a short name. */
  readonly name: string;
  readonly url: string;
  readonly username?: string;
  readonly password?: string;
  /** A docker credential helper; without a lifetime it is asked once. */
  readonly exec?: { readonly command: string; readonly lifetimeMs?: number };
  /** The path of a PEM file: authorities beside which none counts. */
  readonly ca?: string;
  readonly insecure?: boolean;
  /** Other hosts that it may send us to, for tokens and content, also in a private network. */
  readonly hosts: readonly string[];
  /** Milliseconds after its last use at which content is forgotten; 0 for never. */
  readonly ttlMs: number;
  /** How long a tag is good without asking for it again, in milliseconds. */
  readonly tagTtlMs: number;
  /** Other times for tags that match a pattern; the first that matches counts. */
  readonly tags: readonly { readonly match: string; readonly ttlMs: number }[];
  /** Patterns of the upstream's repositories; without any, all are allowed. */
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  /** Milliseconds for an answer to begin. */
  readonly timeoutMs: number;
  /** How many manifests may be fetched in a time. */
  readonly rateLimit?: { readonly count: number; readonly perMs: number };
  /** Whether pushes are handed on to it. */
  readonly push?: boolean;
}

/** A time of day, local time, in minutes since midnight; over midnight where `to` is before `from`. */
export interface WindowConfig {
  readonly from: number;
  readonly to: number;
}

/** When a job runs by itself. */
export interface TimetableConfig {
  /** Milliseconds from one run to the next; above 0. */
  readonly intervalMs: number;
  /** The time of day that it keeps to; left out, any. */
  readonly window?: WindowConfig;
}

export interface GarbageCollectorConfig extends TimetableConfig {
  /** Whether it runs by itself. */
  readonly enabled: boolean;
  /** Whether manifests without a tag go too. */
  readonly removeUntagged: boolean;
  /** Milliseconds for which what somebody pushed, or asked for in order to push, is left alone. */
  readonly graceMs: number;
  /** Most objects that are looked at in a second; 0 for no limit. */
  readonly rate: number;
}

export interface ScrubConfig extends TimetableConfig {
  /** Whether it runs by itself. */
  readonly enabled: boolean;
  /** Most bytes that are read in a second; 0 for no limit. */
  readonly rate: number;
  /** Whether it repairs when it runs by itself. */
  readonly repair: boolean;
}

export interface RetentionConfig extends TimetableConfig {
  /** Whether the rules are applied without being asked to. */
  readonly enabled: boolean;
  /** Of a repository the first rule counts that names it. */
  readonly rules: readonly RetentionRuleConfig[];
}

/** See upkeep/retention-rules.ts. Times are in milliseconds. */
export interface RetentionRuleConfig {
  readonly repositories: readonly string[];
  readonly except?: readonly string[];
  /** Left out, all tags where there is a `keep`, and none where there is not. */
  readonly delete?: readonly string[];
  readonly keep: readonly RetentionKeepConfig[];
  readonly untaggedAfterMs?: number;
}

export interface RetentionKeepConfig {
  readonly tags?: readonly string[];
  readonly except?: readonly string[];
  readonly newest?: number;
  readonly by?: 'push' | 'version';
  readonly pushedWithinMs?: number;
  readonly pulledWithinMs?: number;
}

export interface ValidationConfig {
  /** Whether the checks named in `manifests` are off. */
  readonly disabled: boolean;
  readonly manifests: {
    /**
     * Regular expressions for the `urls` of foreign layers. A URL must match a pattern
     * of `allow` (if there is any) and none of `deny`. `registry:2` allows none when both are empty, with which
     * the specification's own conformance tests cannot push an image with nondistributable layers.
     */
    readonly urls: { readonly allow: readonly string[]; readonly deny: readonly string[] };
    /** Which manifests of an index must exist when the index is pushed. */
    readonly indexes: {
      readonly platforms: 'all' | 'none' | 'list';
      readonly platformList: readonly PlatformConfig[];
    };
  };
}

export interface PlatformConfig {
  readonly architecture: string;
  readonly os: string;
}

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };
