import { existsSync } from 'node:fs';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import type { Config } from '../config/config.ts';
import { type Address } from '../server/listener.ts';
import { formatAddress } from '../server/address.ts';
import { hostNames } from '../tls/host-names.ts';
import { ownCommand } from './own-command.ts';
import { trustLines } from './trust-card.ts';

/** An account that was made at the first start. */
export interface FirstAccount {
  readonly account: string;
  readonly password: string;
}

/** What is known at the start alone. */
interface Told {
  /** Of our own authority. */
  readonly fingerprint: string | undefined;
  readonly admin: FirstAccount | undefined;
  /** The name under which it is announced, such as `registry.local`. */
  readonly host: string | undefined;
}

/** Tells where the registry is and how to push to it. On standard output only when a person may be reading. */
export function printWelcome(
  config: Config,
  address: Address,
  file: string | undefined,
  { fingerprint, admin, host }: Told,
): void {
  const isEverywhere = !('unix' in address) && ['', '::', '0.0.0.0'].includes(address.hostname);
  const where =
    'unix' in address
      ? `unix:${address.unix}`
      : config.http.tls?.acme !== undefined
        ? `${config.http.tls.acme.hosts.find((name) => !name.startsWith('*')) ?? address.hostname}${address.port === 443 ? '' : `:${address.port}`}`
        : host !== undefined && isEverywhere
          ? `${host}:${address.port}`
          : formatAddress(reachable(address));
  const scheme = config.http.tls === undefined ? 'http' : 'https';
  const { driver } = config.storage;
  const data = driver.kind === 'filesystem' ? driver.rootDirectory : 'memory (gone when it stops)';
  const lines = [
    `Entrepot is serving on ${'unix' in address ? where : `${scheme}://${where}`}`,
    ...(isEverywhere && config.http.tls !== undefined ? alsoLine(where, address.port) : []),
    `  data    ${data}`,
    `  config  ${file === undefined ? `none: the defaults${config.auth === undefined ? ', for this machine only' : ' and variables'}` : resolve(file)}`,
    `  login   ${loginLine(config, where, file)}`,
    ...(admin === undefined
      ? []
      : [`          account ${admin.account}, password ${admin.password} (shown this once)`]),
    ...(fingerprint === undefined ? [] : trustLines(config, where, fingerprint)),
    ...(config.proxy?.fallback !== undefined && !config.proxy.push
      ? [`  pull    docker pull ${where}/IMAGE (what it caches; it takes no pushes)`]
      : [
          `  push    docker tag IMAGE ${where}/IMAGE && docker push ${where}/IMAGE`,
          `  pull    docker pull ${where}/IMAGE`,
        ]),
    ...(config.proxy === undefined || config.proxy.allow.length === 0
      ? []
      : [`  cache   docker pull ${where}/proxy/docker.io/library/busybox`]),
    `  stop    Ctrl-C`,
  ];
  // A full disk, or a reader that has gone, is no reason not to serve.
  process.stdout.on('error', () => undefined);
  process.stdout.write(`${lines.join('\n')}\n`);
}

/** The addresses by which other machines reach this one, for those that do not know its name. */
function alsoLine(where: string, port: number): readonly string[] {
  const addresses = hostNames()
    .filter((name) => isIP(name) !== 0 && name !== '::1' && !name.startsWith('127.'))
    .map((hostname) => formatAddress({ hostname, port }))
    .filter((address) => address !== where);
  return addresses.length === 0 ? [] : [`  also    ${addresses.join(', ')}`];
}

/** An address that a client on this machine can use. */
function reachable(address: { readonly hostname: string; readonly port: number }): Address {
  const { hostname, port } = address;
  return { hostname: ['', '::', '0.0.0.0'].includes(hostname) ? 'localhost' : hostname, port };
}

/** Who is asked for a login, and what to do about it. */
function loginLine({ auth }: Config, where: string, file: string | undefined): string {
  if (auth === undefined) return 'nobody is asked for one';
  if (auth.kind !== 'own') return `docker login ${where} (auth.${auth.kind})`;
  const elsewhere = auth.ldap !== undefined || auth.oidc.length > 0 || auth.certificates.length > 0;
  const kept = auth.users.length > 0 || (auth.htpasswd !== undefined && existsSync(auth.htpasswd.path));
  const command = `docker login ${where}`;
  return kept || elsewhere
    ? command
    : `there are no accounts yet: ${ownCommand()} user add NAME ${file ?? ''}`.trimEnd();
}
