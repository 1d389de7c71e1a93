import { stringify } from 'yaml';
import { formatTcpAddress } from './addresses.ts';
import type {
  AcmeConfig,
  Config,
  DebugConfig,
  GarbageCollectorConfig,
  HttpConfig,
  ProxyConfig,
  QuotaConfig,
  RetentionConfig,
  ScrubConfig,
  TimetableConfig,
  UpstreamConfig,
  StorageConfig,
  TlsConfig,
  ValidationConfig,
} from './config.ts';
import { goName } from './cipher-suites.ts';
import { describeAuth } from './describe-auth.ts';
import { formatDuration } from './durations.ts';
import { formatWindow } from './upkeep-schema.ts';

/**
 * The configuration as a file that, with the secrets put back, gives the same configuration: every setting is
 * written out. Secrets are shown as `***`.
 */
export function describeConfig(config: Config): string {
  const file = {
    version: 0.1,
    log: {
      level: config.log.level,
      formatter: config.log.formatter,
      fields: config.log.fields,
      accesslog: { disabled: !config.log.accessLog },
    },
    storage: storage(config.storage),
    http: http(config.http),
    ...(config.proxy === undefined ? {} : { proxy: proxy(config.proxy) }),
    garbage_collector: garbageCollector(config.garbageCollector),
    scrub: scrub(config.scrub),
    ...(config.retention === undefined ? {} : { retention: retention(config.retention) }),
    admin: { socket: config.admin.socket ?? 'off' },
    ...(config.quotas === undefined ? {} : { quotas: config.quotas.map(quota) }),
    ...(config.mdns === undefined ? {} : { mdns: { enabled: true, name: config.mdns.name } }),
    ...describeAuth(config.auth),
    validation: validation(config.validation),
    catalog: { maxentries: config.catalog.maxEntries },
    tags: {
      maxtags: config.tags.maxTags,
      immutable: config.tags.immutable,
      protected: config.tags.protected,
    },
  };
  // 1.1, so that texts such as "yes" are quoted for the parser that will read them.
  return stringify(redacted(file), { version: '1.1', aliasDuplicateObjects: false, lineWidth: 0 });
}

function quota({ repositories, bytes, maxRepositories }: QuotaConfig) {
  return {
    repositories,
    ...(bytes === undefined ? {} : { bytes }),
    ...(maxRepositories === undefined ? {} : { max_repositories: maxRepositories }),
  };
}

function storage({ driver, deleteEnabled, deleteReferenced, readOnly, uploadPurging }: StorageConfig) {
  const { enabled, ageMs, intervalMs, dryRun } = uploadPurging;
  return {
    ...(driver.kind === 'inmemory'
      ? { inmemory: {} }
      : { filesystem: { rootdirectory: driver.rootDirectory, maxthreads: driver.maxThreads } }),
    delete: { enabled: deleteEnabled, referenced: deleteReferenced },
    maintenance: {
      uploadpurging: {
        enabled,
        age: formatDuration(ageMs),
        interval: formatDuration(intervalMs),
        dryrun: dryRun,
      },
      readonly: { enabled: readOnly },
    },
  };
}

function garbageCollector(section: GarbageCollectorConfig) {
  const { enabled, intervalMs, window, removeUntagged, graceMs, rate } = section;
  return {
    enabled,
    interval: formatDuration(intervalMs),
    ...(window === undefined ? {} : { window: formatWindow(window) }),
    remove_untagged: removeUntagged,
    grace: formatDuration(graceMs),
    rate,
  };
}

function scrub({ enabled, rate, repair, ...when }: ScrubConfig) {
  return { enabled, ...timetable(when), rate, repair };
}

function retention({ enabled, rules, ...when }: RetentionConfig) {
  return {
    enabled,
    ...timetable(when),
    rules: rules.map(({ keep, untaggedAfterMs, ...rule }) => ({
      ...rule,
      keep: keep.map(({ pushedWithinMs, pulledWithinMs, ...one }) => ({
        ...one,
        ...(pushedWithinMs === undefined ? {} : { pushed_within: formatDuration(pushedWithinMs) }),
        ...(pulledWithinMs === undefined ? {} : { pulled_within: formatDuration(pulledWithinMs) }),
      })),
      ...(untaggedAfterMs === undefined ? {} : { untagged: formatDuration(untaggedAfterMs) }),
    })),
  };
}

function timetable({ intervalMs, window }: TimetableConfig) {
  return {
    interval: formatDuration(intervalMs),
    ...(window === undefined ? {} : { window: formatWindow(window) }),
  };
}

function http(section: HttpConfig) {
  const { addr, prefix, host, relativeUrls, secret, headers, drainTimeoutMs, tls, workers } = section;
  const { trustedProxies, debug } = section;
  return {
    addr: 'unix' in addr ? addr.unix : formatTcpAddress(addr),
    net: 'unix' in addr ? 'unix' : 'tcp',
    prefix,
    ...(host === undefined ? {} : { host }),
    relativeurls: relativeUrls,
    ...(secret === undefined ? {} : { secret }),
    headers,
    draintimeout: formatDuration(drainTimeoutMs),
    ...(tls === undefined ? {} : { tls: describeTls(tls) }),
    ...(workers === undefined ? {} : { workers }),
    ...(trustedProxies.length === 0 ? {} : { trustedproxies: trustedProxies }),
    ...(debug === undefined ? {} : { debug: describeDebug(debug) }),
  };
}

function describeDebug({ addr, metrics }: DebugConfig) {
  return {
    addr: formatTcpAddress(addr),
    prometheus: { enabled: metrics !== undefined, ...(metrics === undefined ? {} : { path: metrics }) },
  };
}

function describeTls({ localCa, acme, plainAddr, clientCas, clientAuth, ...tls }: TlsConfig) {
  const { certificate, key, named, minimumVersion, ciphers } = tls;
  const source =
    localCa !== undefined
      ? { auto: true, names: localCa.names, constraints: localCa.constraints }
      : acme !== undefined
        ? { letsencrypt: describeAcme(acme) }
        : { certificate, key };
  return {
    ...source,
    ...(plainAddr === undefined || 'unix' in plainAddr ? {} : { plainaddr: formatTcpAddress(plainAddr) }),
    ...(named.length === 0 ? {} : { certificates: named }),
    minimumtls: minimumVersion,
    ...(ciphers.length === 0 ? {} : { ciphersuites: ciphers.map(goName) }),
    ...(clientCas.length === 0 ? {} : { clientcas: clientCas, clientauth: clientAuth }),
  };
}

function describeAcme({ folder, directoryUrl, eab, ...acme }: AcmeConfig) {
  return {
    cachefile: folder,
    directoryurl: directoryUrl,
    ...acme,
    ...(eab === undefined ? {} : { eab: { kid: eab.kid, hmackey: eab.hmacKey } }),
  };
}

function proxy({ upstreams, allow, own, fallback, defaults, maxBytes, push }: ProxyConfig) {
  return {
    ...(fallback === undefined ? {} : { fallback }),
    ...(maxBytes === undefined ? {} : { maxsize: maxBytes }),
    push,
    ttl: formatDuration(defaults.ttlMs),
    tagttl: formatDuration(defaults.tagTtlMs),
    timeout: formatDuration(defaults.timeoutMs),
    upstreams: upstreams.map(({ tagTtlMs, ttlMs, timeoutMs, tags, rateLimit, exec, ...upstream }) => ({
      ...upstream,
      ...(exec === undefined ? {} : { exec: describeExec(exec) }),
      ttl: formatDuration(ttlMs),
      tagttl: formatDuration(tagTtlMs),
      tags: tags.map(({ match, ttlMs: ttl }) => ({ match, ttl: formatDuration(ttl) })),
      timeout: formatDuration(timeoutMs),
      ...(rateLimit === undefined
        ? {}
        : { ratelimit: `${rateLimit.count}/${formatDuration(rateLimit.perMs)}` }),
    })),
    allow,
    ...(own.length === 0 ? {} : { own }),
  };
}

function describeExec({ command, lifetimeMs }: NonNullable<UpstreamConfig['exec']>) {
  return { command, ...(lifetimeMs === undefined ? {} : { lifetime: formatDuration(lifetimeMs) }) };
}

function validation({ disabled, manifests }: ValidationConfig) {
  const { urls, indexes } = manifests;
  return {
    disabled,
    manifests: { urls, indexes: { platforms: indexes.platforms, platformlist: indexes.platformList } },
  };
}

/** Names under which secrets stand, here and in the sections to come. */
const SECRET_NAME =
  /secret|password|passwd|passphrase|token|credential|(?:api|access|account|license|private|h?mac)[-_]?key/i;
/** Key material, and passwords in URLs, whatever they are called. */
const SECRET_VALUE = /-----BEGIN [A-Z ]*PRIVATE KEY-----/;
const URL_PASSWORD = /(\/\/[^/?#\s:@]*):[^/?#\s@]*@/g;

const HIDDEN = '***';

/** A copy in which what is secret, by its name or its look, is `***`. */
export function redacted(value: unknown, name = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => redacted(item, name));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, redacted(item, key)]));
  }
  if (value === null || value === undefined || value === '' || typeof value === 'boolean') return value;
  // Where a key lies is no secret.
  if (name === 'private_key' && typeof value === 'string' && value.startsWith('/')) return value;
  if (SECRET_NAME.test(name)) return HIDDEN;
  if (typeof value !== 'string') return value;
  return SECRET_VALUE.test(value) ? HIDDEN : value.replaceAll(URL_PASSWORD, `$1:${HIDDEN}@`);
}
