/** What counts after something was deleted or collected, and where something cannot be read. */
import { afterAll, expect, test } from 'bun:test';
import { symlink, unlink, writeFile } from 'node:fs/promises';
import { runJob } from '../../src/app-upkeep.ts';
import { deleteContent } from '../../src/cli/delete.ts';
import { printUsage } from '../../src/cli/usage.ts';
import type { Config } from '../../src/config/config.ts';
import { loadConfig } from '../../src/config/load.ts';
import { type StorageDriver, StorageFailure } from '../../src/drivers/driver.ts';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import { RegistryError } from '../../src/oci/errors.ts';
import { QuotaRules } from '../../src/oci/quota.ts';
import { blobKey, DRIVER_FOLDER, revisionLinkKey } from '../../src/store/layout.ts';
import { Objects } from '../../src/store/objects.ts';
import { countingKey } from '../../src/store/usage-books.ts';
import { AccountCounting } from '../../src/store/usage-counting.ts';
import { StoredUsageLedger } from '../../src/store/usage-ledger.ts';
import { DigestSet } from '../../src/upkeep/digest-set.ts';
import { withLease } from '../../src/store/locks.ts';
import { usage } from '../../src/upkeep/usage.ts';
import { captured } from '../cli/captured-io.ts';
import { failureOf } from '../harness/failure-of.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { pushBlob, pushImage } from '../store/content.ts';
import { nameOf, refusalOf, tagOf } from '../store/subject.ts';
import { watched } from '../store/watched-driver.ts';
import { contextOf, quiet, quotaCase } from './quota-case.ts';

const ACCOUNT = 'q/*';
const RULES = [{ repositories: ACCOUNT, bytes: 6000, maxRepositories: 2 }];
const A = nameOf('q/a');
const B = nameOf('q/b');
const C = nameOf('q/c');

const workspaces: Workspace[] = [];
afterAll(async () => {
  for (const workspace of workspaces) await workspace.remove();
});

async function configWith(quotas: string): Promise<Config> {
  const workspace = await createWorkspace('quota-config');
  workspaces.push(workspace);
  const file = workspace.join('config.yml');
  await writeFile(
    file,
    `version: 0.1\nstorage: {filesystem: {rootdirectory: ${workspace.join('data')}}, delete: {enabled: true}}\nquotas: ${quotas}\n`,
  );
  return (await loadConfig({ file, env: {} })).config;
}

/** Runs a job as the command does on a storage that no server uses. */
async function run(driver: StorageDriver, job: 'gc' | 'scrub', asked: object): Promise<void> {
  const config = await configWith('[{repositories: q/*, bytes: 6kB, max_repositories: 2}]');
  const objects = new Objects(driver);
  const { signal } = new AbortController();
  const options = { config, objects, log: quiet, signal, exclusive: true, onEvent: () => undefined };
  expect(await runJob(job, asked, options)).toMatchObject({ kind: 'done' });
}

test('what was pushed a moment ago and is collected counts no more, and counts again when it is pushed again', async () => {
  const { registry, driver, book, truth } = quotaCase(new MemoryDriver(), RULES);
  const old = 'o'.repeat(900);
  await pushBlob(registry.repository(A), old);
  const image = await pushImage(registry.repository(B), [], { layers: ['l'.repeat(100)] });
  await registry.repository(B).manifests.delete(image.digest);
  await run(driver, 'gc', { graceMs: 0 });
  expect(await book(ACCOUNT)).toEqual({ bytes: 0, repositories: 0, reserved: 0 });
  await pushBlob(registry.repository(A), 'n'.repeat(5100));
  expect(await refusalOf(pushBlob(registry.repository(A), 'x'.repeat(901)))).toBe('DENIED 413');
  await pushBlob(registry.repository(A), old);
  expect(await book(ACCOUNT)).toEqual({ ...(await truth(ACCOUNT)), reserved: 0 });
  expect(await book(ACCOUNT)).toMatchObject({ bytes: 6000 });
});

test('damaged bytes that a scrub puts aside count no more', async () => {
  const { registry, driver, book, truth } = quotaCase(new MemoryDriver(), RULES);
  const { digest } = await pushBlob(registry.repository(A), 'right');
  await pushImage(registry.repository(A), ['v1']);
  const before = (await book(ACCOUNT)).bytes;
  await driver.write(blobKey(digest), Buffer.from('wrong'));
  await run(driver, 'scrub', { repair: true });
  expect(await book(ACCOUNT)).toEqual({ bytes: before - 5, repositories: 1, reserved: 0 });
  expect(await truth(ACCOUNT)).toEqual({ bytes: before - 5, repositories: 1 });
});

test('a count that others are at is waited for by who has just collected', async () => {
  let onAsked: () => void = () => undefined;
  const driver = watched(new MemoryDriver(), {
    before: (method, key) => {
      if (method === 'write' && key === countingKey(ACCOUNT)) onAsked();
    },
  });
  const { registry, inner, objects, book, truth } = quotaCase(driver, RULES);
  const { digest } = await pushBlob(registry.repository(A), 'gone');
  await pushBlob(registry.repository(A), 'stays');
  const counted = { rules: new QuotaRules(RULES), isOwn: () => true };
  let counting: Promise<unknown> = Promise.resolve();
  await withLease(objects, countingKey(ACCOUNT), async () => {
    await inner.repository(A).blobs.delete(digest);
    const asked = new Promise<void>((resolve) => {
      onAsked = resolve;
    });
    counting = usage(contextOf(objects), { ...counted, update: true, quotasOnly: true });
    await asked;
    await new Promise((resolve) => setImmediate(resolve));
    expect(await book(ACCOUNT)).toMatchObject({ bytes: 9 });
  });
  await counting;
  expect(await book(ACCOUNT)).toEqual({ ...(await truth(ACCOUNT)), reserved: 0 });
});

test('what is deleted before it is counted does not count, whoever has seen it', async () => {
  const { objects, inner, book } = quotaCase(new MemoryDriver(), RULES);
  const { digest, size } = await pushBlob(inner.repository(A), 'seen');
  await inner.repository(A).blobs.delete(digest);
  const quota = { account: ACCOUNT, namespace: 'q' };
  const counting = new AccountCounting(objects, quota, () => new DigestSet());
  await counting.begin();
  await counting.noteContent(A, digest, size);
  expect(await counting.end(true, new AbortController().signal)).toEqual({ bytes: 0, repositories: 0 });
  await new StoredUsageLedger(objects).settle([quota], { key: 'push', repository: A, digest, size });
  expect(await book(ACCOUNT)).toEqual({ bytes: 0, repositories: 0, reserved: 0 });
});

test('deleting the last manifest, or a whole repository, makes room at once; a dry run, and what others share, do not', async () => {
  const { registry, another, book, truth, settled } = quotaCase(new MemoryDriver(), RULES);
  const at = (name: typeof A) => registry.repository(name);
  const layers = ['1', '2', '3', '4', '5'].map((digit) => digit.repeat(200));
  await pushImage(at(A), ['v1'], { layers });
  const image = await pushImage(at(B), ['v1', 'v2'], { layers: layers.slice(0, 1) });
  const tooMany = async () => refusalOf(pushImage(another().repository(C), ['v1'], { config: '[]' }));
  const both = await book(ACCOUNT);
  expect(both.repositories).toBe(2);
  expect(await tooMany()).toBe('DENIED');
  await at(A).delete({ dryRun: true });
  expect(await book(ACCOUNT)).toEqual(both);
  // Tags alone are no bytes.
  await at(B).deleteTags(() => true, { limit: 10 });
  expect(await book(ACCOUNT)).toEqual(both);
  await at(A).delete();
  expect(await book(ACCOUNT)).toEqual({ bytes: 200 + 2 + image.size, repositories: 1, reserved: 0 });
  expect(await tooMany()).toStartWith('done');
  await at(C).delete();
  await at(B).manifests.delete(image.digest);
  expect(await book(ACCOUNT)).toEqual({ bytes: 202, repositories: 0, reserved: 0 });
  await at(B).delete();
  expect(await book(ACCOUNT)).toEqual({ ...(await truth(ACCOUNT)), reserved: 0 });
  expect(await book(ACCOUNT)).toMatchObject({ bytes: 0, repositories: 0 });
  expect(await settled()).toBe(0);
});

test('what the uploads of a deleted repository had set aside is free at once, whoever had them, and theirs alone', async () => {
  let onDelete: (key: string) => Promise<void> = () => Promise.resolve();
  const driver = watched(new MemoryDriver(), {
    before: async (method, key) => {
      if (method === 'delete') await onDelete(key);
    },
  });
  const { registry, another, book, truth, settled } = quotaCase(driver, RULES);
  const upload = async (name: typeof A, size: number) => {
    const { uploads } = registry.repository(name);
    const { id } = await uploads.start();
    await uploads.append(id, { body: new Blob(['u'.repeat(size)]).stream(), size });
    return { id, uploads };
  };
  await pushImage(registry.repository(A), ['v1']);
  const { bytes } = await book(ACCOUNT);
  for (const size of [1000, 1500]) await upload(A, size);
  const other = await upload(B, 1000);
  expect(await book(ACCOUNT)).toMatchObject({ bytes, reserved: 3 });
  const large = 'l'.repeat(4900);
  expect(await refusalOf(pushBlob(registry.repository(C), large))).toBe('DENIED 413');
  await another().repository(A).delete({ dryRun: true });
  expect(await book(ACCOUNT)).toMatchObject({ bytes, reserved: 3 });
  expect(await another().repository(A).delete()).toMatchObject({ uploads: 2 });
  expect(await book(ACCOUNT)).toEqual({ bytes: 0, repositories: 0, reserved: 1 });
  await pushBlob(registry.repository(C), large);
  expect(await book(ACCOUNT)).toEqual({ bytes: 4900, repositories: 0, reserved: 1 });
  await other.uploads.cancel(other.id);
  await registry.repository(C).delete();
  // One that fails frees what had gone by then; what did not go still counts, and goes on.
  const first = await upload(A, 1000);
  const second = await upload(A, 1500);
  const [goes, stays] = first.id < second.id ? [first, second] : [second, first];
  onDelete = (key) => {
    if (key.includes(stays.id)) throw new StorageFailure('broken', 'EIO');
    return Promise.resolve();
  };
  expect(String(await failureOf(another().repository(A).delete()))).toContain('broken');
  onDelete = () => Promise.resolve();
  expect(await book(ACCOUNT)).toMatchObject({ bytes: 0, reserved: 1 });
  expect(await refusalOf(goes.uploads.status(goes.id))).toBe('BLOB_UPLOAD_UNKNOWN');
  await stays.uploads.cancel(stays.id);
  // A push that comes meanwhile keeps what it has set aside.
  const { id, uploads } = await upload(A, 1000);
  let meanwhile: unknown;
  let later: typeof other | undefined;
  onDelete = async (key) => {
    if (!key.includes(id)) return;
    onDelete = () => Promise.resolve();
    later = await upload(A, 2000);
    meanwhile = await book(ACCOUNT);
  };
  await registry.repository(A).delete();
  expect(meanwhile).toMatchObject({ reserved: 2 });
  expect(await refusalOf(uploads.status(id))).toBe('BLOB_UPLOAD_UNKNOWN');
  expect(await later?.uploads.status(later.id)).toMatchObject({ offset: 2000 });
  expect(await book(ACCOUNT)).toEqual({ ...(await truth(ACCOUNT)), reserved: 1 });
  expect(await settled()).toBe(0);
});

test('a deletion that fails half-way lowers what has gone', async () => {
  let isBroken = false;
  const driver = watched(new MemoryDriver(), {
    before: (method, key) => {
      if (isBroken && (method === 'delete' || method === 'move') && key.includes('_layers/'))
        throw new StorageFailure('broken', 'EIO');
    },
  });
  const { registry, book, truth } = quotaCase(driver, RULES);
  await pushImage(registry.repository(A), ['v1'], { layers: ['layer'] });
  isBroken = true;
  const failure: unknown = await registry
    .repository(A)
    .delete()
    .catch((error: unknown) => error);
  expect(String(failure)).toContain('broken');
  isBroken = false;
  expect(await book(ACCOUNT)).toEqual({ bytes: 7, repositories: 0, reserved: 0 });
  expect(await truth(ACCOUNT)).toEqual({ bytes: 7, repositories: 0 });
});

test('a manifest or blob whose deletion fails after its link has gone counts no more, and can be deleted to its end', async () => {
  let broken: { readonly when: 'before' | 'after'; readonly key: string } | undefined;
  const fail = (when: 'before' | 'after') => (method: string, key: string) => {
    if (method === 'delete' && broken?.when === when && key.includes(broken.key))
      throw new StorageFailure('broken', 'EIO');
  };
  const driver = watched(new MemoryDriver(), { before: fail('before'), after: fail('after') });
  const { registry, book, truth } = quotaCase(driver, RULES);
  const a = registry.repository(A);
  const image = await pushImage(a, ['v1'], { layers: ['layer'] });
  const { digest } = await pushBlob(a, 'blob');
  broken = { when: 'before', key: 'tags/v1/current' };
  expect(String(await failureOf(a.manifests.delete(image.digest)))).toContain('broken');
  expect(await book(ACCOUNT)).toEqual({ bytes: 2 + 5 + 4, repositories: 0, reserved: 0 });
  broken = undefined;
  expect(await a.manifests.delete(image.digest, { dryRun: true })).toEqual([tagOf('v1')]);
  expect(await a.manifests.delete(image.digest)).toEqual([tagOf('v1')]);
  expect((await a.tags.list({ limit: 5 })).items).toEqual([]);
  for (const dryRun of [true, false])
    expect(await refusalOf(a.manifests.delete(image.digest, { dryRun }))).toBe('MANIFEST_UNKNOWN');
  broken = { when: 'after', key: '_layers/' };
  expect(String(await failureOf(a.blobs.delete(digest)))).toContain('broken');
  broken = undefined;
  expect(await book(ACCOUNT)).toEqual({ bytes: 2 + 5, repositories: 0, reserved: 0 });
  expect(await truth(ACCOUNT)).toEqual({ bytes: 2 + 5, repositories: 0 });
});

test('a tag that must stay keeps what a deletion has left of it', async () => {
  const { inner, objects } = quotaCase(new MemoryDriver(), RULES);
  const a = inner.repository(A);
  const image = await pushImage(a, ['v1']);
  await objects.driver.delete([revisionLinkKey(A, image.digest)]);
  const keeps = () => {
    throw new RegistryError('DENIED', 'it stays', { status: 409 });
  };
  expect(await refusalOf(a.manifests.delete(image.digest, { keeps }))).toBe('DENIED 409');
  expect(await a.tags.resolve(tagOf('v1'))).toBe(image.digest);
  // What comes to the tag meanwhile is not touched.
  const next = await pushImage(a, ['v1'], { layers: ['next'] });
  expect(await refusalOf(a.manifests.delete(image.digest, { keeps: () => undefined }))).toBe(
    'MANIFEST_UNKNOWN',
  );
  expect(await a.tags.resolve(tagOf('v1'))).toBe(next.digest);
});

test('in an account of very many repositories a deletion has it counted anew', async () => {
  const { registry, book, truth, settled } = quotaCase(new MemoryDriver(), [
    { repositories: ACCOUNT, bytes: 100_000 },
  ]);
  for (let number = 0; number < 302; number += 1)
    await pushBlob(registry.repository(nameOf(`q/r${number}`)), `${number % 7}`);
  await pushBlob(registry.repository(A), 'large');
  await registry.repository(A).delete();
  expect(await settled()).toBe(1);
  expect(await book(ACCOUNT)).toEqual({ ...(await truth(ACCOUNT)), reserved: 0 });
  expect(await book(ACCOUNT)).toMatchObject({ bytes: 7 });
});

test('what cannot be read is told of and counts as it was known; the rest is counted', async () => {
  let isBroken = false;
  const driver = watched(new MemoryDriver(), {
    before: (method, key) => {
      if (isBroken && (method === 'names' || method === 'list') && key.includes('repositories/q/b'))
        throw new StorageFailure(`cannot read ${key}`, 'EIO');
    },
  });
  const { registry, inner, objects, book } = quotaCase(driver, RULES);
  const { digest } = await pushBlob(registry.repository(A), 'a'.repeat(100));
  await pushImage(registry.repository(B), ['v1'], { layers: ['b'.repeat(200)] });
  await pushBlob(inner.repository(C), 'c'.repeat(10));
  const before = await book(ACCOUNT);
  isBroken = true;
  const told: unknown[] = [];
  const context = { ...contextOf(objects), report: (item: unknown) => void told.push(item) };
  const counted = { rules: new QuotaRules(RULES), isOwn: () => true };
  for (const update of [false, true]) {
    told.length = 0;
    expect(await usage(context, { ...counted, update })).toMatchObject({ problems: 1 });
    expect(told).toContainEqual({
      what: 'problem',
      repository: 'q/b',
      why: expect.stringContaining('cannot read'),
    });
    expect(told).toContainEqual(
      expect.objectContaining({
        what: 'quota',
        bytes: before.bytes + (update ? 10 : 0),
        repositories: 1,
        partial: true,
      }),
    );
  }
  expect(await book(ACCOUNT)).toEqual({ ...before, bytes: before.bytes + 10 });
  // Known again, it is the sum of what is there.
  isBroken = false;
  await inner.repository(A).blobs.delete(digest);
  expect(await usage(context, { ...counted, update: true })).not.toHaveProperty('problems');
  expect(await book(ACCOUNT)).toEqual({ ...before, bytes: before.bytes + 10 - 100 });
});

test('the command that deletes lowers the account too, and the one that counts goes on past a folder that cannot be read', async () => {
  const workspace = await createWorkspace('quota-commands');
  workspaces.push(workspace);
  const data = workspace.join('data');
  const file = workspace.join('config.yml');
  await writeFile(
    file,
    `version: 0.1\nstorage: {filesystem: {rootdirectory: ${data}}, delete: {enabled: true}}\nquotas: [{repositories: q/*, bytes: 6kB}]\n`,
  );
  const { registry, book } = quotaCase(new FilesystemDriver(data, DRIVER_FOLDER), RULES);
  await pushImage(registry.repository(A), ['v1'], { layers: ['large'] });
  await pushBlob(registry.repository(B), 'small');
  const gone = await captured((io) => deleteContent({ what: 'q/a', file, yes: true }, io));
  expect([gone.code, gone.err]).toEqual([0, '']);
  expect(await book(ACCOUNT)).toEqual({ bytes: 5, repositories: 0, reserved: 0 });
  // A link to a name that is too long cannot be followed by anybody, not even by root.
  const broken = `${data}/docker/registry/v2/repositories/q/broken`;
  await symlink('x'.repeat(300), broken);
  const told = await captured((io) => printUsage({ file }, io));
  expect(told).toMatchObject({ code: 3, err: expect.stringMatching(/^q\/broken: .*ENAMETOOLONG/) });
  expect(told.out).toMatch(/^q +1 +0 +5 B/m);
  await unlink(broken);
  expect(await captured((io) => printUsage({ file }, io))).toMatchObject({ code: 0, err: '' });
});
