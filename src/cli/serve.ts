/** `entrepot serve [FILE]`: the supervisor's process. It stays small; the workers load the registry. */
import { availableParallelism } from 'node:os';
import { isatty } from 'node:tty';
import { type Administration, administer, type CommandSocket, listenForCommands } from '../app-admin.ts';
import { loggerFor, openStorage, storageWarnings } from '../app.ts';
import { keepAcme, prepareAcme } from '../app-acme.ts';
import { datesOff, openKeysOf, readCertificate } from '../app-certificates.ts';
import { StartFailure } from '../start-failure.ts';
import { openKeys } from '../app-access.ts';
import { ConfigInForce } from '../app-in-force.ts';
import { announce } from '../app-mdns.ts';
import { listenForDebug } from '../app-debug.ts';
import { lastRuns } from '../app-last-runs.ts';
import { takeOverCache } from '../app-proxy.ts';
import { keepCertificate, prepareCertificate } from '../app-tls.ts';
import { createHtpasswd } from '../auth/change-htpasswd.ts';
import type { OwnAuthConfig } from '../config/auth-config.ts';
import type { Config } from '../config/config.ts';
import { ConfigError, loadConfig, openingsOf } from '../config/load.ts';
import { PATH_VARIABLE } from '../config/environment.ts';
import { fileSignature } from '../config/watch.ts';
import type { Logger } from '../log.ts';
import { AddressUnavailable } from '../server/address.ts';
import type { Address, Listener } from '../server/listener.ts';
import { proveFree, supervise, type Workers } from '../server/supervisor.ts';
import { WorkerCannotStart } from '../server/worker-slot.ts';
import { StorageFailure } from '../drivers/driver.ts';
import { Objects } from '../store/objects.ts';
import { StorageTaken, type StorageUse, useStorage } from '../store/storage-users.ts';
import { LAN_ACCOUNT, lanEnvironment } from './lan.ts';
import { type FirstAccount, printWelcome } from './welcome.ts';
import type { WorkerMessage } from './worker.ts';

/**
 * Serves until told to stop.
 * @returns the exit code: 1 when the server could not start, after one clear line for each reason
 */
export async function serve(
  file: string | undefined,
  { lan = false }: { readonly lan?: boolean } = {},
): Promise<number> {
  const forgetHangUps = passOverHangUps();
  try {
    if (lan && file !== undefined) {
      throw new StartFailure(
        '--lan is for a start without a file; in a file it is http.tls.auto, mdns, and access',
      );
    }
    const env = lan ? lanEnvironment(process.env) : process.env;
    // Before it is read: what is written meanwhile is a change.
    const named = file ?? (env[PATH_VARIABLE] || undefined);
    const since = named === undefined ? '' : await fileSignature(named);
    const { config, warnings } = await loadConfig({ ...(named === undefined ? {} : { file: named }), env });
    const log = loggerFor(config);
    for (const warning of warnings) log.warn(warning);
    for (const opening of openingsOf(config)) log.warn(`WARNING: ${opening}`);
    const storage = openStorage(config);
    for (const warning of storageWarnings(config)) log.warn(warning);
    await proveFreeFirst(config);
    const local = await prepareCertificate(config, (message) => log.warn(message));
    if (local?.isNewRoot === true)
      log.info('an authority of our own is made', { fingerprint: local.fingerprint });
    await prepareAcme(config, log);
    readCertificate(config);
    for (const warning of [...datesOff(config), ...openKeysOf(config)]) log.warn(warning);
    const certificate = keepCertificate(config, log);
    if (config.auth?.kind === 'own') await prepareLogins(config.auth, log);
    const admin = lan ? await firstAccount(config) : undefined;
    await takeOverCache(config, storage, log);
    const inMemory = config.storage.driver.kind === 'inmemory';
    const workers = inMemory ? 1 : (config.http.workers ?? availableParallelism());
    const objects = inMemory ? undefined : new Objects(storage);
    const use = objects === undefined ? undefined : await joinStorage(config, objects, log);
    const inForce = new ConfigInForce(config, { file: named, since, env, log });
    const told = (): WorkerMessage => ({ config: inForce.config, accountFiles: inForce.accountFiles });
    await inForce.look();
    let away: string | undefined = 'the server starts';
    let commands: CommandSocket | undefined;
    let upkeep: Administration | undefined;
    let debug: Listener | undefined;
    let upkeepEnded: Promise<void> | undefined;
    let goodbye: Promise<() => Promise<void>> | undefined;
    let renewing: Promise<() => boolean> | undefined;
    try {
      debug = await listenForDebug(config, {
        away: () => away,
        upkeep: () => upkeep?.observe() ?? { isReadOnly: config.storage.readOnly, running: [] },
        lastRuns: async () => (objects === undefined ? [] : lastRuns(objects)),
      });
      const code = await supervise({
        workers,
        address: config.http.addr,
        startMessage: told,
        ...(inMemory ? { onlyInWorker: 'what it has in memory (storage.inmemory)' } : {}),
        drainTimeoutMs: config.http.drainTimeoutMs,
        log: (level, message, fields) =>
          log[level](message, Object.fromEntries(Object.entries(fields).map(plain))),
        async onFree() {
          if (objects !== undefined) commands = await listenForCommands(config, log);
        },
        onReady(address: Address, ready: Workers) {
          away = undefined;
          forgetHangUps();
          if (objects !== undefined && commands !== undefined)
            upkeep = administer(inForce, objects, ready, commands, log);
          inForce.follow(() => {
            ready.renew(told());
            upkeep?.renew();
          });
          goodbye = announce(config, address, {
            log,
            onName: (host) => certificate.cover(host),
            onReady: (host) =>
              printWelcome(config, address, named, { fingerprint: local?.fingerprint, admin, host }),
          });
          renewing = keepAcme(config, log);
        },
        onReplacing: () => inForce.look(),
        onEnding() {
          away = 'the server ends';
          inForce.stop();
          upkeepEnded = upkeep?.close();
        },
      });
      const isAsking = (await renewing)?.() ?? false;
      await (
        await goodbye
      )?.();
      if (isAsking) {
        // A directory may take minutes to answer, and an operator's program too; whoever starts next asks again.
        await (upkeepEnded ?? upkeep?.close());
        await use?.end();
        process.exit(code);
      }
      return code;
    } finally {
      await debug?.close();
      await (upkeepEnded ?? upkeep?.close());
      await commands?.close();
      await use?.end();
    }
  } catch (error) {
    if (!isExpected(error)) throw error;
    if (error instanceof ConfigError)
      for (const warning of error.warnings) process.stderr.write(`warning: ${warning}\n`);
    process.stderr.write(`${error.message}\n`);
    return 1;
  }
}

/** An authority and an account are made for a server that can start. @throws AddressUnavailable @throws StartFailure */
async function proveFreeFirst({ http: { addr, tls } }: Config): Promise<void> {
  if (tls === undefined) return;
  await proveFree(addr);
  try {
    if (tls.plainAddr !== undefined) await proveFree(tls.plainAddr);
  } catch (error) {
    if (!(error instanceof AddressUnavailable)) throw error;
    throw new StartFailure(`http.tls.plainaddr: ${error.message}`, { cause: error });
  }
}

/** Tells other processes that a server uses the storage. @throws StartFailure */
async function joinStorage(
  { storage }: Config,
  objects: Objects,
  log: Logger,
): Promise<StorageUse | undefined> {
  try {
    return await useStorage(objects, 'server', {
      onWait: (holder) => log.warn(`${holder} has the storage to itself: waiting for its end`),
    });
  } catch (error) {
    if (error instanceof StorageTaken) throw new StartFailure(error.message, { cause: error });
    // Nobody can be told in a storage that cannot be written to, and nothing can be changed in it either.
    if (error instanceof StorageFailure && storage.readOnly) return undefined;
    if (error instanceof StorageFailure)
      throw new StartFailure(`storage.filesystem.rootdirectory: ${error.message}`, { cause: error });
    throw error;
  }
}

/** Makes what is missing: keys, and the file of accounts that a configuration of `registry:2` names. */
async function prepareLogins(auth: OwnAuthConfig, log: Logger): Promise<void> {
  openKeys(auth);
  if (auth.htpasswd?.create !== true) return;
  const { path } = auth.htpasswd;
  try {
    const made = await createHtpasswd(path);
    if (made === undefined) return;
    log.warn(`${path} was missing and is made, with one account; its password is not shown again`, made);
  } catch (error) {
    throw new StartFailure(`auth.htpasswd.path: ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** On a network somebody has to be able to push; the password is told once. */
async function firstAccount({ auth }: Config): Promise<FirstAccount | undefined> {
  if (auth?.kind !== 'own' || auth.htpasswd === undefined || auth.users.length > 0) return undefined;
  try {
    return await createHtpasswd(auth.htpasswd.path, undefined, LAN_ACCOUNT);
  } catch (error) {
    throw new StartFailure(`${auth.htpasswd.path}: ${(error as Error).message}`, { cause: error });
  }
}

function plain([name, value]: [string, unknown]): [string, string | number | boolean] {
  const simple = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
  return [name, simple ? value : String(value)];
}

function isExpected(error: unknown): error is Error {
  return [ConfigError, StartFailure, AddressUnavailable, WorkerCannotStart].some(
    (kind) => error instanceof kind,
  );
}

/**
 * A SIGHUP while the server starts asks for what it does anyway, and must not end it, as it would by itself; that of a terminal
 * which closes still does. @returns what ends this, once there is somebody else who listens
 */
function passOverHangUps(): () => void {
  const terminals = [0, 1, 2].filter((fd) => isatty(fd));
  const hangUp = (): void => {
    if (!terminals.every((fd) => isatty(fd))) process.exit(129);
  };
  process.on('SIGHUP', hangUp);
  return () => void process.off('SIGHUP', hangUp);
}
