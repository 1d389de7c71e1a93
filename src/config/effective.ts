/** From a file that fits the schema to the configuration in force: defaults, and what settings mean together. */
import { join, resolve } from 'node:path';
import { formatTcpAddress, isLoopback, overlap, parseHost, parseTcpAddress } from './addresses.ts';
import type { AuthConfig } from './auth-config.ts';
import type {
  AddressConfig,
  Config,
  DriverConfig,
  HttpConfig,
  StorageConfig,
  TagRuleConfig,
  ValidationConfig,
} from './config.ts';
import { EffectiveAuth, STATE_FOLDER } from './effective-auth.ts';
import { effectiveTls } from './effective-tls.ts';
import { DEFAULT_PROXY, EffectiveProxy, type SaidProxy } from './effective-proxy.ts';
import { effectiveCollector, millisecondsOf } from './effective-upkeep.ts';
import { effectiveRetention, effectiveScrub } from './effective-retention.ts';
import type { Findings } from './findings.ts';
import { effectiveQuotas } from './quota-schema.ts';
import type { DurationValue } from './scalars.ts';
import type { File } from './schema.ts';
import { type MapNode, nodeAt, type Path } from './tree.ts';

/** Pages of tags and of the catalog, where `registry:2` has no or no sensible value. */
const DEFAULT_PAGE = 1000;
/** `registry:2`'s default and least number of file operations at a time. */
const DEFAULT_THREADS = 100;
const MIN_THREADS = 25;
const HOUR_MS = 3_600_000;
/** What `docker stop` allows before it kills. `registry:2` cuts what is under way at once. */
const DEFAULT_DRAIN_MS = 10_000;

/** What differs between "somebody tries it out" and "an operator's file, perhaps written for registry:2". */
interface Defaults {
  readonly addr: AddressConfig;
  readonly rootDirectory: string;
  readonly deleteEnabled: boolean;
  readonly proxy: SaidProxy | undefined;
  readonly collect: boolean;
}

const WITH_FILE: Defaults = {
  addr: { hostname: '', port: 5000 },
  rootDirectory: '/var/lib/registry',
  deleteEnabled: false,
  proxy: undefined,
  collect: false,
};

const WITHOUT_FILE: Defaults = {
  addr: { hostname: '127.0.0.1', port: 5000 },
  rootDirectory: 'registry-data',
  deleteEnabled: true,
  proxy: DEFAULT_PROXY,
  collect: true,
};

/** The configuration that the file means. `root` is the tree it came from, for the places in messages. */
export function effectiveConfig(file: File, root: MapNode, hasFile: boolean, findings: Findings): Config {
  const defaults = hasFile ? WITH_FILE : WITHOUT_FILE;
  const told = new Effective(root, hasFile, findings);
  const { log } = file;
  const storage = told.storage(file.storage ?? {}, defaults);
  const http = told.http(file.http ?? {}, defaults, storage);
  const auth = told.auth(file, storage, http);
  const said =
    file.proxy === undefined ? defaults.proxy : new EffectiveProxy(file.proxy ?? {}, root, findings).read();
  // Nobody may come to own `library/…` by pushing to a mirror that anybody reaches, nor push elsewhere with our login.
  const isPrivate = auth !== undefined || 'unix' in http.addr || isLoopback(http.addr.hostname);
  const proxy = said === undefined ? undefined : { ...said, push: said.push ?? isPrivate };
  const collector = effectiveCollector(file.garbage_collector ?? {}, defaults.collect, root, findings);
  return {
    log: {
      level: log?.level ?? file.loglevel ?? 'info',
      formatter: log?.formatter ?? 'text',
      fields: log?.fields ?? {},
      accessLog: log?.accesslog?.disabled !== true,
    },
    storage,
    http,
    ...(proxy === undefined ? {} : { proxy }),
    garbageCollector: collector,
    scrub: effectiveScrub(file.scrub ?? {}, root, findings),
    ...(file.retention ? { retention: effectiveRetention(file.retention, collector, root, findings) } : {}),
    admin: told.admin(file.admin ?? {}, storage),
    ...(file.quotas ? { quotas: effectiveQuotas(file.quotas, root, findings) } : {}),
    ...(file.mdns?.enabled === true ? { mdns: { name: file.mdns.name ?? 'registry' } } : {}),
    ...(auth === undefined ? {} : { auth }),
    validation: validation(file.validation ?? {}),
    catalog: { maxEntries: positive(file.catalog?.maxentries) },
    tags: {
      maxTags: positive(file.tags?.maxtags),
      immutable: tagRules(file.tags?.immutable),
      protected: tagRules(file.tags?.protected),
    },
  };
}

/** A rule that names no repositories is one for all of them. */
function tagRules(rules: NonNullable<File['tags']>['immutable']): readonly TagRuleConfig[] {
  return (rules ?? []).map(({ repositories, tags, except }) => ({
    repositories: repositories ?? ['*'],
    tags,
    except: except ?? [],
  }));
}

/** `registry:2` takes what is not above 0 for left out. */
function positive(page: number | null | undefined): number {
  return page !== null && page !== undefined && page > 0 ? page : DEFAULT_PAGE;
}

function validation(section: NonNullable<File['validation']>): ValidationConfig {
  const { urls, indexes } = section.manifests ?? {};
  return {
    // The deprecated `enabled` can only switch on: `enabled: false` alone changes nothing.
    disabled: section.disabled === true && section.enabled !== true,
    manifests: {
      urls: { allow: urls?.allow ?? [], deny: urls?.deny ?? [] },
      indexes: { platforms: indexes?.platforms ?? 'all', platformList: indexes?.platformlist ?? [] },
    },
  };
}

class Effective {
  readonly #root: MapNode;
  readonly #hasFile: boolean;
  readonly #findings: Findings;

  constructor(root: MapNode, hasFile: boolean, findings: Findings) {
    this.#root = root;
    this.#hasFile = hasFile;
    this.#findings = findings;
  }

  storage(section: NonNullable<File['storage']>, defaults: Defaults): StorageConfig {
    const purging = section.maintenance?.uploadpurging;
    const path = ['storage', 'maintenance', 'uploadpurging'];
    return {
      driver: this.#driver(section, defaults),
      deleteEnabled: section.delete?.enabled ?? defaults.deleteEnabled,
      deleteReferenced: section.delete?.referenced ?? false,
      readOnly: section.maintenance?.readonly?.enabled ?? false,
      uploadPurging: {
        enabled: purging?.enabled ?? true,
        ageMs: this.#duration(purging?.age, [...path, 'age']) ?? 7 * 24 * HOUR_MS,
        intervalMs: this.#duration(purging?.interval, [...path, 'interval']) ?? 24 * HOUR_MS,
        dryRun: purging?.dryrun ?? false,
      },
    };
  }

  #driver(section: NonNullable<File['storage']>, defaults: Defaults): DriverConfig {
    const { filesystem, inmemory } = section;
    if (filesystem !== undefined && inmemory !== undefined) {
      this.#problem(['storage'], `expected exactly one storage driver, found ${this.#drivers()}`);
    }
    // A driver that was refused or miswritten was meant, and that was told already.
    const isMeant =
      filesystem !== undefined || inmemory !== undefined || this.#findings.isToldWithin('storage');
    if (this.#hasFile && !isMeant) {
      const advice = 'add "filesystem:" with a "rootdirectory:", or "inmemory:"';
      this.#problem(['storage'], `no storage driver is named; ${advice}`);
    }
    if (inmemory !== undefined) return { kind: 'inmemory' };
    const rootDirectory = orUndefined(filesystem?.rootdirectory) ?? defaults.rootDirectory;
    const maxThreads = Math.max(MIN_THREADS, filesystem?.maxthreads ?? DEFAULT_THREADS);
    return { kind: 'filesystem', rootDirectory: resolve(rootDirectory), maxThreads };
  }

  /** Beside what is stored, so that commands find it by the same configuration. What is in memory is not theirs to see. */
  admin(section: NonNullable<File['admin']>, { driver }: StorageConfig): Config['admin'] {
    const socket = orUndefined(section.socket);
    if (socket?.toLowerCase() === 'off' || driver.kind !== 'filesystem') return {};
    return { socket: resolve(socket ?? join(driver.rootDirectory, STATE_FOLDER, 'admin.sock')) };
  }

  /** The drivers, and the variable that brought one: it adds to the file's, as in `registry:2`. */
  #drivers(): string {
    const storage = nodeAt(this.#root, ['storage']);
    let advice = '';
    const names = ['filesystem', 'inmemory'].map((driver) => {
      const place = storage?.kind === 'map' ? storage.entries.get(driver)?.keyPlace : undefined;
      if (place === undefined || !('variable' in place)) return driver;
      advice = `; REGISTRY_STORAGE=${driver} would replace the section`;
      return `${driver} (by ${place.variable})`;
    });
    return `${names.join(' and ')}${advice}`;
  }

  /** Without a login only this machine is served, unless an operator's file or word says otherwise. */
  auth(file: File, storage: StorageConfig, http: HttpConfig): AuthConfig | undefined {
    const settings = new EffectiveAuth(file, this.#root, this.#findings, storage);
    const auth = settings.read();
    const { addr } = http;
    if (this.#findings.failed || 'unix' in addr || isLoopback(addr.hostname)) return auth;
    if (auth === undefined && !this.#hasFile && !settings.isOpenOnPurpose) {
      const advice = 'set REGISTRY_AUTH=none if that is meant, or "users" and "access" in a file';
      this.#problem(['http', 'addr'], `${openNotice(http)}; ${advice}`);
    }
    return auth;
  }

  http(section: NonNullable<File['http']>, defaults: Defaults, storage: StorageConfig): HttpConfig {
    const host = this.#host(orUndefined(section.host));
    const secret = orUndefined(section.secret);
    const tls = effectiveTls(section.tls, storage, this.#root, this.#findings);
    const addr = this.#address(section, defaults);
    if (tls?.plainAddr !== undefined && overlap(addr, tls.plainAddr)) {
      const where = orUndefined(section.tls?.plainaddr) === undefined ? ['addr'] : ['tls', 'plainaddr'];
      const text =
        'http.addr and http.tls.plainaddr share a port: half of the requests would come to the wrong one; choose another port for one of them';
      this.#problem(['http', ...where], text);
    }
    return {
      addr,
      prefix: section.prefix ?? '/',
      ...(host === undefined ? {} : { host }),
      relativeUrls: section.relativeurls ?? false,
      ...(secret === undefined ? {} : { secret }),
      headers: section.headers ?? {},
      drainTimeoutMs: this.#duration(section.draintimeout, ['http', 'draintimeout']) ?? DEFAULT_DRAIN_MS,
      ...(tls === undefined ? {} : { tls }),
      ...(typeof section.workers === 'number' ? { workers: section.workers } : {}),
      trustedProxies: section.trustedproxies ?? [],
      ...this.#debug(section, [addr, ...(tls?.plainAddr === undefined ? [] : [tls.plainAddr])]),
    };
  }

  #debug({ debug }: NonNullable<File['http']>, others: readonly AddressConfig[]): Pick<HttpConfig, 'debug'> {
    const text = orUndefined(debug?.addr);
    const { enabled, path } = debug?.prometheus ?? {};
    if (text === undefined) {
      if (enabled === true)
        this.#findings.warningAt(
          this.#root,
          ['http', 'debug', 'prometheus', 'enabled'],
          'has no effect without http.debug.addr',
        );
      return {};
    }
    const addr = parseTcpAddress(text);
    const where = ['http', 'debug', 'addr'];
    if (addr === undefined)
      this.#problem(where, `expected host:port such as "127.0.0.1:5001", found "${text.slice(0, 60)}"`);
    else if (others.some((other) => overlap(addr, other)))
      this.#problem(where, 'has the port of http.addr or http.tls.plainaddr; choose another one');
    else
      return { debug: { addr, ...(enabled === true ? { metrics: orUndefined(path) ?? '/metrics' } : {}) } };
    return {};
  }

  #address(section: NonNullable<File['http']>, defaults: Defaults): AddressConfig {
    const path = ['http', 'addr'];
    const text = orUndefined(section.addr);
    if (section.net === 'unix') {
      if (text === undefined)
        this.#problem(path, 'expected the path of the socket, because http.net is unix');
      return { unix: resolve(text ?? '') };
    }
    if (text === undefined) return defaults.addr;
    const address = parseTcpAddress(text);
    if (address === undefined) {
      const advice = text.startsWith('/') ? '; write "net: unix" to listen on a socket' : '';
      this.#problem(path, `expected host:port such as ":5000", found "${text.slice(0, 60)}"${advice}`);
    }
    return address ?? defaults.addr;
  }

  /** What is no URL has no effect in `registry:2`, so that files with a bare name there are about. */
  #host(text: string | undefined): string | undefined {
    const host = text === undefined ? undefined : parseHost(text);
    if (text !== undefined && host === undefined) {
      const wanted = 'expected a URL such as "https://registry.example.com"';
      this.#findings.warningAt(this.#root, ['http', 'host'], `${wanted}; it has no effect`);
    }
    return host;
  }

  #duration(value: DurationValue | null | undefined, path: Path): number | undefined {
    return millisecondsOf(value, path, this.#root, this.#findings);
  }

  #problem(path: Path, text: string): void {
    this.#findings.problemAt(this.#root, path, text);
  }
}

/** An empty text is what a variable set to nothing leaves: as good as left out. */
function orUndefined(text: string | null | undefined): string | undefined {
  return text === null || text === '' ? undefined : text;
}

/** What a registry that asks nobody for a login says of itself. */
function openNotice({ addr }: HttpConfig, isMirror = false): string {
  const where = 'unix' in addr ? addr.unix : formatTcpAddress(addr);
  return `nobody is asked for a login: everybody who can reach ${where} may ${isMirror ? 'pull' : 'push and pull'}`;
}

/** Lines about who is let in unasked, which an operator should not overlook. */
export function openingsOf({ auth, http, proxy }: Config): readonly string[] {
  if ('unix' in http.addr || isLoopback(http.addr.hostname)) return [];
  // A mirror that anybody reaches takes no pushes unless that is meant.
  if (auth === undefined) return [openNotice(http, proxy?.fallback !== undefined && !proxy.push)];
  if (auth.kind !== 'silly') return [];
  return [
    `any login will do (auth.silly): everybody who can reach ${formatTcpAddress(http.addr)} may push and pull`,
  ];
}
