import { busyboxImage, layeredImage, multiArchImage } from '../harness/images.ts';
import type { LayoutImage } from '../harness/oci-layout.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { ask, pushBlob, pushManifest } from '../harness/registry-client.ts';
import { run } from '../harness/tools.ts';
import type { Workspace } from '../harness/workspace.ts';

/** Where to push to. */
export interface Target {
  readonly url: string;
  readonly host: string;
}

/** Pushes an image or an index with all its images by skopeo. */
export async function push(
  workspace: Workspace,
  image: LayoutImage,
  target: Target,
  name: string,
  ...flags: string[]
): Promise<void> {
  // For root skopeo's blob cache would be in /var/lib/containers.
  const env = { _CONTAINERS_ROOTLESS_UID: '4711', XDG_DATA_HOME: await workspace.folder('xdg') };
  const copy = ['--insecure-policy', 'copy', '--all', '--dest-tls-verify=false'];
  await run('skopeo', [...copy, ...flags, image.reference, `docker://${target.host}/${name}`], { env });
}

/** The images of a registry in use. umoci writes the time into some: what is to be equal must be built once. */
export interface RegistryImages {
  readonly seed: string;
  readonly busybox: LayoutImage;
  readonly app: LayoutImage;
  readonly next: LayoutImage;
  readonly multi: LayoutImage;
  readonly gone: LayoutImage;
}

/** Builds the images for `fillRegistry`; another seed gives other images and names. */
export async function buildImages(workspace: Workspace, seed: string): Promise<RegistryImages> {
  const layouts = await workspace.folder(`layouts-${seed}`);
  return {
    seed,
    busybox: await busyboxImage(`${layouts}/busybox`),
    app: await layeredImage(`${layouts}/app`, { seed: `${seed}-app`, layers: 3 }),
    next: await layeredImage(`${layouts}/next`, { seed: `${seed}-next`, layers: 2 }),
    multi: await multiArchImage(`${layouts}/multi`, { seed }),
    gone: await layeredImage(`${layouts}/gone`, { seed: `${seed}-gone` }),
  };
}

/**
 * Fills a registry with what a registry in use has: images of both formats, indexes, several tags of one
 * image, a tag that was moved, nested and adjoining names, a deleted image. All names begin with the seed.
 */
export async function fillRegistry(
  workspace: Workspace,
  images: RegistryImages,
  target: Target,
): Promise<void> {
  const { seed, busybox, app, next, multi, gone } = images;
  await push(workspace, busybox, target, `${seed}/busybox:latest`);
  for (const tag of ['v1', 'stable', 'UPPER_case.1-x'])
    await push(workspace, app, target, `${seed}/app:${tag}`);
  await push(workspace, next, target, `${seed}/app:stable`);
  // Names that a walk can put in different orders, and one within another.
  for (const name of ['app/sub', 'app-b', 'app.c', 'app0']) {
    await push(workspace, next, target, `${seed}/${name}:1`);
  }
  await push(workspace, multi, target, `${seed}/multi:oci`);
  await push(workspace, multi, target, `${seed}/multi:docker`, '--format', 'v2s2');
  await push(workspace, app, target, `${seed}/docker:1`, '--format', 'v2s2');
  await push(workspace, gone, target, `${seed}/gone:1`);
  await ask(target.url, `/v2/${seed}/gone/manifests/${gone.digest}`, 202, { method: 'DELETE' });
}

/** An empty config, as artifacts have it. */
const EMPTY = Buffer.from('{}');

/** What an artifact is about. */
export interface Subject {
  readonly digest: string;
  readonly size: number;
  readonly mediaType: string;
}

/** The descriptor of an artifact, as it stands in a list of referrers. */
export interface Referrer {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly artifactType: string;
  readonly annotations: Readonly<Record<string, string>>;
}

/** Pushes an artifact about `subject` by its digest. No tag leads to it. */
export async function pushArtifact(
  url: string,
  repository: string,
  subject: Subject,
  artifactType: string,
): Promise<Referrer> {
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const annotations = { 'org.example.kind': artifactType };
  const content = randomBytes(artifactType, 200);
  const layer = { mediaType: 'application/octet-stream', size: content.length };
  const config = { mediaType: 'application/vnd.oci.empty.v1+json', size: EMPTY.length };
  const { digest, size } = await pushManifest(url, repository, undefined, {
    schemaVersion: 2,
    mediaType,
    artifactType,
    config: { ...config, digest: await pushBlob(url, repository, EMPTY) },
    layers: [{ ...layer, digest: await pushBlob(url, repository, content) }],
    subject: { mediaType: subject.mediaType, digest: subject.digest, size: subject.size },
    annotations,
  });
  return { mediaType, digest, size, artifactType, annotations };
}

/**
 * Pushes an artifact as a client does where there is no referrers API: its descriptor is added to the index at
 * the tag `sha256-<hex>` (distribution-spec, "Referrers Tag Schema").
 */
export async function pushReferrerByTag(
  url: string,
  repository: string,
  subject: Subject,
  artifactType: string,
): Promise<Referrer> {
  const referrer = await pushArtifact(url, repository, subject, artifactType);
  const tag = subject.digest.replace(':', '-');
  const mediaType = 'application/vnd.oci.image.index.v1+json';
  const index = await ask(url, `/v2/${repository}/manifests/${tag}`, [200, 404], {
    headers: { accept: mediaType },
  });
  const before: { manifests?: readonly unknown[] } = JSON.parse(await index.text());
  const manifests = [...(before.manifests ?? []), referrer];
  await pushManifest(url, repository, tag, { schemaVersion: 2, mediaType, manifests });
  return referrer;
}
