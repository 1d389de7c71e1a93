/** A worker process of `entrepot serve`: a registry, and a listener on the shared address. */
import { type App, createApp, IDLE_SECONDS, loggerFor } from '../app.ts';
import { StartFailure } from '../start-failure.ts';
import type { Config } from '../config/config.ts';
import { watchConfig } from '../config/watch.ts';
import { AddressUnavailable } from '../server/address.ts';
import { listen } from '../server/runtime.ts';
import {
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

/** Serves until the supervisor says otherwise. */
export async function work(): Promise<void> {
  const { address, reusePort, message } = await workerStart();
  const { config, file, since } = message as WorkerMessage;
  try {
    const app = createApp(config, loggerFor(config, workerNumber()), {
      worker: workerNumber(),
      peers: { tell: shareWithWorkers, onTold: onShared },
    });
    const stopWatching = file === undefined ? undefined : watchRights(app, config, file, since);
    const listener = await listen({
      address,
      reusePort,
      idleSeconds: IDLE_SECONDS,
      handler: app.handler,
      ...(app.tls === undefined ? {} : { tls: app.tls }),
    });
    onDrain(async () => {
      stopWatching?.();
      app.stop();
      await listener.drain();
    });
    workerReady();
  } catch (error) {
    if (!(error instanceof StartFailure) && !(error instanceof AddressUnavailable)) throw error;
    workerFailed(error.message);
  }
}

/** What has changed beside accounts and rights, for a message. */
function changedSections(before: Config, after: Config): string {
  const { auth: _before, ...left } = before;
  const { auth: _after, ...right } = after;
  const names = [...new Set([...Object.keys(left), ...Object.keys(right)])] as (keyof typeof left)[];
  return names.filter((name) => JSON.stringify(left[name]) !== JSON.stringify(right[name])).join(', ');
}

/** Takes up accounts and rights when the file changes. Everything else in it counts from the next start. */
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
