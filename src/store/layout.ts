/**
 * Every key of the local store. The layout is `registry:2`'s (distribution, registry/storage/paths.go), so that
 * either server can open the other's data; `*` marks what only Entrepot writes. Names of ours begin with `_`,
 * which no repository component can, lie where `registry:2` does not look, and can all be derived anew.
 *
 *     docker/registry/v2/
 *       _entrepot/tmp/                                   * files that are being written
 *       _entrepot/trash/                                 * bytes that nobody links to, for a while (trash.ts)
 *       _entrepot/gc/                                    * how far the collector came, and who collects (upkeep/collect.ts)
 *       _entrepot/users/<owner>                          * a server, or a job of a command, that uses the storage (storage-users.ts)
 *       _entrepot/alone                                  * the owner, while a job has the storage to itself (storage-users.ts)
 *       _entrepot/read-only                              * JSON: that changes are refused, and why (notes.ts)
 *       _entrepot/jobs/<job>                             * JSON: the last run of a piece of upkeep (notes.ts)
 *       _entrepot/jobs/<job>.last, <job>.done            * JSON: how the last run, and the last that did all, ended
 *       _entrepot/quarantine/<alg>-<hex>[.n]             * bytes that are not what their digest says (quarantine.ts)
 *       _entrepot/scrub/                                 * how far the scrub came, and its lease (upkeep/scrub-state.ts)
 *       _entrepot/pulls/                                 * when what was last pulled, if that matters (pull-notes.ts)
 *       _entrepot/cache/                                 * what the cache of other registries remembers (proxy/cache-state.ts)
 *       _entrepot/usage/<account>/                       * what quotas count (usage-ledger.ts)
 *       blobs/<alg>/<xx>/<hex>/data                        the bytes of a blob or manifest; xx = first two of hex
 *       repositories/<name>/
 *         _layers/<alg>/<hex>/link                         digest of a blob that the repository may serve
 *         _layers/_repository                            * empty: makes `registry:2` list a repository without blobs
 *         _manifests/revisions/<alg>/<hex>/link            the same for a manifest
 *         _manifests/tags/<tag>/current/link               the digest that the tag points at
 *         _manifests/tags/<tag>/index/<alg>/<hex>/link     each digest that it ever pointed at
 *         _referrers/<alg>/<hex>/<alg>-<hex>             * of a subject: descriptor (JSON) of one referrer
 *         _locks/<tag>                                   * the owner, while the tag is changed (locks.ts)
 *         _trash/<layers|revisions>/<alg>-<hex>          * a link that is on its way out (links.ts)
 *         _uploads/<uuid>/data                             the bytes so far, while nobody writes them
 *         _uploads/<uuid>/_data.<owner>                  * the same file while the owner writes it (claims.ts)
 *         _uploads/<uuid>/startedat                        RFC 3339
 *         _uploads/<uuid>/_checkpoint                    * JSON: an offset and the digests of the bytes before it
 *         _uploads/<uuid>/hashstates/<alg>/<offset>        of `registry:2`; not readable by us, removed with the rest
 *
 * A `link` holds `<alg>:<hex>` and no line end. It may name another digest than its path: `registry:2` keeps
 * a blob that was pushed by sha512 under its sha256.
 */
import { algorithmOf, type Digest, hexOf } from '../oci/digest.ts';
import type { RepositoryName, Tag } from '../oci/name.ts';

const ROOT = 'docker/registry/v2';

/**
 * The driver's own folder, for files that are being written. It lies with the rest, so that it is in one file system
 * with them also where `docker` is mounted from elsewhere.
 */
export const DRIVER_FOLDER = `${ROOT}/_entrepot`;

/** What the collector remembers between two runs, and who collects (upkeep/collect.ts). */
export const COLLECTOR = `${DRIVER_FOLDER}/gc/`;
export const USERS = `${DRIVER_FOLDER}/users/`;

export const ALONE_KEY = `${DRIVER_FOLDER}/alone`;

export const READ_ONLY_KEY = `${DRIVER_FOLDER}/read-only`;

export function jobNoteKey(job: string): string {
  return `${DRIVER_FOLDER}/jobs/${job}`;
}

export function lastRunKey(job: string, which: 'last' | 'done'): string {
  return `${jobNoteKey(job)}.${which}`;
}

export const TRASH = `${DRIVER_FOLDER}/trash/`;

export function trashKey(digest: Digest): string {
  return `${TRASH}${algorithmOf(digest)}-${hexOf(digest)}`;
}

/** What is counted for quotas; below it usage-ledger.ts says what there is. */
export const USAGE = `${DRIVER_FOLDER}/usage/`;

export const QUARANTINE = `${DRIVER_FOLDER}/quarantine/`;

/** @param number tells further copies of the same digest apart */
export function quarantineKey(digest: Digest, number = 0): string {
  return `${QUARANTINE}${algorithmOf(digest)}-${hexOf(digest)}${number === 0 ? '' : `.${number}`}`;
}

/** Where the driver keeps what is being written, if it writes files. */
export const TEMPORARY = `${DRIVER_FOLDER}/tmp/`;

export const SCRUB = `${DRIVER_FOLDER}/scrub/`;

export const PULLS = `${DRIVER_FOLDER}/pulls/`;

/** Of the notes of a repository's pulls. */
export function pullNotesPrefix(name: RepositoryName): string {
  return `${PULLS}${name}/_manifests/`;
}

export function pullNoteKey(name: RepositoryName, digest: Digest): string {
  return `${pullNotesPrefix(name)}${algorithmOf(digest)}-${hexOf(digest)}`;
}

/** All that is stored; see the tree above. */
export const EVERYTHING = `${ROOT}/`;

export const BLOBS = `${ROOT}/blobs/`;

export const REPOSITORIES = `${ROOT}/repositories/`;

function path(digest: Digest): string {
  return `${algorithmOf(digest)}/${hexOf(digest)}`;
}

export function blobKey(digest: Digest): string {
  const hex = hexOf(digest);
  return `${BLOBS}${algorithmOf(digest)}/${hex.slice(0, 2)}/${hex}/data`;
}

/** Prefix of all that belongs to a repository, and of the repositories below it. */
export function repositoryPrefix(name: RepositoryName): string {
  return `${REPOSITORIES}${name}/`;
}

export function layersPrefix(name: RepositoryName): string {
  return `${REPOSITORIES}${name}/_layers/`;
}

export function layerLinkKey(name: RepositoryName, digest: Digest): string {
  return `${REPOSITORIES}${name}/_layers/${path(digest)}/link`;
}

export function repositoryMarkKey(name: RepositoryName): string {
  return `${REPOSITORIES}${name}/_layers/_repository`;
}

export function revisionsPrefix(name: RepositoryName): string {
  return `${REPOSITORIES}${name}/_manifests/revisions/`;
}

export function revisionLinkKey(name: RepositoryName, digest: Digest): string {
  return `${REPOSITORIES}${name}/_manifests/revisions/${path(digest)}/link`;
}

/** What a repository links to: blobs, and manifests. */
export type LinkKind = 'layers' | 'revisions';

export function linkKey(name: RepositoryName, kind: LinkKind, digest: Digest): string {
  return kind === 'layers' ? layerLinkKey(name, digest) : revisionLinkKey(name, digest);
}

export function linksPrefix(name: RepositoryName, kind: LinkKind): string {
  return kind === 'layers' ? layersPrefix(name) : revisionsPrefix(name);
}

export function trashedLinksPrefix(name: RepositoryName, kind: LinkKind): string {
  return `${REPOSITORIES}${name}/_trash/${kind}/`;
}

export function trashedLinkKey(name: RepositoryName, kind: LinkKind, digest: Digest): string {
  return `${trashedLinksPrefix(name, kind)}${algorithmOf(digest)}-${hexOf(digest)}`;
}

/** Where the deletion that has this owner (owner.ts) keeps a link that it took out of the trash. */
export function takenLinkKey(name: RepositoryName, kind: LinkKind, digest: Digest, owner: string): string {
  return `${trashedLinkKey(name, kind, digest)}~${owner}`;
}

export function tagsPrefix(name: RepositoryName): string {
  return `${REPOSITORIES}${name}/_manifests/tags/`;
}

export function tagPrefix(name: RepositoryName, tag: Tag): string {
  return `${REPOSITORIES}${name}/_manifests/tags/${tag}/`;
}

export function tagCurrentKey(name: RepositoryName, tag: Tag): string {
  return `${REPOSITORIES}${name}/_manifests/tags/${tag}/current/link`;
}

export function tagIndexKey(name: RepositoryName, tag: Tag, digest: Digest): string {
  return `${REPOSITORIES}${name}/_manifests/tags/${tag}/index/${path(digest)}/link`;
}

/** The folder of a repository's locks. */
export function locksPrefix(name: RepositoryName): string {
  return `${REPOSITORIES}${name}/_locks/`;
}

export function tagLockKey(name: RepositoryName, tag: Tag): string {
  return `${REPOSITORIES}${name}/_locks/${tag}`;
}

export function referrersFolder(name: RepositoryName): string {
  return `${REPOSITORIES}${name}/_referrers/`;
}

export function referrersPrefix(name: RepositoryName, subject: Digest): string {
  return `${REPOSITORIES}${name}/_referrers/${path(subject)}/`;
}

/** The last component of a referrer's key; its order is that of the digests. */
export function referrerEntry(referrer: Digest): string {
  return `${algorithmOf(referrer)}-${hexOf(referrer)}`;
}

export function referrerKey(name: RepositoryName, subject: Digest, referrer: Digest): string {
  return referrersPrefix(name, subject) + referrerEntry(referrer);
}

export function uploadsPrefix(name: RepositoryName): string {
  return `${REPOSITORIES}${name}/_uploads/`;
}

export function uploadPrefix(name: RepositoryName, id: string): string {
  return `${REPOSITORIES}${name}/_uploads/${id}/`;
}
