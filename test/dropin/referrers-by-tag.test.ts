/** Artifacts that clients attached while there was no referrers API appear in it. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { layeredImage } from '../harness/images.ts';
import type { LayoutImage } from '../harness/oci-layout.ts';
import { ask, jsonOf } from '../harness/registry-client.ts';
import { createOneFolder, type OneFolder } from './one-folder.ts';
import { push, pushArtifact, pushReferrerByTag, type Referrer } from './registry-content.ts';

let folder: OneFolder;
let image: LayoutImage;

beforeAll(async () => {
  folder = await createOneFolder('referrers');
  image = await layeredImage(folder.workspace.join('image'));
}, 300_000);

afterAll(async () => {
  await folder.close();
}, 300_000);

async function referrers(query = ''): Promise<Referrer[]> {
  const answer = await ask(folder.url, `/v2/art/image/referrers/${image.digest}${query}`, 200);
  expect(answer.headers.get('content-type')).toBe('application/vnd.oci.image.index.v1+json');
  return inOrder((await jsonOf<{ manifests: Referrer[] }>(answer)).manifests);
}

/** The lists have no order of their own. */
function inOrder(list: readonly Referrer[]): Referrer[] {
  return list.toSorted((a, b) => (a.digest < b.digest ? -1 : 1));
}

const subject = () => ({ digest: image.digest, size: image.bytes.length, mediaType: image.mediaType });

test('they appear at once, with their type and annotations', async () => {
  await folder.openWithDockerRegistry();
  await push(folder.workspace, image, folder, 'art/image:1');
  const signature = await pushReferrerByTag(folder.url, 'art/image', subject(), 'application/x.signature');
  const sbom = await pushReferrerByTag(folder.url, 'art/image', subject(), 'application/x.sbom');

  await folder.openWithEntrepot();
  expect(await referrers()).toEqual(inOrder([signature, sbom]));
  expect(await referrers('?artifactType=application/x.signature')).toEqual([signature]);
}, 300_000);

test('so do those that are attached after docker-registry has been back', async () => {
  const before = await referrers();
  await folder.openWithDockerRegistry();
  const late = await pushReferrerByTag(folder.url, 'art/image', subject(), 'application/x.late');
  await folder.openWithEntrepot();
  expect(await referrers()).toEqual(inOrder([...before, late]));
}, 300_000);

test('one that is pushed to Entrepot is listed beside them', async () => {
  const before = await referrers();
  const added = await pushArtifact(folder.url, 'art/image', subject(), 'application/x.new');
  expect(await referrers()).toEqual(inOrder([...before, added]));
});

test('one that is deleted disappears, in whichever server it is deleted', async () => {
  const [first, second, ...others] = await referrers();
  if (first === undefined || second === undefined) throw new Error('there should be four referrers by now');
  await ask(folder.url, `/v2/art/image/manifests/${first.digest}`, 202, { method: 'DELETE' });
  expect(await referrers()).toEqual([second, ...others]);
  await folder.openWithDockerRegistry();
  await ask(folder.url, `/v2/art/image/manifests/${second.digest}`, 202, { method: 'DELETE' });
  await folder.openWithEntrepot();
  expect(await referrers()).toEqual(others);
}, 300_000);
