/** `entrepot discover`: lists the registries that announce themselves on the networks of this machine. */
import { isIP } from 'node:net';
import type { FoundService } from '../mdns/browser.ts';
import { CommandFailure, type CommandIo, exitCodeOf, processIo } from './command-io.ts';
import { ownCommand } from './own-command.ts';

export interface DiscoverOptions {
  /** Seconds to listen for; 2 unless told. */
  readonly timeout?: string;
  /** A list for programs. */
  readonly json?: boolean;
  /** In place of asking the network; for tests. */
  readonly found?: readonly FoundService[];
}

/** A registry as it announced itself, with everything that a terminal would act on taken out. */
interface Listed {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly addresses: readonly string[];
  /** null where it does not say. */
  readonly tls: boolean | null;
  readonly version: string | null;
  readonly path: string | null;
}

const MOST_SECONDS = 60;
/** Longer texts are cut, in characters: an instance's name can have 63 bytes. */
const LONGEST = 63;

/** @returns the exit code: 1 when there is none */
export async function discover(
  { timeout = '2', json = false, found }: DiscoverOptions,
  io: CommandIo = processIo({ isListing: true }),
): Promise<number> {
  return exitCodeOf(io, async () => {
    const seconds = Number(timeout);
    if (!(seconds > 0 && seconds <= MOST_SECONDS)) {
      throw new CommandFailure(
        `--timeout ${plain(timeout)}: expected seconds, more than 0 and at most ${MOST_SECONDS}`,
        2,
      );
    }
    const registries = (found ?? (await browseFor(seconds, io))).map(listed).sort(byName);
    if (json) io.out(`${JSON.stringify(registries, undefined, 2)}\n`);
    if (registries.length === 0) {
      throw new CommandFailure(
        'No registry announces itself here. Is it on the same network, started with --lan or mdns.enabled, and is UDP port 5353 open on both machines?',
      );
    }
    if (!json) io.out(table(registries));
  });
}

async function browseFor(seconds: number, io: CommandIo): Promise<readonly FoundService[]> {
  const { browse } = await import('../mdns/browser.ts');
  const told = new Set<string>();
  try {
    return await browse({
      type: '_docker-registry._tcp',
      timeoutMs: seconds * 1_000,
      onFailure({ message }) {
        if (!told.has(message)) io.err(`warning: a network cannot be asked: ${message}\n`);
        told.add(message);
      },
    });
  } catch (error) {
    throw new CommandFailure(`the network cannot be asked: ${(error as Error).message}`);
  }
}

function listed({ name, host, port, addresses, txt }: FoundService): Listed {
  const said = (key: string) => (txt.has(key) ? plain(txt.get(key) ?? '') : null);
  const tls = said('tls');
  return {
    name: plain(name),
    host: plain(host),
    port,
    addresses: addresses.map(plain),
    tls: tls === 'yes' ? true : tls === 'no' ? false : null,
    version: said('version'),
    path: said('path'),
  };
}

/** Anybody on the network has written it: control characters, and those that turn text around or hide in it, are shown as `?`. */
function plain(text: string): string {
  const shown = Array.from(text.slice(0, 4 * LONGEST), (character) =>
    /[\p{C}\p{Zl}\p{Zp}\p{M}]/u.test(character) ? '?' : character,
  );
  return shown.length > LONGEST ? `${shown.slice(0, LONGEST - 1).join('')}…` : shown.join('');
}

function byName(a: Listed, b: Listed): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : a.port - b.port;
}

function table(registries: readonly Listed[]): string {
  const rows = [
    ['NAME', 'REGISTRY', 'TLS', 'VERSION', 'ADDRESSES'],
    ...registries.map(({ name, host, port, tls, version, addresses }) => [
      name,
      `${host}:${port}`,
      tls === null ? '?' : tls ? 'yes' : 'no',
      version ?? '?',
      addresses.join(' ') || '?',
    ]),
  ];
  const widths = [0, 1, 2, 3].map((at) => Math.max(...rows.map((row) => row[at]?.length ?? 0)));
  const lines = rows.map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return [...lines, '', ...registries.flatMap(nextSteps), ''].join('\n');
}

/** What to run, to be pasted: so only for a name that a shell takes for nothing but a name. */
function nextSteps({ host, port, tls }: Listed): string[] {
  if (isIP(host) === 0 && !/^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/i.test(host)) {
    return [`${host}:${port} has no name that can be used`];
  }
  const place = `${host}:${port}`;
  return tls === false
    ? [
        `docker login ${place}        # without TLS: first name it in "insecure-registries" of /etc/docker/daemon.json`,
      ]
    : [`sudo ${ownCommand()} trust ${place} && docker login ${place}`];
}
