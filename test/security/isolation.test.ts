/**
 * Repositories are closed against each other. While access is anonymous and open everybody may pull
 * everywhere, so what is tested is that the repository in the URL is the only place where content is found.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import {
  ask,
  beginUpload,
  closing,
  digestBy,
  errorCode,
  imageOf,
  locationOf,
  OCI_MANIFEST,
} from './images.ts';
import { pushBlob, pushImage, pushManifest, type PushedImage, UNKNOWN_DIGEST } from './images.ts';

// Only a server that hangs ever meets this limit (milliseconds); a busy machine must not.
setDefaultTimeout(120_000);

let registry: RunningRegistry;
let image: PushedImage;
beforeAll(async () => {
  registry = await startEntrepot({ workers: 2 });
  image = await pushImage(registry.url, 'tenant-a/app', 'latest');
  await pushImage(registry.url, 'tenant-b/own', 'latest');
});
afterAll(async () => {
  await registry.dispose();
});

const status = async (path: string, init?: RequestInit) => {
  const answer = await fetch(`${registry.url}${path}`, init);
  await answer.arrayBuffer();
  return answer.status;
};

test('security 12: content is reachable only through a link in this repository', async () => {
  const paths = [
    `blobs/${image.layer}`,
    `blobs/${image.config}`,
    `blobs/${image.digest}`,
    `manifests/${image.digest}`,
    'manifests/latest',
  ];
  // Twice, and after the owner's own reads: whatever is cached must not answer in another repository.
  for (let round = 0; round < 2; round++) {
    for (const path of paths) {
      if (!path.startsWith(`blobs/${image.digest}`)) await ask(registry.url, `/v2/tenant-a/app/${path}`, 200);
      for (const other of ['tenant-b/app', 'tenant-a', 'tenant-a/app/sub', 'app']) {
        expect([other, path, await status(`/v2/${other}/${path}`)]).toEqual([other, path, 404]);
        expect(await status(`/v2/${other}/${path}`, { method: 'HEAD' })).toBe(404);
        expect(await status(`/v2/${other}/${path}`, { headers: { range: 'bytes=0-0' } })).toBe(404);
        expect(
          await status(`/v2/${other}/${path}`, { headers: { 'if-none-match': `"${image.layer}"` } }),
        ).toBe(404);
        expect(await status(`/v2/${other}/${path}`, { headers: { 'if-none-match': '*' } })).toBe(404);
        expect(await status(`/v2/${other}/${path}`, { method: 'DELETE' })).toBe(404);
      }
    }
  }
  await ask(registry.url, `/v2/tenant-a/app/manifests/latest`, 200);
  await ask(registry.url, `/v2/tenant-a/app/blobs/${image.layer}`, 200);
});

test('security 12: a manifest cannot name blobs or children that its repository lacks', async () => {
  const put = async (repository: string, document: { readonly mediaType: string }) => {
    const init = {
      method: 'PUT',
      headers: { 'content-type': document.mediaType },
      body: JSON.stringify(document),
    };
    const answer = await fetch(`${registry.url}/v2/${repository}/manifests/stolen`, init);
    expect(answer.status).toBe(400);
    expect(await errorCode(answer)).toBe('MANIFEST_BLOB_UNKNOWN');
  };
  await put('tenant-b/app', image.document);
  const size = Buffer.byteLength(JSON.stringify(image.document));
  const mediaType = 'application/vnd.oci.image.index.v1+json';
  const manifests = [{ mediaType: OCI_MANIFEST, digest: image.digest, size }];
  await put('tenant-b/app', Object.assign({ schemaVersion: 2, mediaType }, { manifests }));
  expect(await status('/v2/tenant-b/app/manifests/stolen')).toBe(404);
});

test('security 12: referrers are those of this repository', async () => {
  const size = Buffer.byteLength(JSON.stringify(image.document));
  const subject = { mediaType: OCI_MANIFEST, digest: image.digest, size };
  await pushImage(registry.url, 'tenant-a/app', 'signature', 'sig', { subject });
  const list = async (repository: string) => {
    const answer = await ask(registry.url, `/v2/${repository}/referrers/${image.digest}`, 200);
    const index: { manifests: unknown[] } = JSON.parse(await answer.text());
    return index.manifests.length;
  };
  expect(await list('tenant-a/app')).toBe(1);
  expect(await list('tenant-b/app')).toBe(0);
  expect(await list('tenant-b/own')).toBe(0);
});

test('security 12: a mount takes content only from a repository that has it', async () => {
  const mount = async (query: string) => {
    const answer = await fetch(`${registry.url}/v2/tenant-b/mounts/blobs/uploads/?${query}`, {
      method: 'POST',
    });
    await answer.arrayBuffer();
    return answer;
  };
  for (const query of [
    `mount=${image.layer}&from=tenant-b/own`,
    `mount=${image.layer}&from=tenant-b/none`,
    `mount=${image.layer}&from=tenant-a`,
    `mount=${UNKNOWN_DIGEST}&from=tenant-a/app`,
    `mount=${UNKNOWN_DIGEST}`,
    // A manifest is no blob of its repository.
    `mount=${image.digest}&from=tenant-a/app`,
    'from=tenant-a/app',
  ]) {
    const answer = await mount(query);
    expect([query, answer.status]).toEqual([query, 202]);
    expect(locationOf(answer).pathname).toStartWith('/v2/tenant-b/mounts/blobs/uploads/');
  }
  expect(await status(`/v2/tenant-b/mounts/blobs/${image.layer}`)).toBe(404);
  const mounted = await mount(`mount=${image.layer}&from=tenant-a/app`);
  expect(mounted.status).toBe(201);
  expect(locationOf(mounted).pathname).toBe(`/v2/tenant-b/mounts/blobs/${image.layer}`);
  // The two links are independent of each other.
  expect(await status(`/v2/tenant-b/mounts/blobs/${image.layer}`, { method: 'DELETE' })).toBe(202);
  expect(await status(`/v2/tenant-b/mounts/blobs/${image.layer}`)).toBe(404);
  expect(await status(`/v2/tenant-a/app/blobs/${image.layer}`)).toBe(200);
});

test('security 13: a digest that exists elsewhere and one that exists nowhere are answered alike', async () => {
  const shape = async (digest: string, from: string) => {
    const path = `${registry.url}/v2/tenant-b/oracle/blobs/uploads/?mount=${digest}&from=${from}`;
    const answer = await fetch(path, { method: 'POST' });
    const fixed = ['date', 'location', 'docker-upload-uuid'];
    const rest = [...answer.headers].filter(([name]) => !fixed.includes(name));
    return { status: answer.status, headers: rest, body: await answer.text() };
  };
  expect(await shape(image.layer, 'tenant-b/own')).toEqual(await shape(UNKNOWN_DIGEST, 'tenant-b/own'));
  for (const path of ['blobs', 'manifests']) {
    const text = async (digest: string) => {
      const answer = await ask(registry.url, `/v2/tenant-b/own/${path}/${digest}`, 404);
      return (await answer.text()).replaceAll(digest, 'DIGEST');
    };
    expect(await text(path === 'blobs' ? image.layer : image.digest)).toBe(await text(UNKNOWN_DIGEST));
  }
});

test('security 13: to know a digest is not to have the bytes', async () => {
  const refused = async (answer: Response) => {
    expect(answer.status).toBe(400);
    expect(await errorCode(answer)).toBe('DIGEST_INVALID');
  };
  const wrong = randomBytes('wrong', 10);
  for (const body of [undefined, wrong]) {
    const init = { method: 'POST', ...(body === undefined ? {} : { body }) };
    await refused(
      await fetch(`${registry.url}/v2/tenant-b/oracle/blobs/uploads/?digest=${image.layer}`, init),
    );
    const location = await beginUpload(registry.url, 'tenant-b/oracle');
    await refused(await fetch(closing(location, image.layer), { ...init, method: 'PUT' }));
  }
  expect(await status(`/v2/tenant-b/oracle/blobs/${image.layer}`)).toBe(404);
});

test('security 14: an upload belongs to its repository', async () => {
  const bytes = randomBytes('session', 1000);
  const location = await beginUpload(registry.url, 'tenant-a/app');
  await ask(registry.url, location.href, 202, { method: 'PATCH', body: bytes.subarray(0, 500) });
  const digest = digestBy('sha256', bytes);
  for (const other of ['tenant-b/app', 'tenant-a', 'tenant-b/own', 'tenant-a/app/sub']) {
    const elsewhere = new URL(location.href.replace('/v2/tenant-a/app/', `/v2/${other}/`));
    const attempts: readonly (readonly [string, string, Uint8Array<ArrayBuffer>?])[] = [
      ['GET', elsewhere.href],
      ['HEAD', elsewhere.href],
      ['PATCH', elsewhere.href, bytes],
      ['PUT', closing(elsewhere, digestBy('sha256', bytes.subarray(0, 500)))],
      ['PUT', closing(elsewhere, digest), bytes.subarray(500)],
      ['DELETE', elsewhere.href],
      ['GET', `${elsewhere.origin}${elsewhere.pathname}`],
      ['DELETE', `${elsewhere.origin}${elsewhere.pathname}`],
    ];
    for (const [method, url, body] of attempts) {
      const answer = await fetch(url, { method, ...(body === undefined ? {} : { body }) });
      expect([method, url, answer.status]).toEqual([method, url, 404]);
      if (method !== 'HEAD') expect(await errorCode(answer)).toBe('BLOB_UPLOAD_UNKNOWN');
    }
  }
  expect((await ask(registry.url, location.href, 204)).headers.get('range')).toBe('0-499');
  await ask(registry.url, closing(location, digest), 201, { method: 'PUT', body: bytes.subarray(500) });
  // A closed session is gone, for its owner too.
  expect(await status(`${location.pathname}${location.search}`)).toBe(404);
});

test('security 14: upload identifiers cannot be guessed or made up', async () => {
  const ids = await Promise.all(
    Array.from({ length: 20 }, async () =>
      (await beginUpload(registry.url, 'tenant-a/app')).pathname.split('/').pop(),
    ),
  );
  expect(new Set(ids).size).toBe(ids.length);
  // 122 random bits, and nothing of time or sequence (versions 1, 6 and 7) in them.
  for (const id of ids)
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const [id = ''] = ids;
  for (const made of [
    'x',
    '_',
    '-',
    '00000000-0000-4000-8000-000000000000',
    id.toUpperCase(),
    `${id}x`,
    `${id}%00`,
    `${id}%2f..`,
    `${id}/data`,
    '..%2f_layers',
    'startedat',
    `{${id}}`,
    '%2e%2e',
    'a'.repeat(5000),
  ]) {
    for (const method of ['GET', 'PATCH', 'PUT', 'DELETE']) {
      const query = method === 'PUT' ? `?digest=${UNKNOWN_DIGEST}` : '';
      const answer = await status(`/v2/tenant-a/app/blobs/uploads/${made}${query}`, { method });
      expect([made, method, [400, 404, 405].includes(answer)]).toEqual([made, method, true]);
    }
  }
  expect(await status(`/v2/tenant-a/app/blobs/uploads/${id}`)).toBe(204);
});

test('security 14: a signed upload location holds for its own session only', async () => {
  const signing = await startEntrepot({ config: { http: { secret: 'a secret of several servers' } } });
  try {
    const location = await beginUpload(signing.url, 'signed/a');
    const other = await beginUpload(signing.url, 'signed/a');
    const elsewhere = await beginUpload(signing.url, 'signed/b');
    const state = location.searchParams.get('_state') ?? '';
    expect(state).not.toBe('');
    const payload = Buffer.from(state, 'base64url').subarray(32);
    const forged = ['', 'x', state.slice(0, -4), `${state}AAAA`, Buffer.alloc(32).toString('base64url')];
    forged.push(Buffer.concat([Buffer.alloc(32), payload]).toString('base64url'), 'A'.repeat(100_000 / 10));
    forged.push(other.searchParams.get('_state') ?? '', elsewhere.searchParams.get('_state') ?? '');
    for (const method of ['GET', 'PATCH', 'PUT', 'DELETE']) {
      for (const text of forged) {
        const url = new URL(location);
        url.searchParams.set('_state', text);
        const answer = await fetch(method === 'PUT' ? closing(url, UNKNOWN_DIGEST) : url, { method });
        expect([method, text, [400, 404].includes(answer.status)]).toEqual([method, text, true]);
        await errorCode(answer);
      }
    }
    await ask(signing.url, location.href, 204);
  } finally {
    await signing.dispose();
  }
});

/** How often each status was answered. */
const count = (statuses: readonly number[]) => {
  const counts: Record<number, number> = {};
  for (const status of statuses) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
};

test('security 15: of racing creations of one tag exactly one succeeds', async () => {
  for (const viaParameter of [false, true]) {
    for (const tag of ['latest', 'fresh', '__proto__']) {
      const repository = `races/${viaParameter ? 'parameter' : 'path'}`;
      const layer = Buffer.from('race');
      await pushBlob(registry.url, repository, layer);
      await pushImage(registry.url, repository, undefined, 'race');
      const put = async (number: number) => {
        const body = JSON.stringify(imageOf(layer, { annotations: { number: `${tag}-${number}` } }));
        const digest = digestBy('sha256', Buffer.from(body));
        const reference = viaParameter ? `${digest}?tag=${tag}` : tag;
        const headers = { 'content-type': OCI_MANIFEST, 'if-none-match': '*' };
        const path = `/v2/${repository}/manifests/${reference}`;
        return { digest, status: await status(path, { method: 'PUT', headers, body }) };
      };
      const results = await Promise.all(Array.from({ length: 16 }, (_, i) => put(i)));
      expect(count(results.map((result) => result.status))).toEqual({ 201: 1, 412: 15 });
      const winner = results.find((result) => result.status === 201)?.digest ?? '';
      const answer = await ask(registry.url, `/v2/${repository}/manifests/${tag}`, 200);
      expect(answer.headers.get('docker-content-digest')).toBe(winner);
    }
  }
});

test('security 15: of racing updates from one state exactly one succeeds', async () => {
  const layer = Buffer.from('update');
  const first = await pushImage(registry.url, 'races/update', 'latest', 'update');
  const put = async (number: number) => {
    const body = JSON.stringify(imageOf(layer, { annotations: { number: `${number}` } }));
    const headers = { 'content-type': OCI_MANIFEST, 'if-match': `"${first.digest}"` };
    return status('/v2/races/update/manifests/latest', { method: 'PUT', headers, body });
  };
  const results = await Promise.all(Array.from({ length: 16 }, (_, i) => put(i)));
  expect(count(results)).toEqual({ 201: 1, 412: 15 });
});

test('security 15: every tag parameter is held to the rules of a tag, all or none', async () => {
  const { document } = await pushImage(registry.url, 'races/tags', 'latest');
  const { digest } = await pushManifest(registry.url, 'races/tags', undefined, document);
  for (const bad of ['', '.x', '-x', 'a/b', '..', 'a%00', 'a%0d%0ab', 'a'.repeat(129), '%c3%a9']) {
    const path = `/v2/races/tags/manifests/${digest}?tag=good&tag=${bad}`;
    const init = { method: 'PUT', headers: { 'content-type': OCI_MANIFEST }, body: JSON.stringify(document) };
    expect([bad, await status(path, init)]).toEqual([bad, 400]);
    expect(await status('/v2/races/tags/manifests/good')).toBe(404);
  }
});
