/** Announces the registry on its networks, where that is configured. A part of the composition root. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import packageJson from '../package.json' with { type: 'json' };
import { isLoopback } from './config/addresses.ts';
import type { Config } from './config/config.ts';
import type { Logger } from './log.ts';
import { formatAddress } from './server/address.ts';
import type { Address } from './server/listener.ts';

/** How long the name may take until the registry is told of without it, in milliseconds. */
const NAME_TAKES = 5_000;

/** Of different failures of networks. */
const MOST_TOLD = 20;

export interface AnnounceOptions {
  readonly log: Logger;
  /** Told of the name, such as `registry.local`, and of each that takes its place. */
  readonly onName: (host: string) => void;
  /** Told once: of the first name, or of none where there is none to be had (soon). */
  readonly onReady: (host: string | undefined) => void;
}

/** @returns what ends it, with a goodbye */
export async function announce(
  config: Config,
  address: Address,
  { log, onName, onReady }: AnnounceOptions,
): Promise<() => Promise<void>> {
  const { mdns, http } = config;
  const isReachable = !('unix' in address) && !isLoopback(address.hostname);
  if (mdns === undefined || !isReachable) {
    if (mdns !== undefined) {
      log.warn('mdns: the registry is not announced, as no other machine can reach it', {
        address: formatAddress(address),
        advice: 'set http.addr to an address of the network, or to ":5000" for all of them',
      });
    }
    onReady(undefined);
    return () => Promise.resolve();
  }
  let isReady = false;
  const ready = (host?: string) => {
    clearTimeout(late);
    if (!isReady) onReady(host);
    isReady = true;
  };
  const late = setTimeout(ready, NAME_TAKES);
  const { Announcer } = await import('./mdns/announcer.ts');
  const { port } = address;
  const isTls = http.tls !== undefined;
  const txt = [`path=${http.prefix}v2/`, `version=${packageJson.version}`, `tls=${isTls ? 'yes' : 'no'}`];
  const file = nameFile(config);
  const name = (await rememberedName(file, mdns.name)) ?? mdns.name;
  const told = new Set<string>();
  const announcer = new Announcer({
    name,
    services: [
      { type: '_docker-registry._tcp', port, txt },
      { type: isTls ? '_https._tcp' : '_http._tcp', port, txt },
    ],
    onName(host) {
      onName(host);
      ready(host);
      const other = host === `${mdns.name}.local` ? {} : { wanted: `${mdns.name}.local`, remembered: file };
      log.info(`announced as ${host}`, { port, ...other });
      void rememberName(file, mdns.name, host.replace(/\.local$/, ''), log);
    },
    onFailure(error) {
      // An interface that is down fails again and again with the same words.
      if (told.has(error.message) || told.size >= MOST_TOLD) return;
      told.add(error.message);
      log.warn('mdns: a network cannot be told', { error: error.message });
    },
  });
  const started = announcer.start().catch((error: unknown) => {
    log.error('mdns: the registry is not announced', {
      error: error instanceof Error ? error.message : String(error),
    });
    ready();
  });
  return async () => {
    clearTimeout(late);
    await Promise.race([started, new Promise((resolve) => setTimeout(resolve, 100))]);
    await announcer.stop().catch(() => undefined);
  };
}

/**
 * Where the name is kept that was settled on: without it, two machines that are switched on together could have each
 * other's name the next day, and with it each other's pushes (RFC 6762 §9). By host, as several can have one storage.
 */
function nameFile({ storage: { driver } }: Config): string | undefined {
  if (driver.kind !== 'filesystem') return undefined;
  return join(driver.rootDirectory, '_entrepot', 'mdns', encodeURIComponent(hostname().toLowerCase()));
}

/** The name that was taken in place of the wanted one; another wish begins anew. */
async function rememberedName(file: string | undefined, wanted: string): Promise<string | undefined> {
  if (file === undefined) return undefined;
  const text = await readFile(file, 'utf8').catch(() => '');
  const [, before, settled] = /^([a-z0-9-]+) ([a-z0-9-]{1,60})\n$/.exec(text) ?? [];
  return before === wanted ? settled : undefined;
}

async function rememberName(
  file: string | undefined,
  wanted: string,
  settled: string,
  log: Logger,
): Promise<void> {
  if (file === undefined) return;
  try {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, `${wanted} ${settled}\n`);
  } catch (error) {
    log.warn('mdns: the name cannot be kept for the next start', { error: (error as Error).message });
  }
}
