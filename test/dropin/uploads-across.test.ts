/** An upload that was begun on one server is finished on the other: they share `http.secret` and the folder. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { randomBytes } from '../harness/random-bytes.ts';
import { ask, closing, digestBy, locationOf, verifyBlob } from '../harness/registry-client.ts';
import { createOneFolder, type OneFolder } from './one-folder.ts';

let folder: OneFolder;

beforeAll(async () => {
  folder = await createOneFolder('uploads');
});

afterAll(async () => {
  await folder.close();
}, 300_000);

const ways = [
  ['docker-registry', 'Entrepot'],
  ['Entrepot', 'docker-registry'],
] as const;

describe.each(ways)('from %s to %s', (from, to) => {
  const open = async (which: string) => {
    await (which === 'Entrepot' ? folder.openWithEntrepot() : folder.openWithDockerRegistry());
  };
  const repository = from === 'Entrepot' ? 'uploads/ours' : 'uploads/theirs';

  /** Begins an upload, sends the pieces by PATCH, and returns where it goes on. */
  async function begin(pieces: readonly Uint8Array<ArrayBuffer>[]): Promise<URL> {
    let answer = await ask(folder.url, `/v2/${repository}/blobs/uploads/`, 202, { method: 'POST' });
    for (const body of pieces) {
      answer = await ask(folder.url, locationOf(answer).href, 202, { method: 'PATCH', body });
    }
    return locationOf(answer);
  }

  test('one without a byte yet', async () => {
    await open(from);
    const location = await begin([]);
    await open(to);
    const bytes = randomBytes(`${from}-0`, 10_000);
    const digest = digestBy('sha256', bytes);
    await ask(folder.url, closing(location, digest), 201, { method: 'PUT', body: bytes });
    await verifyBlob(folder.url, repository, { digest, size: bytes.length });
  }, 300_000);

  test('one with a piece, that goes on with another', async () => {
    const bytes = randomBytes(`${from}-1`, 3_000_000);
    await open(from);
    const location = await begin([bytes.subarray(0, 1_234_567)]);
    await open(to);
    const status = await ask(folder.url, location.href, 204);
    expect(status.headers.get('range')).toBe('0-1234566');
    const patched = await ask(folder.url, location.href, 202, {
      method: 'PATCH',
      body: bytes.subarray(1_234_567, 2_000_000),
    });
    const digest = digestBy('sha256', bytes);
    await ask(folder.url, closing(locationOf(patched), digest), 201, {
      method: 'PUT',
      body: bytes.subarray(2_000_000),
    });
    await verifyBlob(folder.url, repository, { digest, size: bytes.length });
  }, 300_000);

  test('one with all of its bytes, that is only to be closed', async () => {
    const bytes = randomBytes(`${from}-2`, 700_000);
    await open(from);
    const location = await begin([bytes.subarray(0, 300_000), bytes.subarray(300_000)]);
    await open(to);
    const digest = digestBy('sha256', bytes);
    await ask(folder.url, closing(location, digest), 201, { method: 'PUT' });
    await verifyBlob(folder.url, repository, { digest, size: bytes.length });
  }, 300_000);

  test('one that is closed with a wrong digest, which is refused', async () => {
    await open(from);
    const location = await begin([randomBytes(`${from}-3`, 1000)]);
    await open(to);
    const digest = digestBy('sha256', Buffer.from('something else'));
    await ask(folder.url, closing(location, digest), 400, { method: 'PUT' });
    await ask(folder.url, `/v2/${repository}/blobs/${digest}`, 404, { method: 'HEAD' });
  }, 300_000);

  test('one that is cancelled', async () => {
    await open(from);
    const location = await begin([randomBytes(`${from}-4`, 1000)]);
    await open(to);
    await ask(folder.url, location.href, 204, { method: 'DELETE' });
    await ask(folder.url, location.href, 404);
  }, 300_000);
});
