import { digestOf } from './check.ts';
import type { Context } from './context.ts';
import { blobOf, newBlob, pushBlob } from './push.ts';
import type { Blob } from './push.ts';
import { TYPE } from './vocabulary.ts';

/** A small manifest whose blobs are pushed, and what it is made of. */
export interface SmallManifest {
  readonly bytes: Uint8Array;
  readonly digest: string;
  readonly config: Blob;
  readonly layers: readonly Blob[];
  /** The manifest's fields, for variations. */
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Pushes a configuration and layers to a repository, and describes an image of them; that is not pushed. */
export async function manifestOf(
  context: Context,
  repository: string,
  options: { layers?: number; more?: Readonly<Record<string, unknown>> } = {},
): Promise<SmallManifest> {
  const config = blobOf(JSON.stringify({ architecture: 'amd64', os: 'linux', nonce: newBlob(16).digest }));
  const layers = Array.from({ length: options.layers ?? 1 }, () => newBlob(256));
  for (const blob of [config, ...layers]) await pushBlob(context, repository, blob);
  const fields = {
    schemaVersion: 2,
    mediaType: TYPE.image,
    config: descriptor(config, TYPE.config),
    layers: layers.map((layer) => descriptor(layer, TYPE.layerGzip)),
    ...options.more,
  };
  const bytes = Buffer.from(JSON.stringify(fields));
  return { bytes, digest: digestOf(bytes), config, layers, fields };
}

/** A blob's or manifest's descriptor. */
export function descriptor(
  content: Pick<Blob, 'bytes' | 'digest'>,
  mediaType: string,
): { mediaType: string; digest: string; size: number } {
  return { mediaType, digest: content.digest, size: content.bytes.length };
}

/** Pushes the empty configuration of image-spec and returns its descriptor. */
export async function pushEmptyConfig(
  context: Context,
  repository: string,
): Promise<{ mediaType: string; digest: string; size: number }> {
  const empty = blobOf('{}');
  await pushBlob(context, repository, empty);
  return descriptor(empty, TYPE.empty);
}
