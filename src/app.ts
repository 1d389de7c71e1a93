/** The composition root: from the configuration to a wired registry. Only this file knows every room. */
import { join } from 'node:path';
import { readCertificate, readPem } from './app-certificates.ts';
import { ConfiguredAccess, type Peers } from './app-access.ts';
import { sweepCache, wireProxy } from './app-proxy.ts';
import { wireQuotas } from './app-quota.ts';
import { notingPulls } from './app-retention.ts';
import { rulesOf } from './app-rules.ts';
import { PLAIN_NAMES } from './auth/access.ts';
import { isForwarded, TrustedProxies } from './auth/forwarded.ts';
import { AuthenticationUnavailable } from './auth/identity.ts';
import type { Config } from './config/config.ts';
import { type StorageDriver, StorageFailure } from './drivers/driver.ts';
import { FilesystemDriver } from './drivers/filesystem/filesystem-driver.ts';
import { onOtherDevices } from './drivers/filesystem/other-devices.ts';
import { MemoryDriver } from './drivers/memory.ts';
import type { Audit, Logger } from './log.ts';
import { auditTo } from './observe/audit.ts';
import { createAccessLog, createLogger } from './observe/log-output.ts';
import type { RepositoryName } from './oci/name.ts';
import type { Registry } from './oci/registry.ts';
import { GuardedRegistry } from './policy/guarded-registry.ts';
import { TagRules } from './policy/tag-rules.ts';
import type { ProtocolSettings, RootCa } from './protocol/exchange.ts';
import type { Failure } from './protocol/errors.ts';
import { createHandler, type HandlerOptions } from './protocol/handler.ts';
import { UploadState } from './protocol/upload-state.ts';
import { WriteGate } from './protocol/write-gate.ts';
import { UpstreamFailure } from './proxy/upstream-failure.ts';
import type { Handler, TlsOptions } from './server/listener.ts';
import { BLOBS, DRIVER_FOLDER, REPOSITORIES } from './store/layout.ts';
import { LocalRegistry } from './store/local-registry.ts';
import { Objects } from './store/objects.ts';
import { canonicalName } from './store/repository-alias.ts';
import { StartFailure } from './start-failure.ts';
import { rootCaOf } from './tls/root-ca.ts';

/** Milliseconds for which it is not noted again that a pusher asked for something: well below the collector's grace. */
const TOUCH_EVERY = 15 * 60_000;

/** Seconds without traffic after which a connection is closed. Uploads have a limit of their own. */
export const IDLE_SECONDS = 120;

/** A registry that is ready to be listened for. */
export interface App {
  readonly handler: Handler;
  readonly log: Logger;
  /** What it keeps everything in. */
  readonly objects: Objects;
  /** undefined for plain HTTP. */
  readonly tls: TlsOptions | undefined;
  /** By which changes can be refused while it runs. */
  readonly writes: WriteGate;
  /** Takes up the accounts and rights of another configuration. @throws StartFailure; what was in force stays so */
  changeAccess(config: Config): void;
  /** Takes up for how long the collector leaves alone what is asked for, and whether pulls are to be noted. */
  changeUpkeep(changed: Config): void;
  /** Takes up the rules of which tags stay. */
  changeTagRules(config: Config): void;
  /** Ends what runs in the background. */
  stop(): void;
  /** Waits a second at most for what the access log has still to write: the last thing before the process ends. */
  logged(): Promise<void>;
}

/** The log of a process, which has the worker's number in its lines where there are several. */
export function loggerFor({ log }: Config, worker?: number, level = log.level): Logger {
  const fields = Object.fromEntries(
    Object.entries(log.fields).map(([name, value]) => [
      name,
      typeof value === 'object' ? JSON.stringify(value) : value,
    ]),
  );
  return createLogger({
    format: log.formatter,
    level,
    fields: worker === undefined ? fields : { ...fields, worker },
  });
}

/**
 * Wires a registry. Several processes may do so over one storage. Audit records go to the log unless told otherwise,
 * whatever its level leaves out.
 * @throws StartFailure when the storage or a certificate cannot be used
 */
export function createApp(
  config: Config,
  log: Logger,
  {
    worker,
    audit = auditTo(loggerFor(config, worker, 'info')),
    peers,
    accountFiles,
  }: {
    readonly worker?: number | undefined;
    readonly audit?: Audit;
    readonly peers?: Peers;
    /** Files of accounts that were there before this process began. */
    readonly accountFiles?: readonly string[];
  } = {},
): App {
  const driver = openStorage(config);
  const writes = new WriteGate();
  if (config.storage.readOnly) writes.close();
  const readOnly = () => writes.isClosed;
  const isOwn = (name: RepositoryName) => proxy?.isCached(name) !== true;
  let stopCounting: () => void = () => undefined;
  let { graceMs } = config.garbageCollector;
  const hold = (local: Registry): Registry => {
    const { registry: held, stop } = wireQuotas(config, driver, local, { isOwn, readOnly }, log);
    stopCounting = stop;
    return held;
  };
  const own = openOwnRegistry(config, driver, { hold, graceMs: () => graceMs });
  const pulls = notingPulls(config, own, driver, readOnly);
  const proxy = wireProxy(config, driver, pulls.registry, log, { peers, readOnly });
  const registry = proxy ?? pulls.registry;
  const names =
    proxy === undefined
      ? PLAIN_NAMES
      : {
          canonical: (name: RepositoryName) => proxy.canonicalName(name),
          isMirrored: (name: RepositoryName) => proxy.isMirrored(name),
        };
  const access = new ConfiguredAccess(config, log, audit, { peers, names, accountFiles });
  const accessLog = config.log.accessLog ? createAccessLog(config.log.formatter) : undefined;
  const handler = createHandler({
    originOf: originReader(config, log),
    registry,
    access,
    ...(config.auth === undefined ? {} : { audit }),
    settings: settingsOf(config, writes),
    log,
    describeFailure,
    ...(accessLog === undefined ? {} : { onAccess: accessLog.record }),
  });
  const stopSweeping = proxy === undefined ? () => undefined : sweepCache(proxy, driver, log, readOnly);
  return {
    handler,
    log,
    objects: new Objects(driver),
    writes,
    tls: readCertificate(config),
    changeAccess: (changed) => access.change(changed),
    changeTagRules: ({ tags }) => own.change(new TagRules(tags)),
    changeUpkeep(changed) {
      ({ graceMs } = changed.garbageCollector);
      pulls.change(changed);
    },
    stop() {
      stopCounting();
      stopSweeping();
      pulls.stop();
      access.stop();
    },
    logged: async () => accessLog?.written(),
  };
}

/** Finds who the client is behind proxies. One that is not listed is told once: most of them were meant to be. */
function originReader({ http }: Config, log: Logger): NonNullable<HandlerOptions['originOf']> {
  const proxies = new TrustedProxies(http.trustedProxies);
  let isTold = false;
  return (request, requester) => {
    const origin = proxies.originOf(request, requester);
    if (origin === undefined && !isTold && isForwarded(request)) {
      isTold = true;
      const peer = requester.remoteAddress === '' ? 'unix' : requester.remoteAddress;
      log.warn(
        `${peer} says for whom it asks (X-Forwarded-For, Forwarded), and is not believed: if it is a proxy of yours, add it to http.trustedproxies`,
      );
    }
    return origin;
  };
}

/** Our own repositories, with the rules that go for whoever changes them. */
export function openOwnRegistry(
  config: Config,
  driver: StorageDriver,
  {
    hold = (local) => local,
    graceMs = () => config.garbageCollector.graceMs,
  }: {
    /** Holds them to quotas. */
    readonly hold?: (local: Registry) => Registry;
    /** Milliseconds for which the collector leaves alone what somebody asked for; may change. */
    readonly graceMs?: () => number;
  } = {},
): GuardedRegistry {
  const { readOnly, deleteReferenced } = config.storage;
  const touchEveryMs = () => (readOnly ? Number.POSITIVE_INFINITY : Math.min(TOUCH_EVERY, graceMs() / 4));
  const objects = new Objects(driver);
  return new GuardedRegistry(hold(new LocalRegistry(driver, rulesOf(config), touchEveryMs)), {
    tags: new TagRules(config.tags),
    deleteReferenced,
    canonical: (name) => canonicalName(objects, name),
  });
}

/** Opens the storage and proves that it can be used. @throws StartFailure */
export function openStorage({ storage }: Config): StorageDriver {
  if (storage.driver.kind === 'inmemory') return new MemoryDriver();
  const { rootDirectory } = storage.driver;
  const driver = new FilesystemDriver(rootDirectory, DRIVER_FOLDER);
  if (storage.readOnly) return driver;
  try {
    driver.prepare();
    driver.probe();
  } catch (error) {
    if (!(error instanceof StorageFailure)) throw error;
    throw new StartFailure(`storage.filesystem.rootdirectory: ${error.message}`, { cause: error });
  }
  return driver;
}

/** What an operator should know of the storage before he meets it: that parts of it cannot be written to. */
export function storageWarnings({ storage }: Config): readonly string[] {
  if (storage.driver.kind === 'inmemory' || storage.readOnly) return [];
  const { rootDirectory } = storage.driver;
  const folders = [REPOSITORIES, BLOBS, `${BLOBS}sha256/`, `${BLOBS}sha512/`].map((prefix) =>
    prefix.slice(0, -1),
  );
  return onOtherDevices(rootDirectory, DRIVER_FOLDER, folders).map(
    (folder) =>
      `storage.filesystem.rootdirectory: ${join(rootDirectory, folder)} is on another file system than ${join(rootDirectory, DRIVER_FOLDER)}: pushes will fail there (EXDEV). Only the whole root directory, or \`docker\` in it, can be on another disk`,
  );
}

/**
 * The storage, to be changed also where a configuration lets nobody else: upkeep by hand is what read-only is often for.
 * @throws StartFailure
 */
export function openForUpkeep(config: Config): Objects {
  return new Objects(openStorage({ ...config, storage: { ...config.storage, readOnly: false } }));
}

/** The storage, to be looked at only: the folder may belong to the server's user. @throws StartFailure */
export function openForReading(config: Config): StorageDriver {
  return openStorage({ ...config, storage: { ...config.storage, readOnly: true } });
}

function settingsOf({ http, storage, catalog, tags, proxy }: Config, writes: WriteGate): ProtocolSettings {
  return {
    prefix: http.prefix === '/' ? '' : http.prefix.slice(0, -1),
    publicUrl: http.relativeUrls ? undefined : http.host,
    headers: Object.fromEntries(
      Object.entries(http.headers).map(([name, values]) => [name, values.join(', ')]),
    ),
    ownNames: [...(http.host === undefined ? [] : [new URL(http.host).host]), ...(proxy?.own ?? [])],
    writes,
    deleteEnabled: storage.deleteEnabled,
    maxCatalog: catalog.maxEntries,
    maxTags: tags.maxTags,
    rootCa: readRoot(http),
    uploadState: http.secret === undefined ? undefined : new UploadState(http.secret),
  };
}

/** What clients have to trust where the authority is our own. */
function readRoot({ tls }: Config['http']): RootCa | undefined {
  if (tls?.localCa === undefined) return undefined;
  return rootCaOf(readPem('http.tls.auto', join(tls.localCa.folder, 'root.crt')));
}

const CANNOT_STORE = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EPERM', 'EFBIG', 'EXDEV']);

/** A client that is to come again later must be told so; who asks a mirror then asks elsewhere. */
function describeUpstreamFailure({ status, retryAfter = 60, timedOut }: UpstreamFailure): Failure {
  if (status === 429) {
    const message = 'the registry that this name is a cache of wants to be asked less often';
    return { status: 429, message, isExpected: true, headers: { 'Retry-After': String(retryAfter) } };
  }
  const message = 'the registry that this name is a cache of does not answer as it should';
  return { status: timedOut ? 504 : 502, message, isExpected: true };
}

/** What a client may know of a failure of the storage: that it is not its own fault, and whether to come again. */
function describeFailure(error: unknown): Failure | undefined {
  if (error instanceof UpstreamFailure) return describeUpstreamFailure(error);
  if (error instanceof AuthenticationUnavailable) {
    return { status: 503, message: 'logins cannot be checked at the moment; try again later' };
  }
  if (!(error instanceof StorageFailure)) return undefined;
  const message = CANNOT_STORE.has(error.code)
    ? 'the registry cannot store content at the moment: tell its operator'
    : 'the registry cannot reach its storage at the moment';
  return { status: 503, message };
}
