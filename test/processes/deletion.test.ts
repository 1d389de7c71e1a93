/**
 * What one process deletes or moves, every other one knows at once: no cache keeps what is gone (as `registry:2`'s does).
 * Each request comes on a connection of its own, so that any of the processes may get it.
 */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { request } from 'node:http';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { untilLogged } from '../harness/waiting.ts';
import { imageBytes, OCI_MANIFEST, sha256 } from '../store/content.ts';

const READERS = 6;

let registry: RunningRegistry;
beforeAll(async () => {
  registry = await startEntrepot({
    workers: 2,
    config: {
      log: { level: 'info', accesslog: { disabled: true } },
      tags: { immutable: [{ repositories: 'prod', tags: 'v*' }] },
    },
  });
});
afterAll(async () => {
  await registry.dispose();
});

interface Answer {
  readonly status: number;
  readonly body: string;
}

function send(method: string, path: string, body?: Uint8Array | string, type?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = type === undefined ? {} : { 'content-type': type };
    request(`${registry.url}${path}`, { method, headers, agent: false }, (answer) => {
      let text = '';
      answer.on('data', (chunk: Buffer) => (text += chunk.toString()));
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body: text }));
      answer.on('error', reject);
    })
      .on('error', reject)
      .end(body);
  });
}

async function status(...asked: Parameters<typeof send>): Promise<number> {
  return (await send(...asked)).status;
}

/** The statuses of several readers at the same moment. */
function everywhere(method: string, path: string): Promise<readonly number[]> {
  return Promise.all(Array.from({ length: READERS }, () => status(method, path)));
}

const all = (one: number) => Array.from({ length: READERS }, () => one);

function imageWith(mark: string): { readonly bytes: Buffer; readonly layer: string } {
  const layer = `layer ${mark}`;
  return { bytes: imageBytes({ layers: [layer], annotations: { mark } }), layer };
}

async function pushBlobs(name: string, ...texts: readonly string[]): Promise<void> {
  for (const text of texts)
    expect(await status('POST', `/v2/${name}/blobs/uploads/?digest=${sha256(text)}`, text)).toBe(201);
}

function put(name: string, reference: string, bytes: Uint8Array): Promise<Answer> {
  return send('PUT', `/v2/${name}/manifests/${reference}`, bytes, OCI_MANIFEST);
}

test('what is deleted is gone in every process, and what is pushed again is there, at once', async () => {
  const { bytes, layer } = imageWith('again');
  const digest = sha256(bytes);
  const manifest = `/v2/app/manifests/${digest}`;
  const tag = '/v2/app/manifests/v1';
  const blob = `/v2/app/blobs/${sha256(layer)}`;
  for (let round = 0; round < 6; round += 1) {
    await pushBlobs('app', '{}', layer);
    expect((await put('app', 'v1', bytes)).status).toBe(201);
    for (const path of [tag, manifest, blob])
      expect([path, await everywhere('GET', path)]).toEqual([path, all(200)]);
    expect(await status('DELETE', blob)).toBe(405);
    expect(await status('DELETE', round % 2 === 0 ? manifest : tag)).toBe(202);
    expect(await everywhere('GET', tag)).toEqual(all(404));
    if (round % 2 !== 0) expect(await status('DELETE', manifest)).toBe(202);
    expect(await everywhere('HEAD', manifest)).toEqual(all(404));
    expect(await status('DELETE', blob)).toBe(202);
    expect(await everywhere('HEAD', blob)).toEqual(all(404));
    expect((await put('app', 'v1', bytes)).status).toBe(400);
  }
});

test('a deletion and a push at the same moment end in one state, which every process tells', async () => {
  const { bytes, layer } = imageWith('both');
  const digest = sha256(bytes);
  for (let round = 0; round < 12; round += 1) {
    await pushBlobs('both', '{}', layer);
    await put('both', 'v1', bytes);
    const path = round % 3 === 0 ? '/v2/both/_entrepot/repository' : `/v2/both/manifests/${digest}`;
    const [pushed, deleted] = await Promise.all([put('both', 'v2', bytes), status('DELETE', path)]);
    expect([201, 400]).toContain(pushed.status);
    expect(deleted).toBe(202);
    const [first = 0, ...others] = await everywhere('GET', '/v2/both/manifests/v2');
    expect(new Set(others)).toEqual(new Set([first]));
    if (first !== 200) continue;
    // What is there is there as a whole.
    expect(await everywhere('GET', `/v2/both/blobs/${sha256(layer)}`)).toEqual(all(200));
    expect(await everywhere('GET', `/v2/both/blobs/${sha256('{}')}`)).toEqual(all(200));
  }
});

test('of pushes to an immutable tag that race in several processes one wins, also by ?tag=', async () => {
  await pushBlobs('prod', '{}');
  for (let round = 0; round < 8; round += 1) {
    const images = Array.from({ length: READERS }, (_, by) =>
      imageBytes({ annotations: { by: `${by} ${round}` } }),
    );
    const answers = await Promise.all(
      images.map((bytes, by) =>
        put('prod', by % 2 === 0 ? `v${round}` : `${sha256(bytes)}?tag=any&tag=v${round}`, bytes),
      ),
    );
    const statuses = answers.map((answer) => answer.status);
    const winner = statuses.indexOf(201);
    expect(statuses.filter((one) => one !== 201)).toEqual(all(409).slice(1));
    const got = await send('GET', `/v2/prod/manifests/v${round}`);
    expect(sha256(got.body)).toBe(sha256(images[winner] ?? ''));
    expect(await everywhere('DELETE', `/v2/prod/manifests/v${round}`)).toEqual(all(409));
    expect(await everywhere('DELETE', '/v2/prod/_entrepot/repository')).toEqual(all(409));
  }
});

test('other rules are taken up by all processes without a restart', async () => {
  await pushBlobs('ruled', '{}');
  const image = (mark: string) => imageBytes({ annotations: { mark } });
  await put('ruled', 'latest', image('first'));
  const text = await readFile(registry.configFile, 'utf8');
  const changed = text.replace(/"?repositories"?: "?prod"?/, 'repositories: ruled').replace(/v\*/, 'latest');
  expect(changed).not.toBe(text);
  await writeFile(`${registry.configFile}.new`, changed);
  await rename(`${registry.configFile}.new`, registry.configFile);
  for (let round = 0, end = Date.now() + 240_000; ; round += 1) {
    const answers = await Promise.all(all(0).map((_, by) => put('ruled', 'latest', image(`${by} ${round}`))));
    if (answers.every((answer) => answer.status === 409)) break;
    if (Date.now() > end) throw new Error(`the rules are not taken up: ${registry.logs()}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await untilLogged(registry, 'the rules of tags are taken up');
  expect(registry.logs()).not.toContain('counts from the next start');
}, 300_000);
