/** From the files that the configuration names to what the server shows. A part of the composition root. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { accessSync, closeSync, constants, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import type { Config, TlsConfig } from './config/config.ts';
import { alternativeNames } from './server/alternative-names.ts';
import type { NamedCertificate, ServerCertificate, TlsOptions } from './server/listener.ts';
import { StartFailure } from './start-failure.ts';

/**
 * Reads certificates and keys; undefined for plain HTTP.
 * @throws StartFailure when a file cannot be used, or two do not fit each other
 */
export function readCertificate({ http }: Config): TlsOptions | undefined {
  const { tls } = http;
  if (tls === undefined) return undefined;
  const { clientCas, clientAuth, minimumVersion, ciphers } = tls;
  const pair = readPair('http.tls.', tls);
  const named = tls.named.map((files, index): NamedCertificate => {
    const key = `http.tls.certificates[${index}]`;
    const read = readPair(`${key}.`, files);
    const names = files.names ?? namesIn(read);
    if (names.length > 0) return { ...read, names };
    throw new StartFailure(
      `${key}.certificate: ${files.certificate} has no DNS name that clients could ask for: give it "names"`,
    );
  });
  // Its own name is better than the wildcard of another one.
  const own = { ...pair, names: namesIn(pair) };
  return {
    ...pair,
    ...(named.length === 0 ? {} : { named: [own, ...named] }),
    minimumVersion,
    ...(ciphers.length === 0 ? {} : { ciphers: ciphers.join(':') }),
    ...(clientCas.length === 0
      ? {}
      : {
          clientCas: clientCas.map((path) => readPem('http.tls.clientcas', path)).join('\n'),
          clientAuth: CLIENT_AUTH[clientAuth],
        }),
  };
}

/** A line for each of the operator's certificates that clients refuse by its dates. @throws StartFailure as `readCertificate` */
export function datesOff({ http: { tls } }: Config, now = Date.now()): readonly string[] {
  if (tls === undefined) return [];
  // Those that we have made or asked for ourselves are renewed.
  const isOwn = tls.localCa === undefined && tls.acme === undefined;
  const files = [...(isOwn ? [tls.certificate] : []), ...tls.named.map(({ certificate }) => certificate)];
  return [...new Set(files)].flatMap((file) => {
    const { validFrom, validTo } = new X509Certificate(readPem('http.tls.certificate', file));
    if (Date.parse(validTo) <= now) return [`${file} has expired (${validTo}): clients refuse it`];
    if (Date.parse(validFrom) > now) return [`${file} is not valid before ${validFrom}: clients refuse it`];
    return [];
  });
}

/**
 * A line for each key of the operator's that others on this machine can read, with the command that mends it. None for what
 * lies on a file system that cannot be written to: secrets are mounted into containers so, where nobody else is.
 */
export function openKeysOf({ http: { tls } }: Config): readonly string[] {
  if (tls === undefined || process.platform === 'win32') return [];
  const isOwn = tls.localCa === undefined && tls.acme === undefined;
  const files = [...(isOwn ? [tls.key] : []), ...tls.named.map(({ key }) => key)];
  return [...new Set(files)].flatMap((file) => {
    const { mode, uid } = statSync(file);
    const isOurs = uid === process.getuid?.();
    // Where the file is another user's, the group is how it is read here, as by Debian's ssl-cert.
    if ((mode & (isOurs ? 0o077 : 0o007)) === 0 || isReadOnly(file)) return [];
    const mended = isOurs
      ? `chmod 600 ${file}`
      : `chgrp ${process.getgid?.()} ${file} && chmod 640 ${file}, as root`;
    const found = (mode & 0o777).toString(8).padStart(4, '0');
    return [`${file} can be read by other users of this machine (${found}), and has the key: ${mended}`];
  });
}

function isReadOnly(file: string): boolean {
  try {
    accessSync(file, constants.W_OK);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EROFS';
  }
}

/** How long the hosts of the certificates count without another look, in milliseconds. */
const HOSTS_COUNT = 10_000;

/**
 * The names and addresses that the certificates are for, for who asks now; in lower case, wildcards with their star. The
 * last that could be read where they cannot be.
 */
export function certificateHosts(config: Config): () => readonly string[] {
  let hosts: readonly string[] = [];
  let until = -Infinity;
  return () => {
    if (performance.now() < until) return hosts;
    until = performance.now() + HOSTS_COUNT;
    try {
      const read = readCertificate(config);
      const shown = read === undefined ? [] : [read, ...(read.named ?? [])];
      hosts = [
        ...new Set(
          shown
            .flatMap(({ certificate }) => alternativeNames(new X509Certificate(certificate).raw))
            .filter((name) => /^(?:DNS|IP):/.test(name))
            .map((name) => name.slice(name.indexOf(':') + 1).toLowerCase()),
        ),
      ];
    } catch {
      // Whoever watches the files tells of it.
    }
    return hosts;
  };
}

/** The files whose change `readCertificate` has to be asked anew for. */
export function certificateFiles({ certificate, key, named }: TlsConfig): readonly string[] {
  const all = [certificate, key, ...named.flatMap((one) => [one.certificate, one.key])];
  return [...new Set(all)];
}

/** By the names that `registry:2` has (and Go's crypto/tls). */
const CLIENT_AUTH = {
  'request-client-cert': 'request',
  'require-any-client-cert': 'require-any',
  'verify-client-cert-if-given': 'verify-if-given',
  'require-and-verify-client-cert': 'require-and-verify',
} as const;

/** One that is half written, or of which the other half is to come, would be refused by every client. */
function readPair(where: string, files: Pick<TlsConfig, 'certificate' | 'key'>): ServerCertificate {
  const certificate = readPem(`${where}certificate`, files.certificate);
  // One file for both is replaced as one, and so it is read.
  const key = files.key === files.certificate ? certificate : readPem(`${where}key`, files.key);
  const pair = { certificate, key };
  let fits: boolean;
  try {
    fits = new X509Certificate(pair.certificate).checkPrivateKey(createPrivateKey(pair.key));
  } catch (error) {
    const message = `${where}certificate: ${files.certificate} and ${files.key} cannot be read: ${(error as Error).message}`;
    throw new StartFailure(message, { cause: error });
  }
  if (fits) return pair;
  throw new StartFailure(`${where}certificate: ${files.certificate} does not fit ${files.key}`);
}

function namesIn({ certificate }: ServerCertificate): readonly string[] {
  return alternativeNames(new X509Certificate(certificate).raw)
    .filter((name) => name.startsWith('DNS:'))
    .map((name) => name.slice(4));
}

/** The text of a PEM file, that has something of the `kind` in it. @throws StartFailure that names the setting */
export function readPem(setting: string, path: string, kind = ''): string {
  try {
    const text = readFile(path);
    if (text.includes(`-----BEGIN ${kind}`)) return text;
    throw new Error(kind === '' ? 'it is not a PEM file' : `it is not a PEM file of a ${kind}`);
  } catch (error) {
    throw new StartFailure(`${setting}: ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** A pipe without a writer would hold up the start for ever. */
function readFile(path: string): string {
  const file = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  try {
    if (!fstatSync(file).isFile()) throw new Error('it is no file');
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}
