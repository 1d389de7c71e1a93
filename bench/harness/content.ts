import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, linkSync, mkdirSync, writeFileSync } from 'node:fs';
import { mkdir, open, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** The part of the path that `registry:2` keeps everything under. */
const BASE = join('docker', 'registry', 'v2');

export const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';

/** What docker and containerd send with a manifest request, all in one header. */
export const ACCEPT = [
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.index.v1+json',
  MANIFEST_TYPE,
  '*/*',
].join(', ');

export interface Image {
  /** Digest of the manifest. */
  readonly digest: string;
  readonly layers: readonly string[];
}

/** The digest of bytes in memory. */
export function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** The digest of a file, read once. */
export async function digestOfFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1024 * 1024 }))
    hash.update(chunk as Buffer);
  return `sha256:${hash.digest('hex')}`;
}

/** Writes a file of `size` random bytes (a multiple of 1 MiB), block by block. */
export async function randomFile(file: string, size: number): Promise<void> {
  const handle = await open(file, 'w');
  try {
    const block = randomBytes(1024 * 1024);
    for (let at = 0; at < size; at += block.length) {
      block.writeUInt32LE(at / block.length, 0); // no two blocks alike, at a fraction of the cost of fresh ones
      await handle.write(block);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Gives a file another digest by changing its first 16 bytes: an upload of known content would be cut short. */
export async function restamp(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    await handle.write(randomBytes(16), 0, 16, 0);
  } finally {
    await handle.close();
  }
}

function split(digest: string): [algorithm: string, hex: string] {
  const [algorithm = '', hex = ''] = digest.split(':');
  return [algorithm, hex];
}

/** The folder of a blob, relative to the content folder: also its path on an nginx that serves that folder. */
export function blobFolder(digest: string): string {
  const [algorithm, hex] = split(digest);
  return join(BASE, 'blobs', algorithm, hex.slice(0, 2), hex);
}

/** The folder of a repository, relative to the content folder. */
export function repositoryFolder(name: string): string {
  return join(BASE, 'repositories', name);
}

function link(file: string, digest: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, digest);
}

/** Puts bytes into a content folder as a blob. */
export async function storeBlob(root: string, bytes: Uint8Array | string): Promise<string> {
  const digest = digestOf(bytes);
  const folder = join(root, blobFolder(digest));
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'data'), bytes);
  return digest;
}

/** Puts a file into a content folder as a blob, without a copy. */
export async function storeFile(root: string, file: string, digest: string): Promise<void> {
  const folder = join(root, blobFolder(digest));
  await mkdir(folder, { recursive: true });
  linkSync(file, join(folder, 'data'));
}

/** Lets a repository have a blob. */
export function linkLayer(root: string, repository: string, digest: string): void {
  link(join(root, repositoryFolder(repository), '_layers', ...split(digest), 'link'), digest);
}

/** Points tags of a repository at a manifest, whose revision is linked too. */
export function linkTags(root: string, repository: string, digest: string, tags: readonly string[]): void {
  const manifests = join(root, repositoryFolder(repository), '_manifests');
  link(join(manifests, 'revisions', ...split(digest), 'link'), digest);
  for (const tag of tags) {
    link(join(manifests, 'tags', tag, 'current', 'link'), digest);
    link(join(manifests, 'tags', tag, 'index', ...split(digest), 'link'), digest);
  }
}

/** A manifest over blobs of known sizes. */
export function manifestOf(config: string, layers: ReadonlyMap<string, number>, configSize: number): string {
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: config, size: configSize },
    layers: [...layers].map(([digest, size]) => ({
      mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
      digest,
      size,
    })),
  });
}

/** Puts an image of five small layers into a content folder, under the given tags. */
export async function storeImage(root: string, repository: string, tags: readonly string[]): Promise<Image> {
  const layers = new Map<string, number>();
  for (let layer = 0; layer < 5; layer++) layers.set(await storeBlob(root, randomBytes(20_000)), 20_000);
  const configText = JSON.stringify({
    architecture: 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: [] },
  });
  const config = await storeBlob(root, configText);
  const digest = await storeBlob(root, manifestOf(config, layers, configText.length));
  for (const blob of [config, ...layers.keys()]) linkLayer(root, repository, blob);
  linkTags(root, repository, digest, tags);
  return { digest, layers: [...layers.keys()] };
}
