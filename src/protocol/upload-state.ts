/**
 * The `_state` of upload locations, in `registry:2`'s form, so that servers that share `http.secret` can go on
 * with each other's uploads: base64url of an HMAC-SHA256 followed by the JSON that it signs.
 *
 * Without a secret there is no `_state`: `registry:2` then makes one up at each start, and nothing that it
 * signed could be checked. A session is in any case bound to its repository and found only by its UUID.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { UploadStatus } from '../oci/registry.ts';

const SIGNATURE_BYTES = 32;
const MAX_LENGTH = 2048;

export class UploadState {
  readonly #secret: string;

  constructor(secret: string) {
    this.#secret = secret;
  }

  sign(name: RepositoryName, { id, offset, startedAt }: UploadStatus): string {
    const payload = Buffer.from(
      JSON.stringify({ Name: name, UUID: id, Offset: offset, StartedAt: new Date(startedAt).toISOString() }),
    );
    const state = Buffer.concat([this.#signature(payload), payload]).toString('base64url');
    return state.padEnd(Math.ceil(state.length / 4) * 4, '='); // Go's decoder asks for the padding
  }

  /** @throws RegistryError `BLOB_UPLOAD_INVALID` unless the state was signed for this very upload */
  check(name: RepositoryName, id: string, state: string | undefined): void {
    if (state === undefined || state.length > MAX_LENGTH || !this.#verifies(name, id, state)) {
      throw new RegistryError(
        'BLOB_UPLOAD_INVALID',
        'the upload location is not one that this registry gave',
      );
    }
  }

  #verifies(name: RepositoryName, id: string, state: string): boolean {
    const bytes = Buffer.from(state, 'base64url');
    const payload = bytes.subarray(SIGNATURE_BYTES);
    const given = bytes.subarray(0, SIGNATURE_BYTES);
    if (given.length !== SIGNATURE_BYTES || !timingSafeEqual(given, this.#signature(payload))) return false;
    const signed: unknown = JSON.parse(payload.toString());
    if (typeof signed !== 'object' || signed === null) return false;
    const { Name, UUID } = signed as { Name?: unknown; UUID?: unknown };
    return Name === name && UUID === id;
  }

  #signature(payload: Uint8Array): Buffer {
    return createHmac('sha256', this.#secret).update(payload).digest();
  }
}
