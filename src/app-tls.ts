/** From the configuration's TLS to certificates that stay good. A part of the composition root. */
import type { Config } from './config/config.ts';
import type { Logger } from './log.ts';
import { StartFailure } from './start-failure.ts';
import { hostNames } from './tls/host-names.ts';
import type { LocalCertificate } from './tls/local-ca.ts';

/** How often it is looked whether the host has other addresses, or its certificate is old, in milliseconds. */
const LOOK_EVERY = 15_000;

/**
 * Makes what is missing of our own authority and certificate; undefined where the configuration names files.
 * @throws StartFailure
 */
export async function prepareCertificate({ http, mdns }: Config): Promise<LocalCertificate | undefined> {
  const localCa = http.tls?.localCa;
  if (localCa === undefined) return undefined;
  const { folder, names, constraints } = localCa;
  // Large, and of no use to who has certificates of his own.
  const { localCertificate, RootLost } = await import('./tls/local-ca.ts');
  try {
    const announced = mdns === undefined ? [] : [`${mdns.name}.local`];
    return await localCertificate({
      folder,
      names: hostNames([...announced, ...names]),
      onlyBelow: constraints,
    });
  } catch (error) {
    const { message } = error as Error;
    const told = error instanceof RootLost ? message : `${folder}: ${message}`;
    throw new StartFailure(`http.tls.auto: ${told}`, { cause: error });
  }
}

/**
 * Keeps the certificate good: makes it anew when the host has other addresses, and after two thirds of its time. Who
 * serves takes it up from its files.
 * @returns what ends that
 */
export function keepCertificate(config: Config, log: Logger): () => void {
  if (config.http.tls?.localCa === undefined) return () => undefined;
  let running = false;
  const timer = setInterval(() => {
    if (running) return;
    running = true;
    prepareCertificate(config)
      .then((made) => {
        if (made?.isNew === true) log.info('the certificate is made anew', { names: made.names.join(', ') });
      })
      .catch((error: unknown) => {
        log.error('the certificate could not be made anew', {
          error: error instanceof Error ? error.message : String(error),
        });
      })
      .finally(() => {
        running = false;
      });
  }, LOOK_EVERY);
  timer.unref();
  return () => clearInterval(timer);
}
