/** A worker process of `entrepot serve`: a registry, and a listener on the shared address. */
import { createApp, IDLE_SECONDS, loggerFor, StartFailure } from '../app.ts';
import type { Config } from '../config/config.ts';
import { AddressUnavailable } from '../server/address.ts';
import { listen } from '../server/runtime.ts';
import { onDrain, workerFailed, workerNumber, workerReady, workerStart } from '../server/worker.ts';

/** Serves until the supervisor says otherwise. */
export async function work(): Promise<void> {
  const { address, reusePort, message } = await workerStart();
  const config = message as Config;
  try {
    const app = createApp(config, loggerFor(config, workerNumber()));
    const listener = await listen({
      address,
      reusePort,
      idleSeconds: IDLE_SECONDS,
      handler: app.handler,
      ...(app.tls === undefined ? {} : { tls: app.tls }),
    });
    onDrain(async () => {
      app.stop();
      await listener.drain();
    });
    workerReady();
  } catch (error) {
    if (!(error instanceof StartFailure) && !(error instanceof AddressUnavailable)) throw error;
    workerFailed(error.message);
  }
}
