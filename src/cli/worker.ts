/** A worker process of `entrepot serve`: a registry, and a listener on the shared address. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { keepUpInMemory } from '../app-admin.ts';
import { type App, createApp, IDLE_SECONDS, loggerFor } from '../app.ts';
import { alpnChallengeOf, tokensOf } from '../app-acme.ts';
import { certificateFiles, certificateHosts, readCertificate } from '../app-certificates.ts';
import { StartFailure } from '../start-failure.ts';
import type { Config } from '../config/config.ts';
import { fileSignature } from '../config/watch.ts';
import type { Logger } from '../log.ts';
import { createPlainHandler } from '../protocol/plain-handler.ts';
import { AddressUnavailable } from '../server/address.ts';
import type { Listener, TlsOptions } from '../server/listener.ts';
import { listen } from '../server/runtime.ts';
import type { ReadOnlyQuestion } from '../admin/read-only-switch.ts';
import { readOnlyNote } from '../store/notes.ts';
import { rootCaOf } from '../tls/root-ca.ts';
import {
  lendSockets,
  lentSocket,
  onAsked,
  onDrain,
  onRenewed,
  onShared,
  shareWithWorkers,
  workerFailed,
  workerNumber,
  workerReady,
  workerStart,
} from '../server/worker.ts';

/** What the supervisor gives each worker; plain JSON. */
export interface WorkerMessage {
  /** The one that is in force. */
  readonly config: Config;
  /** Files of accounts that have been there. */
  readonly accountFiles: readonly string[];
}

/** How often the certificate's file is looked at, in milliseconds. */
const LOOK_AT_CERTIFICATE = 2_000;

/** Serves until the supervisor says otherwise. */
export async function work(): Promise<void> {
  const { address, reusePort, message } = await workerStart();
  const { config, accountFiles } = message as WorkerMessage;
  try {
    // Before they are read: what is written meanwhile is a change.
    const certificateSeen = await certificateSignatures(config);
    const app = createApp(config, loggerFor(config, workerNumber()), {
      worker: workerNumber(),
      peers: { tell: shareWithWorkers, onTold: onShared },
      accountFiles,
    });
    let upkeep: ReturnType<typeof keepUpInMemory> | undefined;
    const inForce = followRights(app, config, () => upkeep?.renew());
    await takeReadOnly(app, config);
    const plain = await listenPlainly(config, reusePort);
    // The last thing that can fail: from now on a unix socket is this worker's.
    const listener = await listen({
      address,
      reusePort,
      idleSeconds: IDLE_SECONDS,
      handler: app.handler,
      socket: lentSocket('http'),
      ...(app.tls === undefined ? {} : { tls: { ...app.tls, ...alpnOf(config) } }),
    });
    const stopRenewing = watchCertificate(config, listener, app.log, certificateSeen);
    const inMemory = config.storage.driver.kind === 'inmemory';
    if (inMemory) upkeep = keepUpInMemory(inForce, app.objects, app.log);
    onAsked(async (question) => setReadOnly(app, config, question as ReadOnlyQuestion));
    lendSockets({ http: listener.socket, plain: plain?.socket });
    onDrain(async (isReplaced) => {
      stopRenewing();
      upkeep?.end();
      app.stop();
      const listeners = plain === undefined ? [listener] : [listener, plain];
      await Promise.all(listeners.map((one) => (isReplaced ? one.handOver() : one.drain())));
      await app.logged();
    });
    workerReady();
  } catch (error) {
    if (!(error instanceof StartFailure) && !(error instanceof AddressUnavailable)) throw error;
    workerFailed(error.message);
  }
}

/** What the storage says at the start. What is in memory says nothing. */
async function takeReadOnly(app: App, { storage }: Config): Promise<void> {
  const note = storage.driver.kind === 'inmemory' ? undefined : await readOnlyNote(app.objects);
  if (note !== undefined && !storage.readOnly) app.writes.close(note.reason);
}

/** Milliseconds in which a request that was cut ends. */
const CUT_TIME = 5_000;

/** Refuses changes, or lets them happen again. @returns requests that are under way although they were cut */
async function setReadOnly(
  app: App,
  { storage }: Config,
  { state, waitMs }: ReadOnlyQuestion,
): Promise<number> {
  const { writes } = app;
  // The configuration's word stays.
  if (!storage.readOnly) {
    if (state === undefined) writes.open();
    else writes.close(state.reason);
  }
  if (state === undefined || (await writes.settled(waitMs)) === 0) return 0;
  writes.cut();
  return writes.settled(CUT_TIME);
}

function alpnOf(config: Config): Pick<TlsOptions, 'alpnChallenge'> {
  const alpnChallenge = alpnChallengeOf(config);
  return alpnChallenge === undefined ? {} : { alpnChallenge };
}

/** What the files of all certificates look like. */
async function certificateSignatures({ http: { tls } }: Config): Promise<readonly string[]> {
  return tls === undefined ? [] : Promise.all(certificateFiles(tls).map(fileSignature));
}

/**
 * Takes up other certificates when their files change, without ending a connection.
 * @param since what the files looked like before those were read that are shown
 */
function watchCertificate(
  config: Config,
  listener: Listener,
  log: Logger,
  since: readonly string[],
): () => void {
  const { tls } = config.http;
  if (tls === undefined) return () => undefined;
  const files = certificateFiles(tls);
  let shown = since;
  /** Why the files could not be used, told once: they are looked at again until they can. */
  let told = '';
  const tell = (reason: string): void => {
    if (reason !== told)
      log.error('a certificate has changed and cannot be used: those before are shown', { reason });
    told = reason;
  };
  const look = async (): Promise<void> => {
    const now = await certificateSignatures(config);
    const changed = files.filter((_, index) => now[index] !== shown[index]).join(', ');
    if (changed === '') return;
    const certificates = readCertificate(config);
    if (certificates === undefined) return;
    const { certificate, key, named = [] } = certificates;
    const renewed = await listener.renew({ certificate, key, named });
    shown = now;
    told = '';
    if (renewed) log.info(`${changed} changed: it is shown to who comes now`);
    else log.warn(`${changed} changed: it counts from the next start, or SIGHUP`);
  };
  let running = false;
  const timer = setInterval(() => {
    if (running) return;
    running = true;
    look()
      .catch((error: unknown) => tell(error instanceof Error ? error.message : String(error)))
      .finally(() => {
        running = false;
      });
  }, LOOK_AT_CERTIFICATE);
  timer.unref();
  return () => clearInterval(timer);
}

/** By plain HTTP the authority's certificate is told, a directory answered, and everybody else sent on to TLS. */
async function listenPlainly(config: Config, reusePort: boolean): Promise<Listener | undefined> {
  const { tls, addr } = config.http;
  const root = tls?.localCa === undefined ? undefined : join(tls.localCa.folder, 'root.crt');
  if (tls?.plainAddr === undefined) return undefined;
  const rootCa = root === undefined ? undefined : rootCaOf(readFileSync(root, 'utf8'));
  try {
    return await listen({
      address: tls.plainAddr,
      socket: lentSocket('plain'),
      reusePort,
      idleSeconds: IDLE_SECONDS,
      handler: createPlainHandler(
        { rootCa, token: tokensOf(config), hosts: certificateHosts(config) },
        'unix' in addr ? 443 : addr.port,
      ),
    });
  } catch (error) {
    if (!(error instanceof AddressUnavailable)) throw error;
    throw new StartFailure(`http.tls.plainaddr: ${error.message}`, { cause: error });
  }
}

/**
 * Takes up the accounts, rights, rules of tags and settings of upkeep that the supervisor has taken up, now and from now on.
 * @returns the configuration in force here
 */
function followRights(app: App, config: Config, onChange: () => void): () => Config {
  let present = config;
  onRenewed((message) => {
    const { config: changed } = message as WorkerMessage;
    if (!isDeepStrictEqual(changed.tags, present.tags)) app.changeTagRules(changed);
    app.changeUpkeep(changed);
    const { auth: _auth, ...rest } = changed;
    try {
      if (!isDeepStrictEqual(changed.auth, present.auth)) app.changeAccess(changed);
      present = changed;
    } catch (error) {
      if (!(error instanceof StartFailure)) throw error;
      present = present.auth === undefined ? rest : { ...rest, auth: present.auth };
      app.log.error('changed accounts and rights cannot be used: they stay as they were', {
        error: error.message,
      });
    }
    onChange();
  });
  return () => present;
}
