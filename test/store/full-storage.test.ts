/** A storage that takes nothing more: all that only deletes works, and tells what it could not write. */
import { writeFile } from 'node:fs/promises';
import { expect, test } from 'bun:test';
import { runJob } from '../../src/app-upkeep.ts';
import type { Config } from '../../src/config/config.ts';
import { loadConfig } from '../../src/config/load.ts';
import { type StorageDriver, StorageFailure } from '../../src/drivers/driver.ts';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import { blobKey, layerLinkKey, tagLockKey } from '../../src/store/layout.ts';
import { withLocks } from '../../src/store/locks.ts';
import { Objects } from '../../src/store/objects.ts';
import { deleteTagWhere } from '../../src/store/tags.ts';
import type { JobItem } from '../../src/upkeep/job.ts';
import { quiet, quotaCase } from '../policy/quota-case.ts';
import { failureOf } from '../harness/failure-of.ts';
import { createWorkspace } from '../harness/workspace.ts';
import { pushBlob, pushImage } from './content.ts';
import { nameOf, newCase, refusalOf, tagOf } from './subject.ts';
import { watched } from './watched-driver.ts';

const WRITES = new Set(['write', 'commit', 'openAppend']);
const NAME = nameOf('lib/app');

/** A driver that can be filled. */
function fillable(inner: StorageDriver = new MemoryDriver()) {
  let isFull = false;
  const driver = watched(inner, {
    before: (method, key) => {
      if (isFull && WRITES.has(method)) throw new StorageFailure(`${key}: the disk is full`, 'ENOSPC');
    },
  });
  return { driver, inner, fill: (full = true) => void (isFull = full) };
}

test('tags, patterns, manifests and repositories go', async () => {
  const { driver, fill } = fillable();
  const { repository, another } = newCase(driver);
  const app = repository();
  const options = { unlessReferenced: true, keeps: () => undefined };
  const subject = await pushImage(app, []);
  const image = await pushImage(app, ['v1', 'v2', 'v3', 'dev-1', 'dev-2'], { subject });
  await pushImage(repository('lib/whole'), ['v1', 'v2'], { layers: ['layer'] });
  const { digest } = await pushBlob(app, 'unneeded');
  fill();
  await app.tags.delete(tagOf('v1'));
  const { tags } = await app.deleteTags((tag) => tag.startsWith('dev-'), { limit: 10 });
  expect(tags.map(({ tag, kept }) => [tag, kept])).toEqual([
    [tagOf('dev-1'), undefined],
    [tagOf('dev-2'), undefined],
  ]);
  expect(await app.manifests.delete(image.digest, options)).toEqual([tagOf('v2'), tagOf('v3')]);
  await app.blobs.delete(digest, options);
  expect(await repository('lib/whole').delete(options)).toMatchObject({ tags: 2, manifests: 1, blobs: 2 });
  const fresh = another();
  expect(await refusalOf(fresh.repository(nameOf('lib/whole')).tags.list({ limit: 5 }))).toBe('NAME_UNKNOWN');
  expect(await refusalOf(fresh.repository(NAME).manifests.get(image.digest))).toBe('MANIFEST_UNKNOWN');
  await fresh.repository(NAME).delete(options);
  // What does not free is refused as ever.
  expect(String(await failureOf(pushBlob(app, 'new')))).toContain('the disk is full');
});

test('a lock that somebody holds is waited for, one that a crash has left is not', async () => {
  let isLongAgo = true;
  const { driver, inner, fill } = fillable(new MemoryDriver(() => (isLongAgo ? 0 : Date.now())));
  const { repository } = newCase(driver);
  await pushImage(repository(), ['held', 'left']);
  const key = tagLockKey(NAME, tagOf('held'));
  await driver.write(tagLockKey(NAME, tagOf('left')), Buffer.from('another_host-1-1-00'));
  isLongAgo = false;
  const order: string[] = [];
  let deletion: Promise<unknown> = Promise.resolve();
  await withLocks(new Objects(inner), [key], async () => {
    fill();
    const asked = Promise.withResolvers<undefined>();
    const looking = watched(driver, {
      before: (method, written) => {
        if (method === 'write' && written === key) asked.resolve(undefined);
      },
    });
    deletion = deleteTagWhere(new Objects(looking), NAME, tagOf('held'), () => true).then(() =>
      order.push('deleted'),
    );
    await asked.promise;
    for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setTimeout(resolve, 1));
    order.push('let go');
  });
  await deletion;
  expect(order).toEqual(['let go', 'deleted']);
  expect(await deleteTagWhere(new Objects(driver), NAME, tagOf('left'), () => true)).toBe(true);
});

/** Runs a job as the command does on a storage that no server uses. */
async function runOn(
  driver: StorageDriver,
  config: Config,
  job: Parameters<typeof runJob>[0],
  asked: object,
) {
  const items: JobItem[] = [];
  const outcome = await runJob(job, asked, {
    config,
    objects: new Objects(driver),
    log: quiet,
    signal: new AbortController().signal,
    exclusive: true,
    onEvent: (event) => void (event.kind === 'items' && items.push(...event.items)),
  });
  return { outcome, items };
}

test('the collector frees what nobody needs and tells which quota it could not count; retention and scrub go on', async () => {
  const workspace = await createWorkspace('full-jobs');
  const file = workspace.join('config.yml');
  const text = [
    'version: 0.1',
    `storage: {filesystem: {rootdirectory: ${workspace.join('data')}}}`,
    'quotas: [{repositories: q/*, bytes: 6kB}]',
    'retention: {enabled: false, rules: [{repositories: q/b, keep: [{newest: 1}]}]}',
  ];
  await writeFile(file, text.join('\n'));
  const { config } = await loadConfig({ file, env: {} });
  await workspace.remove();
  const account = 'q/*';
  const { driver, fill } = fillable();
  const { registry, book, truth, recount } = quotaCase(driver, [{ repositories: account, bytes: 6000 }]);
  const a = registry.repository(nameOf('q/a'));
  const b = registry.repository(nameOf('q/b'));
  await pushImage(a, ['v1']);
  const { digest } = await pushBlob(a, 'nobody needs it');
  await pushImage(b, ['old', 'new'], { layers: ['layer'] });
  await driver.write(layerLinkKey(nameOf('q/b'), digest), Buffer.from('sha256:1'));
  const before = await book(account);
  fill();
  const kept = await runOn(driver, config, 'retention', { dryRun: false });
  expect(kept.outcome).toMatchObject({ kind: 'done', summary: { deleted: 1 } });
  // The repair of a link needs room: it is told, and what comes after it is looked at.
  for (const repair of [false, true]) {
    const scrubbed = await runOn(driver, config, 'scrub', { repair });
    expect(scrubbed.outcome).toMatchObject({
      kind: 'done',
      summary: { complete: true, found: 1, repaired: 0, problems: repair ? 2 : 1 },
    });
    expect(scrubbed.items.map(({ what }) => what)).toEqual([
      'damaged link',
      'not remembered',
      ...(repair ? ['problem'] : []),
    ]);
  }
  await driver.delete([layerLinkKey(nameOf('q/b'), digest)]);
  const collected = await runOn(driver, config, 'gc', { graceMs: 0 });
  expect(collected.outcome).toMatchObject({ kind: 'done', summary: { blobs: 1, problems: 1 } });
  expect(collected.items).toContainEqual({
    what: 'problem',
    quota: account,
    why: expect.stringContaining('it is counted when there is room'),
  });
  expect(await driver.stat(blobKey(digest)).catch(() => undefined)).toBeUndefined();
  expect(await book(account)).toEqual(before);
  fill(false);
  await recount(account);
  expect(await book(account)).toEqual({ ...(await truth(account)), reserved: 0 });
  expect((await book(account)).bytes).toBe(before.bytes - 'nobody needs it'.length);
});
