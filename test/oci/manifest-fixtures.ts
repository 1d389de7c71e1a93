/** Documents for the manifest tests: plain objects, to be changed and then encoded. */
export const DIGEST = `sha256:${'a'.repeat(64)}`;

export type Document = Record<string, unknown>;

export function descriptor(changes: Document = {}): Document {
  return { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest: DIGEST, size: 7, ...changes };
}

export function image(changes: Document = {}): Document {
  return {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: descriptor({ mediaType: 'application/vnd.oci.image.config.v1+json' }),
    layers: [descriptor()],
    ...changes,
  };
}

export function index(changes: Document = {}): Document {
  return {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [descriptor({ mediaType: 'application/vnd.oci.image.manifest.v1+json' })],
    ...changes,
  };
}

export function encode(document: unknown): Uint8Array {
  return new TextEncoder().encode(typeof document === 'string' ? document : JSON.stringify(document));
}
