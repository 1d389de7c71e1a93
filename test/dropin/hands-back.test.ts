/** Entrepot has used a folder; docker-registry opens it again, serves all of it, and its collector spares all of it. */
import { afterEach, beforeEach, expect, test } from 'bun:test';
import { busyboxImage, layeredImage, multiArchImage } from '../harness/images.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import {
  ask,
  digestBy,
  pullManifest,
  pushBlob,
  pushManifest,
  verifyBlob,
  verifyImage,
} from '../harness/registry-client.ts';
import { createOneFolder, type OneFolder } from './one-folder.ts';
import { buildImages, fillRegistry, push } from './registry-content.ts';
import { tagsOf, takeSnapshot } from './registry-snapshot.ts';

let folder: OneFolder;

beforeEach(async () => {
  folder = await createOneFolder('hands-back');
});

afterEach(async () => {
  await folder.close();
}, 300_000);

/** Tags of the repository that were deleted before the folder is handed back. */
async function deleteTag(repository: string, tag: string): Promise<void> {
  await ask(folder.url, `/v2/${repository}/manifests/${tag}`, 202, { method: 'DELETE' });
}

test('what both have written is served and survives the collector', async () => {
  await folder.openWithDockerRegistry();
  await fillRegistry(folder.workspace, await buildImages(folder.workspace, 'old'), folder);
  await folder.openWithEntrepot();
  await fillRegistry(folder.workspace, await buildImages(folder.workspace, 'new'), folder);
  const image = await layeredImage(folder.workspace.join('extra'), { seed: 'extra' });
  await push(folder.workspace, image, folder, 'old/app:extra');
  await deleteTag('old/app', 'v1');
  await deleteTag('new/app', 'v1');
  const ours = await takeSnapshot(folder.url);
  expect(ours.tags['old/app']).toEqual(['UPPER_case.1-x', 'extra', 'stable']);
  expect(ours.tags['new/app']).toEqual(['UPPER_case.1-x', 'stable']);

  await folder.openWithDockerRegistry();
  expect(await takeSnapshot(folder.url)).toEqual(ours);

  await folder.collectGarbage();
  await folder.openWithDockerRegistry();
  expect(await takeSnapshot(folder.url)).toEqual(ours);
  await folder.openWithEntrepot();
  expect(await takeSnapshot(folder.url)).toEqual(ours);
}, 300_000);

test('its collector of untagged manifests keeps what is tagged and takes the rest', async () => {
  await folder.openWithEntrepot();
  const kept = await busyboxImage(folder.workspace.join('kept'));
  const moved = await layeredImage(folder.workspace.join('moved'), { seed: 'moved' });
  const untagged = await layeredImage(folder.workspace.join('untagged'), { seed: 'untagged' });
  await push(folder.workspace, kept, folder, 'image/one:kept');
  await push(folder.workspace, untagged, folder, 'image/one:moved');
  await push(folder.workspace, moved, folder, 'image/one:moved');
  await push(folder.workspace, untagged, folder, 'image/two:gone');
  await push(folder.workspace, kept, folder, 'image/two:kept');
  await deleteTag('image/two', 'gone');
  const before = await takeSnapshot(folder.url);

  const { stdout } = await folder.collectGarbage({ deleteUntagged: true });
  expect(stdout).toContain(`manifest eligible for deletion: ${untagged.digest}`);
  await folder.openWithDockerRegistry();
  expect(await takeSnapshot(folder.url)).toEqual(before);
  await folder.openWithEntrepot();
  expect(await takeSnapshot(folder.url)).toEqual(before);
  for (const repository of ['image/one', 'image/two']) {
    await ask(folder.url, `/v2/${repository}/manifests/${untagged.digest}`, 404);
  }
  // The collector took the bytes and left the link: that is no blob any more, and pushing it again is no trouble.
  const layer = untagged.children[1]?.digest ?? '';
  await ask(folder.url, `/v2/image/one/blobs/${layer}`, 404, { method: 'HEAD' });
  await push(folder.workspace, untagged, folder, 'image/one:again');
  await verifyImage(folder.url, 'image/one', 'again');
}, 300_000);

test('images that Entrepot has deleted are gone, and their blobs are collected', async () => {
  await folder.openWithEntrepot();
  const kept = await layeredImage(folder.workspace.join('kept'), { seed: 'kept' });
  const gone = await layeredImage(folder.workspace.join('gone'), { seed: 'gone' });
  await push(folder.workspace, kept, folder, 'app:kept');
  await push(folder.workspace, gone, folder, 'app:a');
  await push(folder.workspace, gone, folder, 'app:b');
  await ask(folder.url, `/v2/app/manifests/${gone.digest}`, 202, { method: 'DELETE' });
  const { stdout } = await folder.collectGarbage();
  for (const blob of gone.children) expect(stdout).toContain(`blob eligible for deletion: ${blob.digest}`);
  await folder.openWithDockerRegistry();
  expect(await tagsOf(folder.url, 'app')).toEqual(['kept']);
  await ask(folder.url, `/v2/app/manifests/${gone.digest}`, 404);
  expect(await verifyImage(folder.url, 'app', 'kept')).toContain(kept.digest);
}, 300_000);

test('artifacts, indexes and sha512 content that Entrepot took are no stumbling block', async () => {
  await folder.openWithEntrepot();
  const multi = await multiArchImage(folder.workspace.join('multi'));
  await push(folder.workspace, multi, folder, 'art/multi:1');
  const config = Buffer.from('{}');
  const sha512 = await pushBlob(folder.url, 'art/multi', randomBytes('sha512', 4000), 'sha512');
  const artifact = await pushManifest(folder.url, 'art/multi', undefined, {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    artifactType: 'application/vnd.example.signature',
    config: {
      mediaType: 'application/vnd.oci.empty.v1+json',
      digest: await pushBlob(folder.url, 'art/multi', config),
      size: config.length,
    },
    layers: [],
    subject: { mediaType: multi.mediaType, digest: multi.digest, size: multi.bytes.length },
  });
  // An upload that nobody finishes must not stop the collector either.
  const begun = await ask(folder.url, '/v2/art/unfinished/blobs/uploads/', 202, { method: 'POST' });
  expect(begun.headers.get('location')).not.toBeNull();
  const before = await takeSnapshot(folder.url);
  await folder.openWithDockerRegistry();
  await verifyBlob(folder.url, 'art/multi', { digest: sha512, size: 4000 });

  const { stdout } = await folder.collectGarbage();
  expect(stdout).not.toContain(`blob eligible for deletion: ${artifact.digest}`);
  await folder.openWithDockerRegistry();
  expect(await takeSnapshot(folder.url)).toEqual(before);
  expect((await pullManifest(folder.url, 'art/multi', artifact.digest)).digest).toBe(artifact.digest);
}, 300_000);

test('a manifest that is known by its sha512 does not stop the collector', async () => {
  await folder.openWithEntrepot();
  const image = await layeredImage(folder.workspace.join('image'), { seed: 'sha512' });
  await push(folder.workspace, image, folder, 'sha512/image:1');
  const sha512 = digestBy('sha512', image.bytes);
  await ask(folder.url, `/v2/sha512/image/manifests/${sha512}?tag=long`, 201, {
    method: 'PUT',
    headers: { 'content-type': image.mediaType },
    body: Buffer.from(image.bytes),
  });
  await push(folder.workspace, image, folder, 'sha512/other:1');
  await folder.collectGarbage();
  await folder.collectGarbage({ deleteUntagged: true });
  await folder.openWithDockerRegistry();
  for (const name of ['sha512/image', 'sha512/other']) {
    expect(await verifyImage(folder.url, name, '1')).toContain(image.digest);
  }
  await folder.openWithEntrepot();
  const path = `/v2/sha512/image/manifests/long`;
  const answer = await ask(folder.url, path, 200, { method: 'HEAD' });
  expect(answer.headers.get('docker-content-digest')).toBe(sha512);
}, 300_000);
