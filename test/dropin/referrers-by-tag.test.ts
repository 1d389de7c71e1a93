/** Artifacts that clients attached while there was no referrers API appear in it. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { layeredImage } from '../harness/images.ts';
import type { LayoutImage } from '../harness/oci-layout.ts';
import { ask, jsonOf } from '../harness/registry-client.ts';
import { createOneFolder, type OneFolder } from './one-folder.ts';
import { push, pushReferrerByTag } from './registry-content.ts';

let folder: OneFolder;
let image: LayoutImage;

beforeAll(async () => {
  folder = await createOneFolder('referrers');
  image = await layeredImage(folder.workspace.join('image'));
}, 60_000);

afterAll(async () => {
  await folder.close();
}, 60_000);

interface Index {
  readonly manifests: readonly {
    readonly digest: string;
    readonly artifactType?: string;
    readonly annotations?: Readonly<Record<string, string>>;
  }[];
}

async function referrers(query = ''): Promise<Index['manifests']> {
  const answer = await ask(folder.url, `/v2/art/image/referrers/${image.digest}${query}`, 200);
  expect(answer.headers.get('content-type')).toBe('application/vnd.oci.image.index.v1+json');
  return (await jsonOf<Index>(answer)).manifests;
}

const subject = () => ({ digest: image.digest, size: image.bytes.length, mediaType: image.mediaType });

test('they appear at once, with their type and annotations', async () => {
  await folder.openWithDockerRegistry();
  await push(folder.workspace, image, folder, 'art/image:1');
  const signature = await pushReferrerByTag(folder.url, 'art/image', subject(), 'application/x.signature');
  const sbom = await pushReferrerByTag(folder.url, 'art/image', subject(), 'application/x.sbom');

  await folder.openWithEntrepot();
  const listed = await referrers();
  expect(listed.map((one) => one.digest).sort()).toEqual([signature, sbom].sort());
  expect(listed.find((one) => one.digest === sbom)).toMatchObject({
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    artifactType: 'application/x.sbom',
    annotations: { 'org.example.kind': 'application/x.sbom' },
  });
  const filtered = await referrers('?artifactType=application/x.signature');
  expect(filtered.map((one) => one.digest)).toEqual([signature]);
}, 60_000);

test('so do those that are attached after docker-registry has been back', async () => {
  const before = (await referrers()).map((one) => one.digest);
  await folder.openWithDockerRegistry();
  const late = await pushReferrerByTag(folder.url, 'art/image', subject(), 'application/x.late');
  await folder.openWithEntrepot();
  expect((await referrers()).map((one) => one.digest).sort()).toEqual([...before, late].sort());
}, 60_000);

test('one that is deleted disappears, in whichever server it is deleted', async () => {
  const [first, second] = await referrers();
  if (first === undefined || second === undefined) throw new Error('there should be two referrers by now');
  await ask(folder.url, `/v2/art/image/manifests/${first.digest}`, 202, { method: 'DELETE' });
  expect((await referrers()).map((one) => one.digest)).not.toContain(first.digest);
  await folder.openWithDockerRegistry();
  await ask(folder.url, `/v2/art/image/manifests/${second.digest}`, 202, { method: 'DELETE' });
  await folder.openWithEntrepot();
  const left = (await referrers()).map((one) => one.digest);
  expect(left).not.toContain(first.digest);
  expect(left).not.toContain(second.digest);
  expect(left).toHaveLength(1);
}, 60_000);

test('an artifact that is pushed to Entrepot is listed beside them', async () => {
  const before = (await referrers()).map((one) => one.digest);
  const digest = await pushReferrerByTag(folder.url, 'art/image', subject(), 'application/x.new');
  expect((await referrers()).map((one) => one.digest).sort()).toEqual([...before, digest].sort());
});
