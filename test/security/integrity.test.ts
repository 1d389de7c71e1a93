/** What a digest names never changes: not its bytes, and not its type. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { ask, beginUpload, closing, CONFIG_BYTES, digestBy, errorCode, imageOf } from './images.ts';
import { OCI_INDEX, OCI_MANIFEST, pushBlob, pushImage } from './images.ts';

// Only a server that hangs ever meets this limit (milliseconds); a busy machine must not.
setDefaultTimeout(120_000);

let registry: RunningRegistry;
beforeAll(async () => {
  registry = await startEntrepot({ workers: 2 });
});
afterAll(async () => {
  await registry.dispose();
});

const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json';
const TYPES = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

async function put(repository: string, reference: string, body: string, type?: string): Promise<Response> {
  return await fetch(`${registry.url}/v2/${repository}/manifests/${reference}`, {
    method: 'PUT',
    // A body without a type gets one from `fetch`; as bytes it gets none.
    body: Buffer.from(body),
    ...(type === undefined ? {} : { headers: { 'content-type': type } }),
  });
}

test('security 49: documents that could be read in two ways are refused', async () => {
  const layer = Buffer.from('ambiguous');
  await pushImage(registry.url, 'types', 'latest', 'ambiguous');
  const text = JSON.stringify(imageOf(layer));
  const child = { mediaType: OCI_MANIFEST, digest: digestBy('sha256', layer), size: 1 };
  const ambiguous: readonly (readonly [string, string, string])[] = [
    ['another type in the body', text, OCI_INDEX],
    ['another type in the body', text, DOCKER_MANIFEST],
    ['image and index', JSON.stringify(imageOf(layer, { manifests: [child] })), OCI_MANIFEST],
    ['image and empty index', JSON.stringify(imageOf(layer, { manifests: [] })), OCI_MANIFEST],
    ['index and image', JSON.stringify(imageOf(layer, { mediaType: OCI_INDEX, manifests: [] })), OCI_INDEX],
    [
      'both, without a type',
      JSON.stringify(imageOf(layer, { mediaType: undefined, manifests: [] })),
      OCI_MANIFEST,
    ],
    [
      'both, without a type',
      JSON.stringify(imageOf(layer, { mediaType: undefined, manifests: [] })),
      OCI_INDEX,
    ],
    ['Docker without a type', JSON.stringify(imageOf(layer, { mediaType: undefined })), DOCKER_MANIFEST],
    ['a key twice', text.replace('{', '{"schemaVersion":2,'), OCI_MANIFEST],
    ['layers twice', text.replace('{', '{"layers":[],'), OCI_MANIFEST],
    ['layers twice, escaped', text.replace('{', '{"\\u006cayers":[],'), OCI_MANIFEST],
    ['a digest twice', text.replace('"digest"', `"digest":"${child.digest}","digest"`), OCI_MANIFEST],
    ['Layers', text.replace('{', '{"Layers":[],'), OCI_MANIFEST],
    ['Manifests', text.replace('{', '{"Manifests":[],'), OCI_MANIFEST],
    ['mediatype', text.replace('{', `{"mediatype":"${OCI_INDEX}",`), OCI_MANIFEST],
    ['Digest', text.replace('"digest"', `"Digest":"${child.digest}","digest"`), OCI_MANIFEST],
    ['manife\u017ft\u017f', text.replace('{', '{"manife\u017ft\u017f":[],'), OCI_MANIFEST],
    ['a byte order mark', `\ufeff${text}`, OCI_MANIFEST],
    ['two documents', `${text}${text}`, OCI_MANIFEST],
    ['a comment', `${text}//`, OCI_MANIFEST],
    ['a NUL at the end', `${text}\0`, OCI_MANIFEST],
    ['schema 1', '{"schemaVersion":1,"fsLayers":[],"name":"types","tag":"x"}', OCI_MANIFEST],
  ];
  for (const [name, body, type] of ambiguous) {
    const answer = await put('types', 'ambiguous', body, type);
    expect([name, answer.status]).toEqual([name, 400]);
    expect(await errorCode(answer)).toBe('MANIFEST_INVALID');
  }
  for (const type of [
    'application/json',
    'text/html',
    'application/vnd.docker.distribution.manifest.v1+prettyjws',
  ]) {
    expect((await put('types', 'ambiguous', text, type)).status).toBe(400);
  }
  await ask(registry.url, '/v2/types/manifests/ambiguous', 404);
});

test('security 49: a digest has one type for ever', async () => {
  const layer = Buffer.from('one type');
  for (const mediaType of [undefined, OCI_MANIFEST, DOCKER_MANIFEST]) {
    await pushImage(registry.url, 'types/first', undefined, 'one type');
    await pushImage(registry.url, 'types/second', undefined, 'one type');
    const body = JSON.stringify(imageOf(layer, { mediaType }));
    const digest = digestBy('sha256', Buffer.from(body));
    const type = mediaType ?? OCI_MANIFEST;
    expect((await put('types/first', 'latest', body, type)).status).toBe(201);
    for (const repository of ['types/first', 'types/second']) {
      for (const other of TYPES.filter((name) => name !== type)) {
        for (const reference of [digest, 'latest', 'other']) {
          expect([repository, other, (await put(repository, reference, body, other)).status]).toEqual([
            repository,
            other,
            400,
          ]);
        }
      }
    }
    // A type with a parameter, in capitals, or none at all is still the same one.
    for (const same of [`${type}; charset=utf-8`, type.toUpperCase(), undefined]) {
      expect([same, (await put('types/second', 'latest', body, same)).status]).toEqual([same, 201]);
    }
    for (const repository of ['types/first', 'types/second']) {
      for (const accept of [type, '*/*', ...TYPES, 'text/html', '']) {
        const answer = await ask(registry.url, `/v2/${repository}/manifests/${digest}`, 200, {
          headers: { accept },
        });
        expect(answer.headers.get('content-type')).toBe(type);
        expect(answer.headers.get('docker-content-digest')).toBe(digest);
        expect(await answer.text()).toBe(body);
      }
    }
  }
});

test('security 49: a blob is no manifest and a manifest is no blob', async () => {
  const manifest = Buffer.from(
    JSON.stringify(imageOf(Buffer.from('layer'), { annotations: { as: 'blob' } })),
  );
  const digest = await pushBlob(registry.url, 'types/blob', manifest);
  await ask(registry.url, `/v2/types/blob/manifests/${digest}`, 404);
  await ask(registry.url, `/v2/types/blob/manifests/${digest}`, 404, { method: 'HEAD' });
  const image = await pushImage(registry.url, 'types/manifest', 'latest');
  // Clients that know only a digest ask for a blob first: they get the bytes, but no type to act upon.
  const raw = await ask(registry.url, `/v2/types/manifest/blobs/${image.digest}`, [200, 404]);
  if (raw.status === 200) expect(raw.headers.get('content-type')).toBe('application/octet-stream');
  await ask(registry.url, `/v2/types/manifest/blobs/${image.digest}`, 404, { method: 'DELETE' });
  await ask(registry.url, '/v2/types/manifest/manifests/latest', 200);
  // As blob it is served as what blobs are served as.
  const blob = await ask(registry.url, `/v2/types/blob/blobs/${digest}`, 200);
  expect(blob.headers.get('content-type')).toBe('application/octet-stream');
});

test('security 50: what does not have its digest is never reachable', async () => {
  const bytes = randomBytes('verified', 300_000);
  const digest = digestBy('sha256', bytes);
  const flipped = Buffer.from(bytes);
  flipped.writeUInt8(flipped.readUInt8(150_000) ^ 1, 150_000);
  const bodies = [flipped, bytes.subarray(0, -1), Buffer.concat([bytes, Buffer.from('x')]), Buffer.alloc(0)];
  const pieces = [0, 1, 2];
  for (const body of bodies) {
    for (const count of pieces) {
      const location = await beginUpload(registry.url, 'verify');
      const cut = count === 0 ? 0 : Math.floor(body.length / count);
      if (count > 0)
        await ask(registry.url, location.href, 202, { method: 'PATCH', body: body.subarray(0, cut) });
      const init = { method: 'PUT', body: body.subarray(cut) };
      expect(await errorCode(await ask(registry.url, closing(location, digest), 400, init))).toBe(
        'DIGEST_INVALID',
      );
      await ask(registry.url, `/v2/verify/blobs/${digest}`, 404);
      await ask(registry.url, `/v2/verify/blobs/${digestBy('sha256', body)}`, 404);
    }
    const single = `/v2/verify/blobs/uploads/?digest=${digest}`;
    await ask(registry.url, single, 400, { method: 'POST', body });
    await ask(registry.url, `/v2/verify/blobs/${digest}`, 404);
  }
  // The right bytes, in the same pieces, are taken.
  for (const count of pieces) {
    const location = await beginUpload(registry.url, 'verify');
    const cut = count === 0 ? 0 : Math.floor(bytes.length / count);
    if (count > 0)
      await ask(registry.url, location.href, 202, { method: 'PATCH', body: bytes.subarray(0, cut) });
    await ask(registry.url, closing(location, digest), 201, { method: 'PUT', body: bytes.subarray(cut) });
    await ask(registry.url, `/v2/verify/blobs/${digest}`, 202, { method: 'DELETE' });
  }
  const manifest = JSON.stringify(imageOf(CONFIG_BYTES));
  expect((await put('verify', digest, manifest, OCI_MANIFEST)).status).toBe(400);
  await ask(registry.url, `/v2/verify/manifests/${digest}`, 404);
});

test('security 50: two closings of one session give one blob', async () => {
  for (let round = 0; round < 10; round++) {
    const bytes = randomBytes(`closing ${round}`, 200_000);
    const digest = digestBy('sha256', bytes);
    const location = await beginUpload(registry.url, 'verify');
    await ask(registry.url, location.href, 202, { method: 'PATCH', body: bytes.subarray(0, 100_000) });
    const close = async () => {
      const answer = await fetch(closing(location, digest), { method: 'PUT', body: bytes.subarray(100_000) });
      await answer.arrayBuffer();
      return answer.status;
    };
    const statuses = await Promise.all([close(), close(), close()]);
    expect(statuses.filter((status) => status === 201).length).toBe(1);
    for (const status of statuses) expect([201, 400, 404, 409, 416]).toContain(status);
    const blob = await ask(registry.url, `/v2/verify/blobs/${digest}`, 200);
    expect(digestBy('sha256', Buffer.from(await blob.arrayBuffer()))).toBe(digest);
  }
});

test('security 50: two writers of one session never mix their bytes', async () => {
  for (let round = 0; round < 10; round++) {
    const location = await beginUpload(registry.url, 'verify');
    const writers = ['a', 'b', 'c'].map((name) => randomBytes(`${name} ${round}`, 300_000));
    const patch = async (body: Buffer<ArrayBuffer>) => {
      const headers = { 'content-range': `0-${body.length - 1}` };
      const answer = await fetch(location, { method: 'PATCH', headers, body });
      await answer.arrayBuffer();
      return answer.status;
    };
    const statuses = await Promise.all(writers.map((body) => patch(Buffer.from(body))));
    const winner = writers[statuses.indexOf(202)] ?? Buffer.alloc(0);
    expect(statuses.filter((status) => status === 202).length).toBe(1);
    for (const status of statuses) expect([202, 409, 416]).toContain(status);
    expect((await ask(registry.url, location.href, 204)).headers.get('range')).toBe('0-299999');
    await ask(registry.url, closing(location, digestBy('sha256', winner)), 201, { method: 'PUT' });
    const blob = await ask(registry.url, `/v2/verify/blobs/${digestBy('sha256', winner)}`, 200);
    expect(Buffer.from(await blob.arrayBuffer()).equals(winner)).toBe(true);
  }
});

test('security 50: after a crash nothing is reachable that was not acknowledged', async () => {
  const crashing = await startEntrepot({ workers: 1 });
  const kept = randomBytes('kept', 100_000);
  const lost = randomBytes('lost', 100_000);
  await pushBlob(crashing.url, 'crash', kept);
  const location = await beginUpload(crashing.url, 'crash');
  await ask(crashing.url, location.href, 202, { method: 'PATCH', body: lost });
  await crashing.kill9();
  const again = await startEntrepot({ dataDirectory: crashing.dataDirectory });
  try {
    await ask(again.url, `/v2/crash/blobs/${digestBy('sha256', lost)}`, 404);
    const blob = await ask(again.url, `/v2/crash/blobs/${digestBy('sha256', kept)}`, 200);
    expect(Buffer.from(await blob.arrayBuffer()).equals(kept)).toBe(true);
    // What was acknowledged of the session is there still, and it ends only with the right digest.
    const resumed = new URL(`${location.pathname}${location.search}`, again.url);
    expect((await ask(again.url, resumed.href, 204)).headers.get('range')).toBe('0-99999');
    await ask(again.url, closing(resumed, digestBy('sha256', kept)), 400, { method: 'PUT' });
    await ask(again.url, `/v2/crash/blobs/${digestBy('sha256', lost)}`, 404);
  } finally {
    await again.dispose();
    await crashing.dispose();
  }
});
