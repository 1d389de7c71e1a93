/** How an upstream asks for a token (distribution, docs/spec/auth/token.md). */
import { getDomain } from 'tldts';

const SUFFIXES = { allowPrivateDomains: true, validateHostname: true };

export interface BearerRequest {
  readonly realm: URL;
  readonly service: string | undefined;
}

const PARAMETER = /([A-Za-z_]+)=(?:"([^"]*)"|([^\s,"]+))/g;

/** What a `WWW-Authenticate` header asks for; undefined when it is no bearer challenge with a usable realm. */
export function parseBearerChallenge(header: string | null): BearerRequest | undefined {
  if (header === null || !/^bearer\s/i.test(header)) return undefined;
  const parameters = new Map<string, string>();
  for (const [, name = '', quoted, plain] of header.matchAll(PARAMETER)) {
    parameters.set(name.toLowerCase(), quoted ?? plain ?? '');
  }
  const realm = parameters.get('realm');
  if (realm === undefined || !URL.canParse(realm)) return undefined;
  return { realm: new URL(realm), service: parameters.get('service') };
}

/**
 * Whether a token service may be sent the credentials of a registry, or asked at all: it must not be reached less safely
 * than the registry, and be of the same host or the same registrable domain (CVE-2026-33540: any realm was followed).
 */
export function isTrustedRealm(realm: URL, registry: URL): boolean {
  if (realm.username !== '' || realm.password !== '') return false;
  if (realm.protocol !== 'https:' && realm.protocol !== registry.protocol) return false;
  // Also on another port: the token service of a small registry is often its neighbour.
  if (realm.hostname === registry.hostname) return true;
  if (isAddress(realm.hostname) || isAddress(registry.hostname)) return false;
  // By the list of public suffixes: two tenants of a cloud are not one domain.
  const domain = getDomain(realm.hostname, SUFFIXES);
  return domain !== null && domain === getDomain(registry.hostname, SUFFIXES);
}

function isAddress(hostname: string): boolean {
  return hostname.startsWith('[') || /^[\d.]+$/.test(hostname);
}
