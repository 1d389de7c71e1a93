/** Small content for the security tests, pushed over HTTP. */
import { readFile, readdir } from 'node:fs/promises';
import { ask, closing, digestBy, locationOf, pushBlob, pushManifest } from '../harness/registry-client.ts';

export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json';
const OCI_LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip';

export const CONFIG_BYTES = Buffer.from('{"architecture":"amd64","os":"linux"}');

/** A digest that nothing in these tests has. */
export const UNKNOWN_DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`;

export interface PushedImage {
  readonly digest: string;
  readonly config: string;
  readonly layer: string;
  readonly document: ImageDocument;
}

export interface ImageDocument {
  readonly schemaVersion: 2;
  readonly mediaType: string;
  readonly [key: string]: unknown;
}

/** A manifest of one layer. `more` is laid over it. */
export function imageOf(layer: Uint8Array, more: Record<string, unknown> = {}): ImageDocument {
  return {
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: {
      mediaType: OCI_CONFIG,
      digest: digestBy('sha256', CONFIG_BYTES),
      size: CONFIG_BYTES.length,
    },
    layers: [{ mediaType: OCI_LAYER, digest: digestBy('sha256', layer), size: layer.length }],
    ...more,
  };
}

/** Pushes an image with one layer of the given text, under a tag or (without one) by digest. */
export async function pushImage(
  url: string,
  repository: string,
  tag?: string,
  layerText = `layer of ${repository}`,
  more: Record<string, unknown> = {},
): Promise<PushedImage> {
  const layer = Buffer.from(layerText);
  const config = await pushBlob(url, repository, CONFIG_BYTES);
  const layerDigest = await pushBlob(url, repository, layer);
  const document = imageOf(layer, more);
  const { digest } = await pushManifest(url, repository, tag, document);
  return { digest, config, layer: layerDigest, document };
}

/** Begins an upload. @returns its absolute location */
export async function beginUpload(url: string, repository: string): Promise<URL> {
  return locationOf(await ask(url, `/v2/${repository}/blobs/uploads/`, 202, { method: 'POST' }));
}

/** The code of the first error in an answer's body. @throws Error when the body is not of the specified form */
export async function errorCode(answer: Response): Promise<string> {
  const text = await answer.text();
  const code = /^\{"errors":\[\{"code":"([A-Z_]+)"/.exec(text)?.[1];
  if (code === undefined) throw new Error(`${answer.status} with a body that is no error list: ${text}`);
  return code;
}

/** Resident memory in bytes of a process and all its descendants. */
export async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  let total = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
  for (const thread of await readdir(`/proc/${pid}/task`).catch(() => [])) {
    const children = await readFile(`/proc/${pid}/task/${thread}/children`, 'utf8').catch(() => '');
    for (const child of children.split(' ').filter((text) => text !== ''))
      total += await residentBytes(Number(child));
  }
  return total;
}

export { ask, closing, digestBy, locationOf, pushBlob, pushManifest };
