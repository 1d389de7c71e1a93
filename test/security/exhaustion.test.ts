/** Requests that try to make the registry hold, allocate or compute more than they are worth. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import {
  ask,
  digestBy,
  errorCode,
  imageOf,
  OCI_MANIFEST,
  pushBlob,
  pushImage,
  residentBytes,
} from './images.ts';
import { RawConnection, rawRequest } from './raw-http.ts';

// Only a server that hangs ever meets this limit (milliseconds); a busy machine must not.
setDefaultTimeout(120_000);

const MIB = 1024 * 1024;
/** A server whose memory grew with what is sent would grow by several times this. */
const FLAT = 200 * MIB;

let registry: RunningRegistry;
beforeAll(async () => {
  registry = await startEntrepot({ workers: 1 });
});
afterAll(async () => {
  await registry.dispose();
}, 300_000);

/**
 * Sends a body without an end until the server has answered or closed, and then `more` bytes.
 * @returns the status (0 when it closed without an answer), and how many bytes were written before it came
 */
async function sendEndless(request: string, more = 0): Promise<{ status: number; sent: number }> {
  const connection = await RawConnection.open(registry.host);
  const chunk = Buffer.from(`10000\r\n${'x'.repeat(0x10000)}\r\n`);
  const write = async () => {
    await connection.write(chunk);
    // A socket that takes everything at once would keep the answer from being read.
    await setImmediate();
  };
  let sent = 0;
  await connection.write(`${request}\r\nHost: ${registry.host}\r\nTransfer-Encoding: chunked\r\n\r\n`);
  for (; !connection.closed && !connection.text().includes('\r\n\r\n') && sent < 256 * MIB; sent += 0x10000) {
    await write();
  }
  const [answer] = await connection.answers(1);
  for (let extra = 0; !connection.closed && extra < more; extra += 0x10000) await write();
  connection.close();
  return { status: answer?.status ?? 0, sent };
}

test('security 1: a manifest body is capped while it streams in', async () => {
  await pushImage(registry.url, 'cap/warm', 'latest');
  const before = await residentBytes(registry.pid);
  const body = Buffer.alloc(5 * MIB, 0x20);
  for (let round = 0; round < 10; round++) {
    const answer = await rawRequest(
      registry.host,
      'PUT /v2/cap/manifests/latest HTTP/1.1',
      [`Content-Type: ${OCI_MANIFEST}`],
      body,
    );
    expect(answer.status).toBe(413);
    expect(answer.body).toContain('"MANIFEST_INVALID"');
  }
  const put = `PUT /v2/cap/manifests/latest HTTP/1.1\r\nContent-Type: ${OCI_MANIFEST}`;
  for (const { status, sent } of await Promise.all(Array.from({ length: 10 }, () => sendEndless(put)))) {
    expect([413, 0]).toContain(status);
    expect(sent).toBeLessThan(64 * MIB);
  }
  expect((await residentBytes(registry.pid)) - before).toBeLessThan(FLAT);
});

test('security 1: a manifest of exactly 4 MiB is taken and one byte more is not', async () => {
  const layer = Buffer.from('layer');
  await pushImage(registry.url, 'cap/limit', 'small', 'layer');
  const put = async (size: number) => {
    const empty = JSON.stringify(imageOf(layer, { annotations: { a: '' } })).length;
    const document = imageOf(layer, { annotations: { a: 'x'.repeat(size - empty) } });
    const init = { method: 'PUT', headers: { 'content-type': OCI_MANIFEST }, body: JSON.stringify(document) };
    return (await fetch(`${registry.url}/v2/cap/limit/manifests/big`, init)).status;
  };
  expect(await put(4 * MIB)).toBe(201);
  expect(await put(4 * MIB + 1)).toBe(413);
});

test('security 2: no list allocates by n, and a page is clamped with a Link to the next', async () => {
  const image = await pushImage(registry.url, 'pages', 'latest');
  const hex = image.digest.slice('sha256:'.length);
  const repositories = join(registry.dataDirectory, 'docker/registry/v2/repositories');
  const link = async (...path: string[]) => {
    const folder = join(repositories, ...path);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'link'), image.digest);
  };
  for (let i = 0; i < 1100; i++) {
    await link('pages/_manifests/tags', `t${i}`, 'current');
    await link(`many/r${i}/_layers/sha256`, image.layer.slice('sha256:'.length));
    await link(`many/r${i}/_manifests/revisions/sha256`, hex);
    await link(`many/r${i}/_manifests/tags/latest/current`);
  }
  const lists = ['/v2/_catalog', '/v2/pages/tags/list', `/v2/pages/referrers/${image.digest}`];
  for (const path of lists) {
    for (const n of ['2147483648', '1000000000', '9007199254740991', '4294967297']) {
      const answer = await ask(registry.url, `${path}?n=${n}`, 200);
      const list: { tags?: string[]; repositories?: string[]; manifests?: [] } = JSON.parse(
        await answer.text(),
      );
      const items = list.tags ?? list.repositories ?? list.manifests ?? [];
      expect(items.length).toBeLessThanOrEqual(1000);
      if (list.manifests === undefined) {
        expect(items.length).toBeGreaterThan(0);
        expect(answer.headers.get('link')).toMatch(/^<[^>]+>; ?rel="next"$/);
      }
    }
    for (const n of ['-1', 'NaN', '1e99', '1.5', 'Infinity', '', '%00', '0x10', '+1', ' 1']) {
      const answer = await fetch(`${registry.url}${path}?n=${n}`);
      expect([path, n, answer.status]).toEqual([path, n, 400]);
      await errorCode(answer);
    }
  }
});

test('security 3: nothing is allocated by a claimed size', async () => {
  const layer = Buffer.from('claimed');
  await pushImage(registry.url, 'claims', 'latest', 'claimed');
  const before = await residentBytes(registry.pid);
  for (const [size, statuses] of [
    ['9007199254740992', [400]],
    ['18446744073709551616', [400]],
    ['1e15', [400]],
    // Whether a size that is merely wrong is refused is no question of safety.
    ['9007199254740991', [201, 400]],
  ] as const) {
    const body = JSON.stringify(imageOf(layer)).replace(`"size":${layer.length}`, `"size":${size}`);
    const init = { method: 'PUT', headers: { 'content-type': OCI_MANIFEST }, body };
    const answer = await fetch(`${registry.url}/v2/claims/manifests/claimed`, init);
    expect(statuses.some((status) => status === answer.status)).toBe(true);
    if (answer.status === 400) expect(await errorCode(answer)).toBe('MANIFEST_INVALID');
  }
  const upload = await ask(registry.url, '/v2/claims/blobs/uploads/', 202, { method: 'POST' });
  const location = new URL(upload.headers.get('location') ?? '', registry.url);
  const connection = await RawConnection.open(registry.host);
  await connection.write(
    `PATCH ${location.pathname}${location.search} HTTP/1.1\r\nHost: ${registry.host}\r\n` +
      'Content-Length: 9007199254740991\r\n\r\nabc',
  );
  // The server answers others while it waits for the rest, and the connection's end is the end of it.
  await ask(registry.url, '/v2/', 200);
  connection.close();
  expect((await residentBytes(registry.pid)) - before).toBeLessThan(FLAT);
});

test('security 4: a body that no route asked for is answered before its end, and never gathered', async () => {
  const before = await residentBytes(registry.pid);
  const digest = digestBy('sha256', randomBytes('none', 8));
  const requests = [
    'POST /v2/ HTTP/1.1',
    'POST /v2/_catalog HTTP/1.1',
    'PUT /v2/none/tags/list HTTP/1.1',
    'DELETE /v2/none/manifests/latest HTTP/1.1',
    `DELETE /v2/none/blobs/${digest} HTTP/1.1`,
    'POST /token HTTP/1.1',
    'PUT /v2/None/manifests/latest HTTP/1.1',
    'PATCH /v2/none/blobs/uploads/00000000-0000-4000-8000-000000000000 HTTP/1.1',
  ];
  for (const request of requests) {
    const { status, sent } = await sendEndless(request, 32 * MIB);
    expect([request, status === 0 || (status >= 400 && status < 500)]).toEqual([request, true]);
    expect(sent).toBeLessThan(64 * MIB);
  }
  expect((await residentBytes(registry.pid)) - before).toBeLessThan(FLAT);
});

test('security 5: upload sessions that nobody closes cost no memory', async () => {
  const post = async () => {
    const answer = await fetch(`${registry.url}/v2/sessions/blobs/uploads/`, { method: 'POST' });
    await answer.arrayBuffer();
    // A limit on open sessions is as good an answer as a session.
    expect([202, 429]).toContain(answer.status);
  };
  const rounds = async (count: number) => {
    for (let i = 0; i < count; i++) await Promise.all(Array.from({ length: 20 }, post));
  };
  await rounds(50);
  const before = await residentBytes(registry.pid);
  await rounds(450);
  expect((await residentBytes(registry.pid)) - before).toBeLessThan(64 * MIB);
  await ask(registry.url, '/v2/', 200);
}, 300_000);

test('security 6: no number of ranges makes more than one answer', async () => {
  const blob = randomBytes('ranges', 100_000);
  const digest = await pushBlob(registry.url, 'ranges', blob);
  const path = `${registry.url}/v2/ranges/blobs/${digest}`;
  const many = Array.from({ length: 1000 }, (_, i) => `${i}-${i}`).join(',');
  const overlapping = Array.from({ length: 1000 }, () => '0-').join(',');
  for (const range of [
    `bytes=${many}`,
    `bytes=${overlapping}`,
    'bytes=0-1,5-6',
    'bytes=-1,-2,-3',
    'bytes=0-,0-',
  ]) {
    const answer = await fetch(path, { headers: { range } });
    expect([200, 206, 416]).toContain(answer.status);
    expect(answer.headers.get('content-type') ?? '').not.toContain('multipart');
    expect((await answer.arrayBuffer()).byteLength).toBeLessThanOrEqual(blob.length);
  }
  // As long as a header can be: it is read or refused, and the next request is answered.
  const long = Array.from({ length: 3000 }, (_, i) => `${i}-${i}`).join(',');
  const answer = await rawRequest(registry.host, `GET ${new URL(path).pathname} HTTP/1.1`, [
    `Range: bytes=${long}`,
  ]);
  expect([200, 206, 416, 431]).toContain(answer.status);
  await ask(registry.url, '/v2/', 200);
});

test('security 8: deep and huge JSON is refused quickly enough to answer others', async () => {
  const layers = Array.from({ length: 10_001 }, () => imageOf(Buffer.from('x'))['config']);
  const bodies = [
    '['.repeat(4 * MIB),
    '['.repeat(2 * MIB) + ']'.repeat(2 * MIB),
    '{"a":'.repeat(800_000),
    `{"layers":[${'[],'.repeat(1_390_000)}0]}`,
    `{${Array.from({ length: 300_000 }, (_, i) => `"k${i}":0`).join(',')}}`,
    JSON.stringify(imageOf(Buffer.from('x'), { layers })),
    JSON.stringify({ schemaVersion: 2, config: {}, annotations: { '': '['.repeat(1000) } }),
  ];
  for (const body of bodies) {
    const init = { method: 'PUT', headers: { 'content-type': OCI_MANIFEST }, body };
    const [answer] = await Promise.all([
      fetch(`${registry.url}/v2/deep/manifests/latest`, init),
      ask(registry.url, '/v2/', 200),
    ]);
    expect(answer.status).toBe(400);
    expect(await errorCode(answer)).toBe('MANIFEST_INVALID');
  }
});
