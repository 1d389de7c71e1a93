/** From the configuration to a certificate that a directory signs. A part of the composition root. */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { TLSSocket } from 'node:tls';
import { readPem } from './app-certificates.ts';
import type { AcmeConfig, Config } from './config/config.ts';
import type { Logger } from './log.ts';
import { proxyFor } from './proxy/http-proxy.ts';
import type { AlpnChallenge } from './server/listener.ts';
import { StartFailure } from './start-failure.ts';
import { AcmeFolder } from './tls/acme-folder.ts';
import { ChallengeFiles } from './tls/challenge-files.ts';

/**
 * Makes sure that there is something to show, and that everything the configuration names is there.
 * @throws StartFailure
 */
export async function prepareAcme({ http }: Config, log: Logger): Promise<void> {
  const acme = http.tls?.acme;
  if (acme === undefined) return;
  if (acme.challenge === 'tls-alpn-01' && !canAnswerByAlpn()) {
    throw new StartFailure(
      `http.tls.letsencrypt.challenge: tls-alpn-01 needs a runtime that can choose a certificate by the client's protocol: Node from 20.17 on, which this is not. Use http-01 or dns-01`,
    );
  }
  readCa(acme);
  if (acme.hook !== undefined) findHook(acme.hook);
  // Large, and of no use to who has certificates of his own.
  const renewal = await import('./tls/acme-renewal.ts');
  try {
    const folder = new AcmeFolder(acme.folder);
    await folder.tighten((message) => log.warn(message));
    const { takeOver } = await import('./tls/acme-takeover.ts');
    const { account, host } = await takeOver(folder, acme.hosts);
    if (account) log.info(`the account that registry:2 has in ${acme.folder} is taken over`);
    if (host !== undefined)
      log.info(`the certificate that registry:2 has for ${host} in ${acme.folder} is taken over`);
    if (await renewal.prepareAcme(folder, acme.hosts)) return;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const told = code === 'ENOTDIR' || code === 'EEXIST' ? A_FILE : message;
    throw new StartFailure(`http.tls.letsencrypt.cachefile: ${acme.folder}: ${told}`, { cause: error });
  }
  log.warn(
    'there is no certificate yet: until a directory has signed one, a placeholder is shown that nobody trusts',
    {
      names: acme.hosts.join(', '),
      directory: acme.directoryUrl,
    },
  );
}

/**
 * Asks for the certificate when it is time to, from now on. To be called when challenges can be answered. Who serves takes
 * it up from its file.
 * @returns what ends that, and says whether something is under way that would keep the process for minutes
 */
export async function keepAcme({ http }: Config, log: Logger): Promise<() => boolean> {
  const acme = http.tls?.acme;
  if (acme === undefined) return () => false;
  const { keepRenewed } = await import('./tls/acme-renewal.ts');
  const { adviceFor } = await import('./tls/acme-advice.ts');
  const folder = new AcmeFolder(acme.folder);
  return keepRenewed({
    folder,
    hosts: acme.hosts,
    directoryUrl: acme.directoryUrl,
    settings: settingsOf(acme),
    order: () => order(acme, folder),
    advise: (problem) => adviceFor(problem, acme.challenge),
    log,
  });
}

/** The file of `registry:2.8` is of the first version of ACME, which no directory speaks since 2021. */
const A_FILE =
  'it is a file, and a folder is needed. Where it is that of registry:2.8, nothing in it is of use any more: name a folder beside it';

/** The answer to a token of http-01; undefined where directories do not ask by plain HTTP. */
export function tokensOf({ http }: Config): ((token: string) => Promise<string | undefined>) | undefined {
  const acme = http.tls?.acme;
  if (acme?.challenge !== 'http-01') return undefined;
  const files = new ChallengeFiles(acme.folder);
  return (token) => files.token(token);
}

/** The answer to a handshake of tls-alpn-01; undefined where directories do not ask by TLS. */
export function alpnChallengeOf({ http }: Config): AlpnChallenge | undefined {
  const acme = http.tls?.acme;
  if (acme?.challenge !== 'tls-alpn-01') return undefined;
  const files = new ChallengeFiles(acme.folder);
  return (host) => (acme.hosts.includes(host) ? files.certificate(host) : undefined);
}

/** Bun 1.4.4 has the method too, and shows the listener's own certificate all the same. */
function canAnswerByAlpn(): boolean {
  return typeof Bun === 'undefined' && 'setKeyCert' in TLSSocket.prototype;
}

async function order(acme: AcmeConfig, folder: AcmeFolder) {
  const { orderCertificate } = await import('./tls/acme-order.ts');
  const { alpnResponder, dnsResponder, httpResponder } = await import('./tls/responders.ts');
  const files = new ChallengeFiles(acme.folder);
  await files.clear();
  return orderCertificate({
    directoryUrl: acme.directoryUrl,
    ca: readCa(acme),
    proxyFor,
    email: acme.email,
    eab: acme.eab,
    accountKey: await folder.accountKey(),
    hosts: acme.hosts,
    responder:
      acme.challenge === 'dns-01'
        ? dnsResponder(acme.hook ?? '')
        : acme.challenge === 'http-01'
          ? httpResponder(files)
          : alpnResponder(files),
  });
}

/** @throws StartFailure */
function readCa({ ca }: AcmeConfig): string | undefined {
  return ca === undefined ? undefined : readPem('http.tls.letsencrypt.ca', ca, 'CERTIFICATE');
}

/** What attempts depend on, without the secrets: it is kept in a file. */
function settingsOf({ directoryUrl, hosts, challenge, email, hook, eab, ca }: AcmeConfig): string {
  return JSON.stringify([directoryUrl, [...hosts].sort(), challenge, email, hook, eab?.kid, ca]);
}

/** Without it every attempt would fail, weeks later. @throws StartFailure */
function findHook(hook: string): void {
  const folders = hook.includes('/') ? [''] : (process.env['PATH'] ?? '').split(delimiter);
  const refuse = (reason: string) => new StartFailure(`http.tls.letsencrypt.hook: ${hook}: ${reason}`);
  const found = folders
    .map((folder) => join(folder, hook))
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true);
  if (found.length === 0)
    throw refuse(hook.includes('/') ? 'there is no such file' : 'it is not in the PATH');
  if (!found.some(canRun)) throw refuse('it cannot be run: chmod +x');
}

function canRun(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
