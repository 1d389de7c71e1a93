/** Uploads that nobody will close do not stay for ever. */
import { readdir } from 'node:fs/promises';
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { eventually } from '../harness/waiting.ts';
import { type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { ask, beginUpload, pushImage } from './images.ts';
import { RawConnection } from './raw-http.ts';

// Only a server that hangs ever meets this limit (milliseconds); a busy machine must not.
setDefaultTimeout(120_000);

let registry: RunningRegistry;
beforeAll(async () => {
  const uploadpurging = { enabled: true, age: '1s', interval: '1s', dryrun: false };
  registry = await startEntrepot({ workers: 1, config: { storage: { maintenance: { uploadpurging } } } });
});
afterAll(async () => {
  await registry.dispose();
});

async function leftovers(): Promise<string[]> {
  const found = await readdir(registry.dataDirectory, { recursive: true });
  return found.filter((path) => /_uploads\/./.test(path));
}

test('security 5: a cancelled upload leaves no file at once', async () => {
  const location = await beginUpload(registry.url, 'expiry/cancelled');
  await ask(registry.url, location.href, 202, { method: 'PATCH', body: 'some bytes' });
  await ask(registry.url, location.href, [204, 404], { method: 'DELETE' });
  expect((await leftovers()).filter((path) => path.includes('cancelled'))).toEqual([]);
});

test('security 5: an upload that was broken off leaves no file once it has expired', async () => {
  const { layer } = await pushImage(registry.url, 'expiry/broken', 'latest');
  const location = await beginUpload(registry.url, 'expiry/broken');
  const connection = await RawConnection.open(registry.host);
  await connection.write(
    `PATCH ${location.pathname}${location.search} HTTP/1.1\r\nHost: ${registry.host}\r\n` +
      `Content-Length: 1000000\r\n\r\n${'x'.repeat(300_000)}`,
  );
  connection.close();
  await beginUpload(registry.url, 'expiry/idle');
  await eventually('nothing', leftovers, (left) => left.length === 0);
  await ask(registry.url, location.href, 404);
  // Nothing else went with it.
  await ask(registry.url, `/v2/expiry/broken/blobs/${layer}`, 200);
  await ask(registry.url, '/v2/expiry/broken/manifests/latest', 200);
}, 300_000);
