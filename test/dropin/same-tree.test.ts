/**
 * The same pushes leave the same files, to the byte, whichever server took them.
 *
 * One thing is left out: a blob that is pushed by its sha512 is filed under its sha256 by registry:2, for which
 * it must be hashed twice. Ours is filed under its sha512, and each server serves the other's (see
 * `takes-over.test.ts` and `hands-back.test.ts`).
 */
import { afterEach, beforeEach, expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { randomBytes } from '../harness/random-bytes.ts';
import { ask, locationOf, pushBlob, pushManifest } from '../harness/registry-client.ts';
import { createOneFolder, type OneFolder } from './one-folder.ts';
import { buildImages, fillRegistry } from './registry-content.ts';

let theirs: OneFolder;
let ours: OneFolder;

beforeEach(async () => {
  theirs = await createOneFolder('theirs');
  ours = await createOneFolder('ours');
  await theirs.openWithDockerRegistry();
  await ours.openWithEntrepot();
}, 300_000);

afterEach(async () => {
  await theirs.close();
  await ours.close();
}, 300_000);

/** The names below a repository that registry:2 knows. All others with `_` are additions, which it ignores. */
const KNOWN = new Set(['_layers', '_manifests', '_uploads']);

/**
 * Every file below a data folder that registry:2 knows, as path and sum of its content. The identifier of an
 * upload, which differs each time, is shown as `UUID`; of an upload's files only the names are compared where
 * the content cannot be equal: the time, and the state of the hash, which belongs to its implementation.
 */
async function tree(folder: OneFolder): Promise<string[]> {
  const lines: string[] = [];
  const entries = await readdir(folder.dataDirectory, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const name = relative(folder.dataDirectory, path);
    if (name.split('/').some((part) => part.startsWith('_') && !KNOWN.has(part))) continue;
    if (name.includes('/hashstates/')) continue;
    const shown = name.replace(/(\/_uploads\/)[0-9a-f-]{36}\//, '$1UUID/');
    const bytes = await readFile(path);
    const content = shown.endsWith('/startedat')
      ? isTime(bytes.toString())
      : createHash('sha256').update(bytes).digest('hex').slice(0, 12);
    lines.push(`${shown} ${content}`);
  }
  return lines.sort();
}

/** RFC 3339 in UTC, as Go prints it. */
function isTime(text: string): string {
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$/.test(text) ? 'a time' : `not a time: ${text}`;
}

test('pushes, moved tags and deletions by skopeo', async () => {
  const images = await buildImages(theirs.workspace, 'tree');
  await fillRegistry(theirs.workspace, images, theirs);
  await fillRegistry(ours.workspace, images, ours);
  const expected = await tree(theirs);
  expect(expected.length).toBeGreaterThan(100);
  expect(await tree(ours)).toEqual(expected);
}, 300_000);

test('a mount, a blob of no bytes, a manifest by digest, a deleted blob', async () => {
  for (const { url } of [theirs, ours]) {
    const blob = await pushBlob(url, 'tree/from', randomBytes('blob', 1000));
    await ask(url, `/v2/tree/to/blobs/uploads/?mount=${blob}&from=tree/from`, 201, { method: 'POST' });
    await pushBlob(url, 'tree/to', Buffer.alloc(0));
    const config = await pushBlob(url, 'tree/to', Buffer.from('{}'));
    const manifest = {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: config, size: 2 },
      layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: blob, size: 1000 }],
    };
    await pushManifest(url, 'tree/to', undefined, manifest);
    for (const tag of ['a', 'b', 'b']) await pushManifest(url, 'tree/to', tag, manifest);
    await ask(url, `/v2/tree/from/blobs/${blob}`, 202, { method: 'DELETE' });
  }
  expect(await tree(ours)).toEqual(await tree(theirs));
}, 300_000);

test('uploads: one that waits, one that was cancelled', async () => {
  for (const { url } of [theirs, ours]) {
    const begin = async () => await ask(url, '/v2/tree/uploads/blobs/uploads/', 202, { method: 'POST' });
    await ask(url, locationOf(await begin()).href, 202, {
      method: 'PATCH',
      body: randomBytes('waits', 1000),
    });
    await ask(url, locationOf(await begin()).href, 204, { method: 'DELETE' });
  }
  expect(await tree(ours)).toEqual(await tree(theirs));
}, 300_000);

test('a tag that was deleted leaves no file of its own', async () => {
  const { url } = ours;
  const config = await pushBlob(url, 'tree/tags', Buffer.from('{}'));
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: config, size: 2 },
    layers: [],
  };
  await pushManifest(url, 'tree/tags', 'kept', manifest);
  const before = await tree(ours);
  await pushManifest(url, 'tree/tags', 'gone', manifest);
  await ask(url, '/v2/tree/tags/manifests/gone', 202, { method: 'DELETE' });
  expect(await tree(ours)).toEqual(before);
}, 300_000);
