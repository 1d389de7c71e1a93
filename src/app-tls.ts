/** From the configuration's TLS to certificates that stay good. A part of the composition root. */
import { isIP } from 'node:net';
import type { Config } from './config/config.ts';
import type { Logger } from './log.ts';
import { StartFailure } from './start-failure.ts';
import { hostNames } from './tls/host-names.ts';
import type { LocalCertificate } from './tls/local-ca.ts';
import { isPermitted } from './tls/name-constraints.ts';

/** How often it is looked whether the host has other addresses, in milliseconds. */
const LOOK_EVERY = 2_000;
/** How often it is looked whether the certificate is there, and not old, in milliseconds. */
const READ_EVERY = 15_000;

/** A certificate that is kept good. */
export interface KeptCertificate {
  /** It has to be for this name, too: the one under which the host is announced at last. */
  cover(name: string): void;
  stop(): void;
}

/**
 * Makes what is missing of our own authority and certificate; undefined where the configuration names files.
 * @param warn told of keys that others could read
 * @param announced the name under which the host is announced, where that is another one than the configured
 * @throws StartFailure
 */
export async function prepareCertificate(
  config: Config,
  warn: (message: string) => void,
  announced?: string,
): Promise<LocalCertificate | undefined> {
  const localCa = config.http.tls?.localCa;
  if (localCa === undefined) return undefined;
  const { folder, constraints } = localCa;
  // Large, and of no use to who has certificates of his own.
  const { localCertificate, RootLost } = await import('./tls/local-ca.ts');
  try {
    const foreign = configuredNames(config, announced).find(
      (name) => isIP(name) === 0 && !isPermitted(name, constraints),
    );
    if (foreign !== undefined)
      throw new Error(`${foreign} is not below what http.tls.constraints allows: ${constraints.join(', ')}`);
    return await localCertificate({
      folder,
      names: namesOf(config, announced),
      onlyBelow: constraints,
      warn,
    });
  } catch (error) {
    const { message } = error as Error;
    const told = error instanceof RootLost ? message : `${folder}: ${message}`;
    throw new StartFailure(`http.tls.auto: ${told}`, { cause: error });
  }
}

function namesOf(config: Config, announced?: string): readonly string[] {
  return hostNames(configuredNames(config, announced));
}

/** The configured name stays beside the announced one: it is taken again when it is free, and that needs no new one then. */
function configuredNames({ http, mdns }: Config, announced?: string): readonly string[] {
  return [
    ...(announced === undefined ? [] : [announced]),
    ...(mdns === undefined ? [] : [`${mdns.name}.local`]),
    ...(http.tls?.localCa?.names ?? []),
  ];
}

/**
 * Keeps the certificate good: makes it anew when the host has other addresses or another name, and after two thirds of its
 * time. Who serves takes it up from its files.
 */
export function keepCertificate(config: Config, log: Logger): KeptCertificate {
  if (config.http.tls?.localCa === undefined) return { cover: () => undefined, stop: () => undefined };
  let announced: string | undefined;
  let running = false;
  /** Why it could not be made, told once: the reason mostly stays until somebody does something. */
  let told = '';
  let last = { names: namesOf(config).join(), at: performance.now() };
  const look = () => {
    if (running) return;
    const now = { names: namesOf(config, announced).join(), at: performance.now() };
    if (now.names === last.names && now.at - last.at < READ_EVERY) return;
    running = true;
    // One that fails is tried again as if it had gone well: every few seconds would fill the log.
    last = now;
    prepareCertificate(config, () => undefined, announced)
      .then((made) => {
        told = '';
        if (made?.isNew === true) log.info('the certificate is made anew', { names: made.names.join(', ') });
      })
      .catch((error: unknown) => {
        const reason = error instanceof Error ? error.message : String(error);
        if (reason !== told) log.error('the certificate could not be made anew', { error: reason });
        told = reason;
      })
      .finally(() => {
        running = false;
      });
  };
  const timer = setInterval(look, LOOK_EVERY);
  timer.unref();
  return {
    cover(name) {
      announced = name;
      look();
    },
    stop: () => clearInterval(timer),
  };
}
