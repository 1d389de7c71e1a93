/** Only names, tags and digests that match their grammars ever become a path in storage. */
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { ask, digestBy, OCI_MANIFEST, pushImage, type PushedImage } from './images.ts';
import { rawStatus } from './raw-http.ts';

// Only a server that hangs ever meets this limit (milliseconds); a busy machine must not.
setDefaultTimeout(120_000);

let workspace: Workspace;
let registry: RunningRegistry;
let image: PushedImage;
let data: string;
beforeAll(async () => {
  // Deep enough that every ".." of the fuzz list ends inside the workspace.
  workspace = await createWorkspace('paths');
  data = await workspace.folder('a', 'b', 'c', 'd', 'e', 'f', 'data');
  await writeFile(workspace.join('a', 'b', 'canary'), 'CANARY-FILE');
  registry = await startEntrepot({ dataDirectory: data, workers: 1 });
  image = await pushImage(registry.url, 'paths/app', 'latest');
});
afterAll(async () => {
  await registry.dispose();
  await workspace.remove();
});

async function files(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
}

const HOSTILE = [
  '..',
  '.',
  '../..',
  '../../../../canary',
  '..%2f..%2f..%2f..%2fcanary',
  '%2e%2e%2f%2e%2e%2f',
  '..\\..\\canary',
  '..%5c..%5c',
  '..%c0%af',
  '..%ef%bc%8f',
  '_uploads',
  '_manifests',
  '_layers',
  '_',
  'app/_layers',
  'a%00',
  'a%00.json',
  '%00',
  'a%0a',
  'a%0d%0aX-Evil:%201',
  'a%09b',
  'a%7f',
  '~',
  '~root',
  '$HOME',
  '${IFS}',
  'a%3bb',
  "'",
  '%22',
  '%3cscript%3e',
  'con',
  'nul.txt',
  'a.',
  'a%20',
  '-rf',
  '%c3%a9',
  '%e2%80%ae',
  '%ff',
  'ſ',
  'A',
  '/etc/passwd',
  '%2fetc%2fpasswd',
  'file:///etc/passwd',
  'sha256:..',
  `sha256:${'.'.repeat(64)}`,
  `sha256:..%2f${'a'.repeat(61)}`,
  `sha256:${'A'.repeat(64)}`,
  `sha256:${'a'.repeat(63)}`,
  `sha256:${'a'.repeat(65)}`,
  `sha256:${'a'.repeat(64)}%00`,
  `sha256:${'a'.repeat(64)}/../x`,
  `SHA256:${'a'.repeat(64)}`,
  `..:${'a'.repeat(64)}`,
  'a'.repeat(300),
  `${'a/'.repeat(200)}a`,
];

test('security 40: hostile names on every route and parameter reach no file', async () => {
  const before = await files(data);
  const outside = await files(workspace.path);
  // A name may by chance be a good one ("con"): reading it finds nothing, and pushing is not tried with it.
  for (const text of HOSTILE) {
    const bytes = Buffer.from(text).toString('latin1');
    const reads = [
      `/v2/${bytes}/manifests/latest`,
      `/v2/${bytes}/tags/list`,
      `/v2/${bytes}/blobs/${image.layer}`,
      `/v2/paths/${bytes}/manifests/latest`,
      `/v2/paths/app/manifests/${bytes}`,
      `/v2/paths/app/blobs/${bytes}`,
      `/v2/paths/app/blobs/uploads/${bytes}`,
      `/v2/paths/app/referrers/${bytes}`,
    ];
    for (const path of reads) {
      for (const method of ['GET', 'HEAD', 'DELETE']) {
        const status = await rawStatus(registry.host, `${method} ${path} HTTP/1.1`);
        expect([method, path, [400, 404, 405].includes(status)]).toEqual([method, path, true]);
      }
    }
    const queries: readonly (readonly [string, string, readonly number[]])[] = [
      ['GET', `/v2/_catalog?last=${bytes}`, [200, 400]],
      ['GET', `/v2/paths/app/tags/list?last=${bytes}`, [200, 400]],
      ['GET', `/v2/paths/app/referrers/${image.digest}?last=${bytes}`, [200, 400]],
      ['GET', `/v2/paths/app/referrers/${image.digest}?artifactType=${bytes}`, [200, 400]],
      ['POST', `/v2/paths/app/blobs/uploads/?mount=${bytes}&from=paths/app`, [202, 400]],
      ['POST', `/v2/paths/app/blobs/uploads/?mount=${image.layer}&from=${bytes}`, [201, 202, 400]],
      ['POST', `/v2/paths/app/blobs/uploads/?digest-algorithm=${bytes}`, [400]],
      ['POST', `/v2/paths/app/blobs/uploads/?digest=${bytes}`, [400]],
    ];
    for (const [method, path, statuses] of queries) {
      const status = await rawStatus(registry.host, `${method} ${path} HTTP/1.1`, ['Content-Length: 0']);
      expect([method, path, status, statuses.includes(status)]).toEqual([method, path, status, true]);
    }
  }
  const known = new Set(before);
  const added = (await files(data)).filter(
    (file) => !known.has(file) && !file.includes('paths/app/_uploads/'),
  );
  expect(added).toEqual([]);
  const inside = relative(workspace.path, data);
  const notOurs = (list: string[]) => list.filter((file) => !file.startsWith(inside));
  expect(notOurs(await files(workspace.path))).toEqual(notOurs(outside));
  await ask(registry.url, `/v2/paths/app/blobs/${image.layer}`, 200);
}, 300_000);

test('security 40: writes under hostile names are refused and leave nothing', async () => {
  const body = JSON.stringify(image.document);
  const put = [`Content-Type: ${OCI_MANIFEST}`];
  // Those with dot segments are another path by the time that we see them; tested with the router.
  const good = new Set(['con', 'nul.txt', '_', 'a', 'A', 'a.', '_uploads', '_manifests', '_layers']);
  const before = await files(data);
  for (const text of HOSTILE.filter((name) => !good.has(name) && !name.includes('/../'))) {
    const bytes = Buffer.from(text).toString('latin1');
    const writes = [
      `PUT /v2/paths/app/manifests/${bytes} HTTP/1.1`,
      `PUT /v2/paths/app/manifests/${image.digest}?tag=${bytes.replaceAll('#', '')} HTTP/1.1`,
      `PUT /v2/${bytes}/manifests/latest HTTP/1.1`,
      `POST /v2/${bytes}/blobs/uploads/ HTTP/1.1`,
    ];
    for (const write of writes) {
      const status = await rawStatus(registry.host, write, put, body);
      expect([write, status, [400, 404, 405].includes(status)]).toEqual([write, status, true]);
    }
  }
  expect(await files(data)).toEqual(before);
});

test('security 40: a repository cannot collide with what lies beside it in storage', async () => {
  const names = [
    'paths/app/blobs',
    'paths/app/uploads',
    'paths/app/layers',
    'paths/app/manifests/tags',
    'blobs/sha256',
  ];
  for (const name of names) {
    const pushed = await pushImage(registry.url, name, 'latest');
    await ask(registry.url, `/v2/${name}/blobs/${pushed.layer}`, 200);
    await ask(registry.url, `/v2/paths/app/blobs/${pushed.layer}`, 404);
  }
  const tags = await ask(registry.url, '/v2/paths/app/tags/list', 200);
  expect(await tags.json()).toEqual({ name: 'paths/app', tags: ['latest'] });
});

test('security 40: tags that differ in case are two tags', async () => {
  const lower = await pushImage(registry.url, 'paths/case', 'latest', 'lower');
  const upper = await pushImage(registry.url, 'paths/case', 'LATEST', 'upper');
  for (const [tag, { digest }] of [
    ['latest', lower],
    ['LATEST', upper],
  ] as const) {
    const answer = await ask(registry.url, `/v2/paths/case/manifests/${tag}`, 200);
    expect(answer.headers.get('docker-content-digest')).toBe(digest);
  }
  await ask(registry.url, '/v2/paths/case/manifests/Latest', 404);
  await ask(registry.url, '/v2/paths/case/manifests/LATEST', 202, { method: 'DELETE' });
  await ask(registry.url, '/v2/paths/case/manifests/latest', 200);
});

test('security 40: the longest names and tags are stored, and longer ones refused', async () => {
  const name = 'a'.repeat(255);
  const tag = `T${'.'.repeat(127)}`;
  const { digest } = await pushImage(registry.url, name, tag);
  const answer = await ask(registry.url, `/v2/${name}/manifests/${tag}`, 200);
  expect(answer.headers.get('docker-content-digest')).toBe(digest);
  expect(await rawStatus(registry.host, `POST /v2/${name}a/blobs/uploads/ HTTP/1.1`)).toBe(400);
  const put = `PUT /v2/paths/app/manifests/${tag}x HTTP/1.1`;
  const body = JSON.stringify(image.document);
  expect(await rawStatus(registry.host, put, [`Content-Type: ${OCI_MANIFEST}`], body)).toBe(400);
});

test('security 40: symbolic links in storage lead nowhere', async () => {
  const outside = workspace.join('secret');
  const secret = Buffer.from('CANARY-SECRET');
  await writeFile(outside, secret);
  const digest = digestBy('sha256', secret);
  const hex = digest.slice('sha256:'.length);
  const root = join(data, 'docker/registry/v2');
  // The link says that the repository has the blob, and the blob's file is a link to a file elsewhere.
  const link = join(root, 'repositories/paths/app/_layers/sha256', hex);
  const blob = join(root, 'blobs/sha256', hex.slice(0, 2), hex);
  await mkdir(link, { recursive: true });
  await mkdir(blob, { recursive: true });
  await writeFile(join(link, 'link'), digest);
  await symlink(outside, join(blob, 'data'));
  for (const path of [`blobs/${digest}`, `manifests/${digest}`]) {
    const answer = await fetch(`${registry.url}/v2/paths/app/${path}`);
    expect([path, await answer.text()]).not.toEqual([path, secret.toString()]);
    expect(answer.status).toBeGreaterThanOrEqual(400);
  }
});
