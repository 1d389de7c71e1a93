/** Announces the registry on its networks, where that is configured. A part of the composition root. */
import type { Config } from './config/config.ts';
import type { Logger } from './log.ts';
import type { Address } from './server/listener.ts';

/** @returns what ends it, with a goodbye */
export async function announce(
  { mdns, http }: Config,
  address: Address,
  log: Logger,
): Promise<() => Promise<void>> {
  if (mdns === undefined || 'unix' in address) return () => Promise.resolve();
  const { Announcer } = await import('./mdns/announcer.ts');
  const { port } = address;
  const txt = [`path=${http.prefix}v2/`, `tls=${http.tls === undefined ? 'no' : 'yes'}`];
  const web = http.tls === undefined ? '_http._tcp' : '_https._tcp';
  let told = '';
  const announcer = new Announcer({
    name: mdns.name,
    services: [
      { type: '_docker-registry._tcp', port, txt },
      { type: web, port, txt },
    ],
    onName: (host) => log.info(`announced as ${host}`, { port }),
    onFailure(error) {
      // An interface that is down fails every few seconds with the same words.
      if (error.message !== told) log.warn('mdns: a network cannot be told', { error: error.message });
      told = error.message;
    },
  });
  const started = announcer.start().catch((error: unknown) => {
    log.error('mdns: the registry is not announced', {
      error: error instanceof Error ? error.message : String(error),
    });
  });
  return async () => {
    await Promise.race([started, new Promise((resolve) => setTimeout(resolve, 100))]);
    await announcer.stop().catch(() => undefined);
  };
}
