import type { Action, Actor, Requester } from '../auth/access.ts';
import type { AuditRecord } from '../log.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { Registry } from '../oci/registry.ts';
import type { Query } from './query.ts';
import type { UploadState } from './upload-state.ts';
import type { WriteGate } from './write-gate.ts';

/** What the protocol can be set to. */
export interface ProtocolSettings {
  /** Put before every path: `''`, or such as `/registry` (`registry:2`'s `http.prefix`, which ends with `/v2/…`). */
  readonly prefix: string;
  /** Scheme and host of absolute Locations, e.g. `https://registry.example`; undefined for relative ones. */
  readonly publicUrl: string | undefined;
  /** Sent with every answer. */
  readonly headers: Readonly<Record<string, string>>;
  /** Names under which clients know this registry: what `?ns=` says of them is no other one. */
  readonly ownNames: readonly string[];
  /** Closed in read-only mode. */
  readonly writes: WriteGate;
  readonly deleteEnabled: boolean;
  /** Most entries on a page of the catalog. */
  readonly maxCatalog: number;
  /** Most entries on a page of tags. */
  readonly maxTags: number;
  /** undefined where the certificate is not of our own making. */
  readonly rootCa?: RootCa | undefined;
  /** Signs upload locations where nodes share a secret; undefined where there is none. */
  readonly uploadState: UploadState | undefined;
}

/** The certificate of our own authority, in the forms in which machines take it. */
export interface RootCa {
  readonly pem: string;
  readonly der: Uint8Array;
  /** Apple's configuration profile. */
  readonly mobileConfig: string;
  /** SHA-256, in pairs of hexadecimal digits with colons. */
  readonly fingerprint: string;
}

/** What a handler may ask of the connection; see `server/listener.ts`. */
export interface Connection extends Requester {
  liftIdleLimit(): void;
}

/** One request on its way through a handler. */
export interface Exchange {
  readonly request: Request;
  readonly method: string;
  readonly query: Query;
  readonly actor: Actor;
  readonly registry: Registry;
  readonly settings: ProtocolSettings;
  readonly connection: Connection;
  /** Takes what is to be kept of the request, where that is more than its path tells; see `Audit`. */
  readonly note: (change: Change) => void;
}

/** A change that was made, for the audit log. */
export type Change = Pick<AuditRecord, 'event' | 'repository' | 'reference' | 'detail'>;

/** For what could not be confirmed by the registry that it is a copy of (RFC 7234 §5.5.1). */
export const STALE = { Warning: '110 - "Response is Stale"' } as const;

/** A URL of ours for a Location header: relative unless the registry was told its own address. */
export function location({ settings }: Exchange, path: string): string {
  return `${settings.publicUrl ?? ''}${settings.prefix}${path}`;
}

/** The one gate of everything that changes the registry. @throws RegistryError `UNSUPPORTED` */
export function checkWritable({ settings }: Exchange): void {
  settings.writes.check();
}

/** The one gate of tag, manifest and blob deletion (CVE-2026-41888). @throws RegistryError `UNSUPPORTED` */
export function checkDeletable(exchange: Exchange): void {
  checkWritable(exchange);
  if (!exchange.settings.deleteEnabled) {
    throw new RegistryError('UNSUPPORTED', 'deletion is disabled in this registry (storage.delete.enabled)');
  }
}

/** Refuses a body in a content coding: digests are of the bytes as they are stored. @throws RegistryError 415 */
export function checkContentEncoding({ request }: Exchange): void {
  const coding = request.headers.get('content-encoding');
  if (coding !== null && coding !== '' && coding.toLowerCase() !== 'identity') {
    throw new RegistryError(
      'UNSUPPORTED',
      'a Content-Encoding is not supported: send the bytes as they are',
      {
        status: 415,
      },
    );
  }
}

/**
 * The actions that a method needs on its repository. As distribution (registry/handlers/app.go) has it, except that
 * uploads are for who may push alone: also to look at one and to cancel it (CVE-2026-32589).
 */
export function actionsOf(method: string, resource: string): readonly Action[] {
  if (resource === 'upload' || resource === 'uploads') return ['push'];
  if (method === 'DELETE') return ['delete'];
  // Fetching ahead is what a pull does.
  if (resource === 'kept') return ['pull'];
  return method === 'GET' || method === 'HEAD' ? ['pull'] : ['push'];
}

export function mayPull({ actor }: Exchange): (name: RepositoryName) => Promise<boolean> {
  return (name) => actor.may('pull', name);
}

/** Which repositories a list shows. */
export function visible({ actor }: Exchange): (name: RepositoryName) => Promise<boolean> {
  return (name) => actor.sees(name);
}
