import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName, Tag } from '../oci/name.ts';
import type { Repository } from '../oci/registry.ts';
import type { Absences } from './absences.ts';
import type { CacheSpace } from './cache-space.ts';
import type { CacheStatistics } from './statistics.ts';
import type { TagRecords } from './tag-records.ts';
import type { Transfers } from './transfers.ts';
import type { UpstreamContent } from './upstream-content.ts';

/** What all cached repositories share. */
export interface CacheTools {
  readonly records: TagRecords;
  readonly space: CacheSpace;
  readonly transfers: Transfers;
  readonly absences: Absences;
  readonly statistics: CacheStatistics;
  /** Questions to upstreams that run, by what they are about: those who ask the same at the same moment share one. */
  readonly running: Map<string, Promise<unknown>>;
  /** Whether nothing may be written: then only what is kept is served. */
  readonly readOnly: () => boolean;
  readonly now: () => number;
  /** Told when what is kept is served although the upstream does not confirm it. */
  readonly onStale: (name: RepositoryName, reason: string) => void;
}

/** A repository of an upstream, and where its content is kept. */
export interface CachedPlace {
  /** By a registry that checks no references, as they may come later. */
  readonly local: Repository;
  readonly upstream: UpstreamContent;
  /** How long a tag is good without asking for it again, in milliseconds. */
  readonly tagTtlMs: (tag: Tag) => number;
  readonly tools: CacheTools;
}

/** Runs a question once for all who ask it while it runs. */
export function shared<T>({ tools }: CachedPlace, key: string, ask: () => Promise<T>): Promise<T> {
  const { running } = tools;
  const present = running.get(key) as Promise<T> | undefined;
  if (present !== undefined) return present;
  const started = ask().finally(() => running.delete(key));
  running.set(key, started);
  return started;
}

export function unknownManifest(reference: string): RegistryError {
  return new RegistryError('MANIFEST_UNKNOWN', 'the manifest is not known to the upstream', {
    detail: { reference },
  });
}

/** Before anything is fetched. @throws RegistryError in read-only mode */
export function checkFetchable({ readOnly }: CacheTools): void {
  if (!readOnly()) return;
  const told = 'the registry is in read-only mode: only what is kept of other registries is served';
  throw new RegistryError('UNSUPPORTED', told, { status: 503 });
}

/** For every change but those of the cache itself. */
export function notPushable(name: RepositoryName): RegistryError {
  const told =
    'this name is a cache of another registry: it cannot be pushed to, and nothing of it can be deleted but by /_cache';
  return new RegistryError('DENIED', told, { detail: { name } });
}
