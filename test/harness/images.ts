import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { copyFile, mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import {
  addBlob,
  digestOf,
  jsonBytes,
  type LayoutDescriptor,
  type LayoutImage,
  layoutBlob,
  readLayoutImage,
  tagInLayout,
} from './oci-layout.ts';
import { keystream, randomBytes } from './random-bytes.ts';
import { tarEnd, tarHeader } from './tar.ts';
import { requireTool, run } from './tools.ts';

const TYPE = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
  gzipLayer: 'application/vnd.oci.image.layer.v1.tar+gzip',
} as const;

/** An image that runs: busybox in one gzipped layer, built by umoci in a new layout folder. */
export async function busyboxImage(layout: string, tag = 'latest'): Promise<LayoutImage> {
  const image = `${layout}:${tag}`;
  const bundle = `${layout}-bundle`;
  await run('umoci', ['init', '--layout', layout]);
  await run('umoci', ['new', '--image', image]);
  await run('umoci', ['unpack', '--rootless', '--image', image, bundle]);
  await mkdir(join(bundle, 'rootfs', 'bin'), { recursive: true });
  await copyFile(requireTool('busybox'), join(bundle, 'rootfs', 'bin', 'busybox'));
  await run('umoci', ['repack', '--image', image, bundle]);
  await run('umoci', ['config', '--image', image, '--config.cmd', '/bin/busybox', '--config.cmd', 'true']);
  return await readLayoutImage(layout, tag);
}

/**
 * An image of small gzipped layers, each with one file whose content follows from `seed` and the layer's
 * number: equal arguments give equal bytes.
 */
export async function layeredImage(
  layout: string,
  options: { tag?: string; layers?: number; layerBytes?: number; seed?: string; architecture?: string } = {},
): Promise<LayoutImage> {
  const { layers = 2, layerBytes = 2000, seed = 'seed', architecture = 'amd64' } = options;
  const descriptors: LayoutDescriptor[] = [];
  const diffIds: string[] = [];
  for (let number = 1; number <= layers; number++) {
    const content = randomBytes(`${seed}-${number}`, layerBytes);
    const tar = Buffer.concat([tarHeader(`file-${number}`, layerBytes), content, tarEnd(layerBytes)]);
    diffIds.push(digestOf(tar));
    descriptors.push(await addBlob(layout, gzipSync(tar), TYPE.gzipLayer));
  }
  return await addImage(layout, { tag: options.tag ?? 'latest', architecture, diffIds, layers: descriptors });
}

/**
 * An image with one uncompressed layer of `bytes` bytes of content that no compression makes smaller.
 * It is streamed to disk: no more than a few megabytes are in memory. Push it without compressing it again
 * (`skopeo copy --preserve-digests`).
 */
export async function bigImage(layout: string, bytes: number, tag = 'latest'): Promise<LayoutImage> {
  await mkdir(join(layout, 'blobs', 'sha256'), { recursive: true });
  const staging = join(layout, 'big-layer');
  const file = createWriteStream(staging);
  const hash = createHash('sha256');
  let size = 0;
  const write = async (piece: Uint8Array) => {
    hash.update(piece);
    size += piece.length;
    if (!file.write(piece)) await once(file, 'drain');
  };
  await write(tarHeader('big', bytes));
  const noise = keystream('big');
  const zeros = Buffer.alloc(4 * 1024 * 1024);
  for (let done = 0; done < bytes; done += zeros.length) {
    await write(noise.update(zeros.subarray(0, Math.min(zeros.length, bytes - done))));
  }
  await write(tarEnd(bytes));
  file.end();
  await once(file, 'close');
  const digest = `sha256:${hash.digest('hex')}`;
  await rename(staging, layoutBlob(layout, digest));
  const layer = { mediaType: TYPE.layer, digest, size };
  return await addImage(layout, { tag, architecture: 'amd64', diffIds: [digest], layers: [layer] });
}

/** An index over one small image for each architecture, all in the one layout. The images have no tag. */
export async function multiArchImage(
  layout: string,
  options: { tag?: string; architectures?: readonly string[]; seed?: string } = {},
): Promise<LayoutImage> {
  const { tag = 'latest', architectures = ['amd64', 'arm64', 's390x'], seed = 'seed' } = options;
  const manifests: LayoutDescriptor[] = [];
  for (const architecture of architectures) {
    const image = await layeredImage(layout, {
      seed: `${seed}-${architecture}`,
      architecture,
      tag: 'untagged',
    });
    manifests.push({
      mediaType: image.mediaType,
      digest: image.digest,
      size: image.bytes.length,
      platform: { os: 'linux', architecture },
    });
  }
  await tagInLayout(layout, 'untagged', undefined);
  const index = jsonBytes({ schemaVersion: 2, mediaType: TYPE.index, manifests });
  await tagInLayout(layout, tag, await addBlob(layout, index, TYPE.index));
  return await readLayoutImage(layout, tag);
}

async function addImage(
  layout: string,
  image: { tag: string; architecture: string; diffIds: string[]; layers: LayoutDescriptor[] },
): Promise<LayoutImage> {
  const config = jsonBytes({
    architecture: image.architecture,
    os: 'linux',
    config: {},
    rootfs: { type: 'layers', diff_ids: image.diffIds },
    history: image.layers.map(() => ({ created_by: 'test' })),
  });
  const manifest = jsonBytes({
    schemaVersion: 2,
    mediaType: TYPE.manifest,
    config: await addBlob(layout, config, TYPE.config),
    layers: image.layers,
  });
  await tagInLayout(layout, image.tag, await addBlob(layout, manifest, TYPE.manifest));
  return await readLayoutImage(layout, image.tag);
}
