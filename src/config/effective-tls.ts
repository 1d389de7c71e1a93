/** What `http.tls` means. */
import { join, resolve } from 'node:path';
import { parseTcpAddress } from './addresses.ts';
import { CIPHER_SUITES, readCipherSuites } from './cipher-suites.ts';
import type { NamedCertificateConfig, StorageConfig, TlsConfig } from './config.ts';
import { effectiveAcme } from './effective-acme.ts';
import { STATE_FOLDER } from './effective-auth.ts';
import { type Findings, printable } from './findings.ts';
import type { File } from './schema.ts';
import type { MapNode, Path } from './tree.ts';

type Section = NonNullable<NonNullable<NonNullable<File['http']>['tls']>>;

const PATH = ['http', 'tls'] as const;

/** TLS as the file means it; undefined for plain HTTP, which is never what half a setting leads to. */
export function effectiveTls(
  section: Section | null | undefined,
  storage: StorageConfig,
  root: MapNode,
  findings: Findings,
): TlsConfig | undefined {
  if (section === null || section === undefined) return undefined;
  const problem = (path: Path, text: string) => findings.problemAt(root, [...PATH, ...path], text);
  const warn = (name: string, text: string) => findings.warningAt(root, [...PATH, name], text);
  const acme = effectiveAcme(section, acmeFolder(storage), problem);
  const source =
    section.auto === true ? ownAuthority(section, storage, problem) : (acme ?? ownFiles(section, problem));
  if (section.auto !== true) {
    for (const name of ['names', 'constraints'] as const)
      if ((section[name] ?? []).length > 0) warn(name, 'has no effect without http.tls.auto');
  }
  const clientCas = section.clientcas ?? [];
  if (source === undefined) {
    if (clientCas.length > 0) problem(['clientcas'], 'needs http.tls.certificate and http.tls.key');
    else if (isSaid(section.clientauth))
      problem(['clientauth'], 'needs http.tls.certificate and http.tls.key, and http.tls.clientcas');
    const without = [
      ...(section.minimumtls === 'tls1.3' ? ['minimumtls'] : []),
      ...(isSaid(section.ciphersuites?.[0]) ? ['ciphersuites'] : []),
      ...(isSaid(section.plainaddr) ? ['plainaddr'] : []),
    ];
    for (const name of without) warn(name, 'has no effect without a certificate');
    return undefined;
  }
  // `registry:2` lets everybody in then, and says nothing.
  if (clientCas.length === 0 && isSaid(section.clientauth))
    problem(['clientauth'], 'needs http.tls.clientcas: whose certificates are to be trusted');
  return {
    ...source,
    named: namedCertificates(section),
    ...spoken(section, root, findings),
    clientCas: clientCas.map((path) => resolve(path)),
    clientAuth: section.clientauth ?? 'require-and-verify-client-cert',
  };
}

/** Tells a problem of a setting below `http.tls`. */
type Tell = (path: Path, text: string) => void;
/** Where the certificate comes from, and what plain HTTP says of it. */
type Source = Pick<TlsConfig, 'acme' | 'localCa' | 'plainAddr' | 'certificate' | 'key'>;

function isSaid(text: string | null | undefined): text is string {
  return text !== null && text !== undefined && text !== '';
}

function acmeFolder({ driver }: StorageConfig): string | undefined {
  return driver.kind === 'filesystem' ? join(driver.rootDirectory, STATE_FOLDER, 'acme') : undefined;
}

/** TLS by an authority of our own, which is kept beside the content. */
function ownAuthority(section: Section, { driver }: StorageConfig, problem: Tell): Source | undefined {
  for (const name of ['certificate', 'key'] as const) {
    if (isSaid(section[name])) problem([name], 'is made by http.tls.auto: leave one of them out');
  }
  if (driver.kind !== 'filesystem') {
    problem(['auto'], 'needs a folder to keep the authority in: storage.filesystem');
    return undefined;
  }
  const folder = join(driver.rootDirectory, STATE_FOLDER, 'tls');
  return {
    localCa: { folder, names: section.names ?? [], constraints: section.constraints ?? [] },
    ...plainAddrOf(section, problem),
    certificate: join(folder, 'server.crt'),
    key: join(folder, 'server.key'),
  };
}

/** TLS by files of the operator's; undefined where none is named. */
function ownFiles(section: Section, problem: Tell): Source | undefined {
  const { certificate, key } = section;
  const isOne = isSaid(certificate) || isSaid(key);
  // Without one that is named by itself the list's first one is for everybody else.
  const [first] = isOne ? [] : namedCertificates(section);
  if (!isOne && first === undefined) return undefined;
  // Never plain HTTP because half of a pair was forgotten.
  if (!isSaid(certificate) && first === undefined)
    problem(['certificate'], 'is missing, and http.tls.key needs it');
  if (!isSaid(key) && first === undefined) problem(['key'], 'is missing, and http.tls.certificate needs it');
  return {
    ...plainAddrOf(section, problem),
    certificate: first?.certificate ?? resolve(certificate ?? ''),
    key: first?.key ?? resolve(key ?? ''),
  };
}

function plainAddrOf({ plainaddr }: Section, problem: Tell): Pick<TlsConfig, 'plainAddr'> {
  if (!isSaid(plainaddr)) return {};
  const address = parseTcpAddress(plainaddr);
  if (address !== undefined) return { plainAddr: address };
  problem(['plainaddr'], `expected host:port such as ":5080", found "${printable(plainaddr)}"`);
  return {};
}

/** Certificates that are chosen by name, in the file's order. */
function namedCertificates({ certificates }: Section): readonly NamedCertificateConfig[] {
  return (certificates ?? []).map(({ certificate, key, names }) => ({
    certificate: resolve(certificate),
    key: resolve(key),
    ...(names === null || names === undefined || names.length === 0 ? {} : { names }),
  }));
}

/** Which versions of TLS and which ciphers are spoken. */
function spoken(
  { minimumtls, ciphersuites }: Section,
  root: MapNode,
  findings: Findings,
): Pick<TlsConfig, 'minimumVersion' | 'ciphers'> {
  const minimumVersion = minimumtls === 'tls1.3' ? 'tls1.3' : 'tls1.2';
  if (minimumtls === 'tls1.0' || minimumtls === 'tls1.1') {
    const text = `TLS 1.0 and 1.1 are broken (RFC 8996) and never spoken: it counts as tls1.2`;
    findings.warningAt(root, [...PATH, 'minimumtls'], text);
  }
  if (ciphersuites === null || ciphersuites === undefined || ciphersuites.length === 0)
    return { minimumVersion, ciphers: [] };
  const path = [...PATH, 'ciphersuites'];
  const choice = readCipherSuites(ciphersuites);
  for (const index of choice.unknown) {
    const found = printable(ciphersuites[index] ?? '');
    const known = CIPHER_SUITES.join(', ');
    findings.problemAt(root, [...path, index], `"${found}" is no cipher suite; there are ${known}`);
  }
  if (minimumVersion === 'tls1.3') {
    findings.warningAt(root, path, 'has no effect: the suites of TLS 1.3 are not chosen');
    return { minimumVersion, ciphers: [] };
  }
  if (choice.leftOut.length > 0)
    findings.warningAt(root, path, `${choice.leftOut.join(', ')}: never spoken, and left out`);
  if (choice.ciphers.length > 0 || choice.unknown.length > 0)
    return { minimumVersion, ciphers: choice.ciphers };
  if (!choice.hasTls13) findings.problemAt(root, path, 'leaves nothing that could be spoken');
  // A list without a suite of TLS 1.2 leaves TLS 1.3 alone.
  return { minimumVersion: 'tls1.3', ciphers: [] };
}
