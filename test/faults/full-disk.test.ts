/** A disk that is full: clear answers, clear log lines, nothing lost, and all goes on once there is space. */
import { mkdir, rm, statfs, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'bun:test';
import { mountTmpfs, type Tmpfs } from '../drivers/tmpfs.ts';
import { untilHolds } from '../harness/waiting.ts';
import { type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import {
  ask,
  closing,
  digestBy,
  jsonOf,
  locationOf,
  pushBlob,
  verifyBlob,
} from '../harness/registry-client.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { childrenOf } from './worker-pids.ts';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

/** Nothing is made but by requests: the last entries of the disk are counted. */
const QUIET = {
  admin: { socket: 'off' },
  storage: { maintenance: { uploadpurging: { enabled: false } } },
};

let workspace: Workspace;
let disk: Tmpfs;
let registry: RunningRegistry;
let workers: readonly number[] = [];
beforeAll(async () => {
  workspace = await createWorkspace('full');
  disk = await mountTmpfs(await workspace.folder('disk'), '16m,nr_inodes=1000');
  registry = await startEntrepot({ dataDirectory: disk.path, workers: 2, config: QUIET });
  workers = childrenOf(registry.pid);
});
afterAll(async () => {
  await registry?.dispose();
  await disk?.unmount();
  await workspace?.remove();
});
beforeEach(async () => {
  await freeDisk();
});

const filler = () => join(disk.path, 'filler');

/** Takes all but so many bytes. */
async function fillDisk(leave = 0): Promise<void> {
  const { bavail, bsize } = await statfs(disk.path);
  await writeFile(filler(), Buffer.alloc(Math.max(0, bavail * bsize - leave)));
}

/** Makes files until no more than so many can be made: each folder of a new blob needs one. */
async function takeInodes(leave: number): Promise<void> {
  await freeDisk();
  await mkdir(`${filler()}s`);
  const { ffree } = await statfs(disk.path);
  for (let i = leave; i < ffree; i += 1) await writeFile(join(`${filler()}s`, String(i)), '');
}

async function freeDisk(): Promise<void> {
  await rm(filler(), { force: true });
  await rm(`${filler()}s`, { recursive: true, force: true });
}

/** The answer is a 5xx with the errors document of the specification, and tells nothing of the machine. */
async function expectRefusal(answer: Response): Promise<void> {
  expect(answer.status).toBeGreaterThanOrEqual(500);
  expect(answer.headers.get('content-type')).toBe('application/json');
  const { errors } = await jsonOf<{ errors: { code: string; message: string }[] }>(answer);
  expect(errors).toHaveLength(1);
  expect(errors[0]?.message).toMatch(/cannot store/);
  expect(JSON.stringify(errors)).not.toContain(disk.path);
}

/** Nobody died, and the log says what is wrong and where. */
async function expectLogged(...words: string[]): Promise<void> {
  expect(childrenOf(registry.pid)).toEqual([...workers]);
  const isSaid = () =>
    registry
      .logs()
      .split('\n')
      .some((text) => [disk.path, 'disk is full', 'ENOSPC', ...words].every((word) => text.includes(word)));
  // The log may come later than the answer.
  await untilHolds(isSaid, () => registry.logs().slice(-3000));
}

async function begin(repository: string): Promise<URL> {
  return locationOf(await ask(registry.url, `/v2/${repository}/blobs/uploads/`, 202, { method: 'POST' }));
}

async function offsetOf(location: URL): Promise<number> {
  const range = (await ask(registry.url, location.href, 204)).headers.get('range') ?? '';
  const end = Number(/^0-(\d+)$/.exec(range)?.[1] ?? Number.NaN);
  return end === 0 ? 0 : end + 1;
}

test('PATCH: refused, what fitted stays, and the upload goes on from there', async () => {
  const content = randomBytes('patch', 3_000_000);
  let location = await begin('full/patch');
  await fillDisk(1_000_000);
  const answer = await fetch(location, { method: 'PATCH', body: content });
  await expectRefusal(answer);
  await expectLogged('PATCH');
  const offset = await offsetOf(location);
  expect(offset).toBeLessThan(1_100_000);
  await freeDisk();
  const rest = content.subarray(offset);
  const next = await ask(registry.url, location.href, 202, {
    method: 'PATCH',
    headers: { 'content-range': `${offset}-${content.length - 1}` },
    body: rest,
  });
  location = locationOf(next);
  const digest = digestBy('sha256', content);
  await ask(registry.url, closing(location, digest), 201, { method: 'PUT' });
  await verifyBlob(registry.url, 'full/patch', { digest, size: content.length });
});

test('PUT with the rest: refused, and the upload goes on from what fitted', async () => {
  const content = randomBytes('put', 3_000_000);
  const digest = digestBy('sha256', content);
  const location = await begin('full/put');
  await fillDisk(800_000);
  await expectRefusal(await fetch(closing(location, digest), { method: 'PUT', body: content }));
  const offset = await offsetOf(location);
  await freeDisk();
  await ask(registry.url, closing(location, digest), 201, {
    method: 'PUT',
    headers: { 'content-range': `${offset}-${content.length - 1}` },
    body: content.subarray(offset),
  });
  await verifyBlob(registry.url, 'full/put', { digest, size: content.length });
});

test('the closing PUT: refused while there is no room for new folders, and done by the next one', async () => {
  const content = randomBytes('closing', 500_000);
  const digest = digestBy('sha256', content);
  const begun = await begin('full/closing');
  const patched = await ask(registry.url, begun.href, 202, { method: 'PATCH', body: content });
  const location = locationOf(patched);
  // Each time it gets a little further: to the link, to the blob's first folder, to its second.
  for (const left of [0, 1, 2, 2, 2, 1]) {
    await takeInodes(left);
    await expectRefusal(await fetch(closing(location, digest), { method: 'PUT' }));
    expect(await offsetOf(location)).toBe(content.length);
    await ask(registry.url, `/v2/full/closing/blobs/${digest}`, 404, { method: 'HEAD' });
  }
  await expectLogged('PUT');
  await ask(registry.url, `/v2/full/closing/blobs/${digest}`, 404, { method: 'HEAD' });
  expect(await offsetOf(location)).toBe(content.length);
  await freeDisk();
  await ask(registry.url, closing(location, digest), 201, { method: 'PUT' });
  await verifyBlob(registry.url, 'full/closing', { digest, size: content.length });
});

test('POST and a manifest: refused, the tag stays as it was, and both work again', async () => {
  const config = Buffer.from('{}');
  await pushBlob(registry.url, 'full/manifest', config);
  const push = (note: string) => {
    const body = JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: digestBy('sha256', config),
        size: config.length,
      },
      layers: [],
      annotations: { note },
    });
    return fetch(`${registry.url}/v2/full/manifest/manifests/v1`, {
      method: 'PUT',
      headers: { 'content-type': MANIFEST },
      body,
    });
  };
  const first = await push('first');
  expect(first.status).toBe(201);
  const digest = first.headers.get('docker-content-digest');
  await fillDisk();
  await expectRefusal(await push('second'));
  await expectLogged('manifests/v1');
  await expectRefusal(await fetch(`${registry.url}/v2/full/manifest/blobs/uploads/`, { method: 'POST' }));
  const answer = await ask(registry.url, '/v2/full/manifest/manifests/v1', 200, { method: 'HEAD' });
  expect(answer.headers.get('docker-content-digest')).toBe(digest);
  // What frees space works without any.
  await ask(registry.url, `/v2/full/manifest/manifests/${digest}`, 202, { method: 'DELETE' });
  await freeDisk();
  expect((await push('second')).status).toBe(201);
  await begin('full/manifest');
});

test('eight pushes at once on a disk that fills: whole or refused, and the disk empties again', async () => {
  await fillDisk(1_500_000);
  const results = await Promise.all(
    Array.from({ length: 8 }, async (_, i) => {
      const content = randomBytes(`at once ${i}`, 400_000);
      const digest = digestBy('sha256', content);
      const begun = await fetch(`${registry.url}/v2/full/many/blobs/uploads/`, { method: 'POST' });
      if (begun.status !== 202) return { status: begun.status, digest, location: undefined };
      const location = locationOf(begun);
      const { status } = await fetch(closing(location, digest), { method: 'PUT', body: content });
      return { status, digest, location };
    }),
  );
  for (const { status, digest, location } of results) {
    expect([201, 503]).toContain(status);
    if (status === 201) await verifyBlob(registry.url, 'full/many', { digest, size: 400_000 });
    else if (location !== undefined) await ask(registry.url, location.href, [204, 404], { method: 'DELETE' });
  }
  expect(results.some(({ status }) => status === 503)).toBe(true);
  await truncate(filler(), 0);
  expect(childrenOf(registry.pid)).toEqual([...workers]);
  await pushBlob(registry.url, 'full/many', randomBytes('afterwards', 1_000_000));
});
