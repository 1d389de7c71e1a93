import type { Digest } from '../oci/digest.ts';
import type { StoredManifest } from '../oci/registry.ts';

/** Bytes of manifests kept in a process. */
const MAX_BYTES = 8 * 1024 * 1024;
/** Larger manifests are not kept: a few of them would push out thousands. */
const MAX_EACH = 256 * 1024;
/** What an entry costs beside its bytes. */
const OVERHEAD = 512;

/**
 * The most recently used manifests by digest. They cannot change, so nothing is ever invalidated; whether a
 * repository still links to one is asked of the storage each time.
 */
export class ManifestCache {
  readonly #entries = new Map<Digest, StoredManifest>();
  #bytes = 0;

  get(digest: Digest): StoredManifest | undefined {
    const found = this.#entries.get(digest);
    if (found === undefined) return undefined;
    this.#entries.delete(digest);
    this.#entries.set(digest, found);
    return found;
  }

  set(manifest: StoredManifest): void {
    if (manifest.size > MAX_EACH || this.#entries.has(manifest.digest)) return;
    this.#entries.set(manifest.digest, manifest);
    this.#bytes += manifest.size + OVERHEAD;
    for (const [digest, oldest] of this.#entries) {
      if (this.#bytes <= MAX_BYTES) break;
      this.#entries.delete(digest);
      this.#bytes -= oldest.size + OVERHEAD;
    }
  }
}
