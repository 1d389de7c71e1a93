/** What `http.tls.letsencrypt` means. */
import { isIP } from 'node:net';
import { join, resolve } from 'node:path';
import { parseTcpAddress } from './addresses.ts';
import type { AcmeConfig, TlsConfig } from './config.ts';
import type { File } from './schema.ts';

/** What is asked unless another is named, as in `registry:2`. */
const LETS_ENCRYPT = 'https://acme-v02.api.letsencrypt.org/directory';
/** Where a directory looks for http-01 (RFC 8555 §8.3). */
const HTTP_PORT = 80;
/** Let's Encrypt signs for so many names at most, and other directories for no more. */
const MAX_HOSTS = 100;
/** Top-level names that no public authority signs for. */
const NEVER_PUBLIC =
  /(?:^|\.)(?:local|localhost|localdomain|lan|home|internal|intranet|corp|private|test|example|invalid|onion|home\.arpa)$/;

type Section = NonNullable<NonNullable<File['http']>['tls']>;
/** Tells a problem of a setting below `http.tls`. */
type Tell = (path: readonly (string | number)[], text: string) => void;

/**
 * TLS by a directory's certificate; undefined where none is asked for.
 * @param besideContent where things are kept unless `cachefile` says so; undefined where there is no such place
 */
export function effectiveAcme(
  section: Section,
  besideContent: string | undefined,
  tell: Tell,
): Pick<TlsConfig, 'acme' | 'plainAddr' | 'certificate' | 'key'> | undefined {
  const said = section.letsencrypt;
  // As in `registry:2`, a section in which everything is empty asks for nothing.
  if (said === null || said === undefined) return undefined;
  const { cachefile, email, hosts, directoryurl, challenge, hook, eab, ca } = said;
  const texts = [cachefile, email, directoryurl, challenge, hook, ca, ...(hosts ?? [])];
  if (!texts.some(isSaid) && (eab === null || eab === undefined)) return undefined;
  for (const name of ['certificate', 'key'] as const) {
    if (isSaid(section[name])) tell([name], 'comes from http.tls.letsencrypt: leave one of them out');
  }
  if (section.auto === true)
    tell(['auto'], 'is another way to a certificate than http.tls.letsencrypt: leave one out');
  const folder = isSaid(cachefile) ? resolve(cachefile) : besideContent;
  if (folder === undefined)
    tell(['letsencrypt', 'cachefile'], 'is needed where the content is not kept in a folder');
  const type = challenge ?? 'http-01';
  const directoryUrl = isSaid(directoryurl) ? directoryurl : LETS_ENCRYPT;
  const acme: AcmeConfig = {
    folder: folder ?? '',
    directoryUrl,
    ...(isSaid(email) ? { email } : {}),
    hosts: hostsOf(hosts ?? [], type, directoryUrl, tell),
    challenge: type,
    ...hookOf(hook, type, tell),
    ...(eab === null || eab === undefined ? {} : { eab: { kid: eab.kid, hmacKey: eab.hmackey } }),
    ...(isSaid(ca) ? { ca: resolve(ca) } : {}),
  };
  const plainAddr = plainAddrOf(section.plainaddr, type, tell);
  // One file, so that what is shown always fits its key.
  const file = join(acme.folder, 'certificate.pem');
  return {
    acme,
    ...(plainAddr === undefined ? {} : { plainAddr }),
    certificate: file,
    key: file,
  };
}

function isSaid(text: string | null | undefined): text is string {
  return text !== null && text !== undefined && text !== '';
}

function hostsOf(
  hosts: readonly string[],
  challenge: AcmeConfig['challenge'],
  directoryUrl: string,
  tell: Tell,
): readonly string[] {
  const path = ['letsencrypt', 'hosts'];
  if (hosts.length === 0) {
    tell(
      path,
      'is missing: the names that a certificate is asked for, and no others, such as [registry.example.com]',
    );
  }
  if (hosts.length > MAX_HOSTS)
    tell(path, `has ${hosts.length} names; a certificate can be for ${MAX_HOSTS}`);
  for (const [index, host] of hosts.entries()) {
    if (isIP(host.replace(/^\[|\]$/g, '')) !== 0) {
      tell(
        [...path, index],
        `${host} is an address, and certificates are asked for names only; "http.tls.auto: true" instead makes one for every address of this machine`,
      );
      continue;
    }
    if (host.startsWith('*.') && challenge !== 'dns-01') {
      tell([...path, index], `${host} can be asked for with "challenge: dns-01" only`);
    }
    if (directoryUrl.includes('letsencrypt.org') && (!host.includes('.') || NEVER_PUBLIC.test(host))) {
      tell(
        [...path, index],
        `Let's Encrypt signs for public names only, and ${host} is none; see http.tls.auto`,
      );
    }
  }
  return [...new Set(hosts)];
}

function hookOf(
  hook: string | null | undefined,
  challenge: AcmeConfig['challenge'],
  tell: Tell,
): Pick<AcmeConfig, 'hook'> {
  const path = ['letsencrypt', 'hook'];
  if (challenge === 'dns-01' && !isSaid(hook)) {
    tell(path, 'is missing: the program that makes the DNS records of "challenge: dns-01"');
  }
  if (challenge !== 'dns-01' && isSaid(hook)) tell(path, 'is for "challenge: dns-01" only');
  // A bare name is looked up in PATH, as everywhere.
  return isSaid(hook) ? { hook: hook.includes('/') ? resolve(hook) : hook } : {};
}

function plainAddrOf(
  typed: string | null | undefined,
  challenge: AcmeConfig['challenge'],
  tell: Tell,
): TlsConfig['plainAddr'] {
  if (!isSaid(typed)) return challenge === 'http-01' ? { hostname: '', port: HTTP_PORT } : undefined;
  const address = parseTcpAddress(typed);
  if (address === undefined) {
    tell(['plainaddr'], `expected host:port such as ":80", found "${typed.slice(0, 60)}"`);
  }
  return address;
}
