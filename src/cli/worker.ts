/** A worker process of `entrepot serve`: a registry, and a listener on the shared address. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { keepUpInMemory } from '../app-admin.ts';
import { type App, createApp, IDLE_SECONDS, loggerFor } from '../app.ts';
import { alpnChallengeOf, tokensOf } from '../app-acme.ts';
import { certificateFiles, certificateHosts, readCertificate } from '../app-certificates.ts';
import { StartFailure } from '../start-failure.ts';
import type { Config } from '../config/config.ts';
import { fileSignature, watchConfig } from '../config/watch.ts';
import type { Logger } from '../log.ts';
import { createPlainHandler } from '../protocol/plain-handler.ts';
import { AddressUnavailable } from '../server/address.ts';
import type { Listener, TlsOptions } from '../server/listener.ts';
import { listen } from '../server/runtime.ts';
import type { ReadOnlyQuestion } from '../admin/read-only-switch.ts';
import { readOnlyNote } from '../store/notes.ts';
import { rootCaOf } from '../tls/root-ca.ts';
import {
  onAsked,
  onDrain,
  onShared,
  shareWithWorkers,
  workerFailed,
  workerNumber,
  workerReady,
  workerStart,
} from '../server/worker.ts';

/** What the supervisor gives each worker; plain JSON. */
export interface WorkerMessage {
  readonly config: Config;
  /** The configuration file, if there is one, and what it looked like when `config` was read from it. */
  readonly file: string | undefined;
  readonly since: string;
}

/** How often the certificate's file is looked at, in milliseconds. */
const LOOK_AT_CERTIFICATE = 2_000;

/** Serves until the supervisor says otherwise. */
export async function work(): Promise<void> {
  const { address, reusePort, message } = await workerStart();
  const { config, file, since } = message as WorkerMessage;
  try {
    const app = createApp(config, loggerFor(config, workerNumber()), {
      worker: workerNumber(),
      peers: { tell: shareWithWorkers, onTold: onShared },
    });
    await takeReadOnly(app, config);
    const stopWatching = file === undefined ? undefined : watchRights(app, config, file, since);
    const listener = await listen({
      address,
      reusePort,
      idleSeconds: IDLE_SECONDS,
      handler: app.handler,
      ...(app.tls === undefined ? {} : { tls: { ...app.tls, ...alpnOf(config) } }),
    });
    const stopRenewing = watchCertificate(config, listener, app.log);
    const plain = await listenPlainly(config, reusePort);
    const inMemory = config.storage.driver.kind === 'inmemory';
    const endUpkeep = inMemory ? keepUpInMemory(config, app.objects, app.log) : undefined;
    onAsked(async (question) => setReadOnly(app, config, question as ReadOnlyQuestion));
    onDrain(async () => {
      stopWatching?.();
      stopRenewing();
      endUpkeep?.();
      app.stop();
      await Promise.all([listener.drain(), plain?.drain()]);
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

/** Takes up other certificates when their files change, without ending a connection. */
function watchCertificate(config: Config, listener: Listener, log: Logger): () => void {
  const { tls } = config.http;
  if (tls === undefined) return () => undefined;
  const files = certificateFiles(tls);
  const signatures = () => Promise.all(files.map(fileSignature));
  let shown: readonly string[] | undefined;
  /** Why the files could not be used, told once: they are looked at again until they can. */
  let told = '';
  const tell = (reason: string): void => {
    if (reason !== told)
      log.error('a certificate has changed and cannot be used: those before are shown', { reason });
    told = reason;
  };
  const look = async (): Promise<void> => {
    const now = await signatures();
    const before = (shown ??= now);
    const changed = files.filter((_, index) => now[index] !== before[index]).join(', ');
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
  void signatures().then((now) => (shown ??= now));
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

/** What has changed beside what is taken up at once, for a message. */
function changedSections(before: Config, after: Config): string {
  const settled = ({ auth: _auth, tags: { maxTags }, ...others }: Config) => ({
    ...others,
    tags: maxTags,
  });
  const left = settled(before);
  const right = settled(after);
  const names = [...new Set([...Object.keys(left), ...Object.keys(right)])] as (keyof typeof left)[];
  return names.filter((name) => JSON.stringify(left[name]) !== JSON.stringify(right[name])).join(', ');
}

/** Takes up accounts, rights and rules of tags when the file changes. Everything else in it counts from the next start. */
function watchRights(app: App, config: Config, file: string, since: string): () => void {
  let present = config;
  let latest = config;
  return watchConfig({
    file,
    env: process.env,
    since,
    onChange({ config: changed, warnings }) {
      // Once for all workers.
      if (workerNumber() === 0) {
        for (const warning of warnings) app.log.warn(warning);
        const others = changedSections(latest, changed);
        if (others.length > 0) app.log.warn(`${file} has changed: ${others} counts from the next start`);
      }
      if (JSON.stringify(changed.tags) !== JSON.stringify(latest.tags)) {
        app.changeTagRules(changed);
        app.log.info(`${file} has changed: the rules of tags are taken up`);
      }
      latest = changed;
      if (JSON.stringify(changed.auth) === JSON.stringify(present.auth)) return;
      // To open a registry, or to change who gives out its tokens, is more than a change of rights.
      if (changed.auth?.kind !== present.auth?.kind) {
        app.log.error(`${file} has changed: another kind of login counts from the next start`);
        return;
      }
      try {
        app.changeAccess(changed);
        present = changed;
        app.log.info(`${file} has changed: accounts and rights are taken up`);
      } catch (error) {
        if (!(error instanceof StartFailure)) throw error;
        app.log.error(`${file} has changed and cannot be used: accounts and rights stay as they were`, {
          error: error.message,
        });
      }
    },
    onError({ message }) {
      app.log.error(`${file} has changed and is wrong: accounts and rights stay as they were`, {
        error: message,
      });
    },
  });
}
