/** docker-registry fills a folder; Entrepot opens it with the same file, and nobody notices. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { layeredImage } from '../harness/images.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import {
  ask,
  closing,
  digestBy,
  locationOf,
  pullManifest,
  pushBlob,
  verifyBlob,
  verifyImage,
} from '../harness/registry-client.ts';
import { createOneFolder, type OneFolder } from './one-folder.ts';
import { buildImages, fillRegistry, push } from './registry-content.ts';
import { catalogOf, type RegistrySnapshot, tagsOf, takeSnapshot } from './registry-snapshot.ts';

let folder: OneFolder;
let before: RegistrySnapshot;
/** A blob that was pushed, and is served, by its sha512 digest. */
let sha512: string;
/** Where an upload of `bytes` was when docker-registry stopped: 100 000 of them had arrived. */
let upload: { location: URL; bytes: Buffer<ArrayBuffer> };
const ARRIVED = 100_000;

beforeAll(async () => {
  folder = await createOneFolder('takes-over');
  await folder.openWithDockerRegistry();
  await fillRegistry(folder.workspace, await buildImages(folder.workspace, 'old'), folder);
  sha512 = await pushBlob(folder.url, 'old/sha512', randomBytes('sha512', 5000), 'sha512');

  const bytes = randomBytes('upload', 250_000);
  const begun = await ask(folder.url, '/v2/old/upload/blobs/uploads/', 202, { method: 'POST' });
  const patched = await ask(folder.url, locationOf(begun).href, 202, {
    method: 'PATCH',
    headers: { 'content-type': 'application/octet-stream' },
    body: bytes.subarray(0, ARRIVED),
  });
  upload = { location: locationOf(patched), bytes };
  before = await takeSnapshot(folder.url);
  await folder.openWithEntrepot();
}, 300_000);

afterAll(async () => {
  await folder.close();
}, 300_000);

test('the catalog, the tags, the headers and every byte are the same', async () => {
  expect(before.catalog.length).toBeGreaterThan(8);
  expect(await takeSnapshot(folder.url)).toEqual(before);
}, 300_000);

test.each([1, 2, 5, 100])('the catalog in pages of %d is the same', async (size) => {
  expect(await catalogOf(folder.url, size)).toEqual([...before.catalog]);
});

test('what was deleted stays deleted', async () => {
  expect(await tagsOf(folder.url, 'old/gone')).toEqual([]);
  await ask(folder.url, '/v2/old/gone/manifests/1', 404);
});

test('content is not reachable through a repository that does not have it', async () => {
  const { document } = await pullManifest(folder.url, 'old/busybox', 'latest');
  await ask(folder.url, `/v2/old/app/blobs/${document.config?.digest}`, 404);
});

test('a blob that was pushed by its sha512 digest is served by it', async () => {
  await verifyBlob(folder.url, 'old/sha512', { digest: sha512, size: 5000 });
});

test('a platform of an index, and the manifest that lost its tag, pull by digest', async () => {
  const { document } = await pullManifest(folder.url, 'old/multi', 'oci');
  for (const child of document.manifests ?? []) await verifyImage(folder.url, 'old/multi', child.digest);
  const { digest } = await pullManifest(folder.url, 'old/app', 'v1');
  await verifyImage(folder.url, 'old/app', digest);
});

test('an upload in progress goes on where it was and is completed', async () => {
  const { location, bytes } = upload;
  const status = await ask(folder.url, location.href, 204);
  expect(status.headers.get('range')).toBe(`0-${ARRIVED - 1}`);
  const half = ARRIVED + 50_000;
  const patched = await ask(folder.url, locationOf(status).href, 202, {
    method: 'PATCH',
    headers: { 'content-type': 'application/octet-stream', 'content-range': `${ARRIVED}-${half - 1}` },
    body: bytes.subarray(ARRIVED, half),
  });
  expect(patched.headers.get('range')).toBe(`0-${half - 1}`);
  const digest = digestBy('sha256', bytes);
  await ask(folder.url, closing(locationOf(patched), digest), 201, {
    method: 'PUT',
    body: bytes.subarray(half),
  });
  await verifyBlob(folder.url, 'old/upload', { digest, size: bytes.length });
});

test('images and tags are added to old and new repositories, and a tag is deleted', async () => {
  const image = await layeredImage(folder.workspace.join('added'), { seed: 'added' });
  await push(folder.workspace, image, folder, 'old/app:added');
  await push(folder.workspace, image, folder, 'new/repository:1');
  expect(await verifyImage(folder.url, 'old/app', 'added')).toContain(image.digest);
  expect(await tagsOf(folder.url, 'old/app')).toEqual(['UPPER_case.1-x', 'added', 'stable', 'v1']);

  const { digest } = await pullManifest(folder.url, 'old/app', 'v1');
  await ask(folder.url, '/v2/old/app/manifests/v1', 202, { method: 'DELETE' });
  expect(await tagsOf(folder.url, 'old/app')).toEqual(['UPPER_case.1-x', 'added', 'stable']);
  // The tag is gone, not the image that it named.
  await verifyImage(folder.url, 'old/app', digest);
  expect(await catalogOf(folder.url)).toContain('new/repository');
});
