import { createHash } from 'node:crypto';
import { type Algorithm, type Digest, digestOf } from '../../src/oci/digest.ts';
import type { Content, Repository } from '../../src/oci/registry.ts';
import { streamOf } from '../drivers/subject.ts';
import { tagOf } from './subject.ts';

export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';

/** A digest that nothing has. */
export const ABSENT = `sha256:${'0'.repeat(64)}` as Digest;

export function digestBy(algorithm: Algorithm, content: Uint8Array): Digest {
  return digestOf(algorithm, createHash(algorithm).update(content).digest('hex'));
}

export function sha256(content: Uint8Array | string): Digest {
  return digestBy('sha256', typeof content === 'string' ? Buffer.from(content) : content);
}

/** The bytes as a body that comes in two pieces. */
export function bodyOf(content: Uint8Array): ReadableStream<Uint8Array> {
  const half = content.length >> 1;
  return streamOf([content.subarray(0, half), content.subarray(half)].filter((piece) => piece.length > 0));
}

/** Pushes a blob in one go. */
export async function pushBlob(
  { uploads }: Pick<Repository, 'uploads'>,
  content: Uint8Array | string,
  algorithm: Algorithm = 'sha256',
): Promise<Content> {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  const { id } = await uploads.start();
  return uploads.finish(id, digestBy(algorithm, bytes), { body: bodyOf(bytes), size: bytes.length });
}

interface ImageParts {
  readonly config?: string;
  readonly layers?: readonly string[];
  readonly subject?: { readonly digest: string; readonly size: number };
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** An image manifest whose config and layers are the given texts. */
export function imageBytes({ config = '{}', layers = [], ...more }: ImageParts = {}): Buffer {
  const described = (mediaType: string, text: string) => ({
    mediaType,
    digest: sha256(text),
    size: Buffer.byteLength(text),
  });
  const { subject, ...rest } = more;
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      ...rest,
      config: described('application/vnd.oci.image.config.v1+json', config),
      layers: layers.map((layer) => described('application/vnd.oci.image.layer.v1.tar', layer)),
      ...(subject === undefined ? {} : { subject: { mediaType: OCI_MANIFEST, ...subject } }),
    }),
  );
}

/** An index over manifests given by their bytes. */
export function indexBytes(manifests: readonly Uint8Array[]): Buffer {
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI_INDEX,
      manifests: manifests.map((one) => ({ mediaType: OCI_MANIFEST, digest: sha256(one), size: one.length })),
    }),
  );
}

/** Pushes an image with its blobs, and returns its manifest's digest and bytes. */
export async function pushImage(
  repository: Repository,
  tags: readonly string[],
  parts: ImageParts = {},
): Promise<{ digest: Digest; bytes: Buffer; size: number }> {
  for (const text of new Set([parts.config ?? '{}', ...(parts.layers ?? [])]))
    await pushBlob(repository, text);
  const bytes = imageBytes(parts);
  const { content } = await repository.manifests.put({
    bytes,
    mediaType: OCI_MANIFEST,
    tags: tags.map(tagOf),
  });
  return { digest: content.digest, bytes, size: bytes.length };
}
