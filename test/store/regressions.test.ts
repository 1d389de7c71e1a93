/** One test a bug that somebody found by attacking the store. */
import { expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import { parseDigest } from '../../src/oci/digest.ts';
import { parseRepositoryName } from '../../src/oci/name.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { uploadPrefix } from '../../src/store/layout.ts';

const NAME = parseRepositoryName('lib/app');
const RULES = { enabled: true, requireChild: () => true, allowUrl: () => true };

function bodyOf(bytes: Uint8Array): ReadableStream<Uint8Array> {
  return new Blob([new Uint8Array(bytes)]).stream();
}

test('a checkpoint that a crash left without its bytes does not vouch for other bytes of the same length', async () => {
  const driver = new MemoryDriver();
  const good = Buffer.from('good bytes');
  const evil = Buffer.from('evil bytes');
  const digest = parseDigest(`sha256:${createHash('sha256').update(good).digest('hex')}`);
  const first = new LocalRegistry(driver, RULES).repository(NAME).uploads;
  const { id } = await first.start();
  await first.append(id, { body: bodyOf(good) });
  await driver.delete([`${uploadPrefix(NAME, id)}data`]);

  const { uploads, blobs } = new LocalRegistry(driver, RULES).repository(NAME);
  // Refused for its length, so that no checkpoint of its own replaces the old one; what came stays.
  await uploads.append(id, { body: bodyOf(evil), size: evil.length + 1 }).catch(() => undefined);
  const finished = await uploads.finish(id, digest).then(
    () => 'finished',
    (error: unknown) => (error as { code?: string }).code,
  );
  expect(finished).toBe('DIGEST_INVALID');
  expect(
    await blobs.stat(digest).then(
      () => 'there',
      () => 'not there',
    ),
  ).toBe('not there');
});
