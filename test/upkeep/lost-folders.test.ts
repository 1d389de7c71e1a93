/** Folders behind symbolic links whose target is away, as on a disk that is not mounted: nothing that only they link to may go. */
import { afterEach, beforeEach, expect, test } from 'bun:test';
import { mkdir, readdir, rename, rm, symlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { StorageFailure } from '../../src/drivers/driver.ts';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { hexOf } from '../../src/oci/digest.ts';
import { QuotaRules } from '../../src/oci/quota.ts';
import {
  BLOBS,
  DRIVER_FOLDER,
  layerLinkKey,
  REPOSITORIES,
  tagCurrentKey,
  TRASH,
} from '../../src/store/layout.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { linkBytes, Objects } from '../../src/store/objects.ts';
import { discardUnlinked, emptyTrash } from '../../src/store/trash.ts';
import type { JobItem } from '../../src/upkeep/job.ts';
import { RetentionRules } from '../../src/upkeep/retention-rules.ts';
import { retention } from '../../src/upkeep/retention.ts';
import { usage } from '../../src/upkeep/usage.ts';
import { failureOf } from '../harness/failure-of.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { pushBlob, pushImage, sha256 } from '../store/content.ts';
import { nameOf, RULES, tagOf } from '../store/subject.ts';
import { collectOnce, isThere, isWhole, keysIn, type Settings } from './collecting.ts';
import { contextOf, scrubbed } from './scrubbing.ts';

const later = () => Date.now() + 3600_000;
const LAYER = hexOf(sha256('layer of team'));

let workspace: Workspace;
let driver: FilesystemDriver;
let registry: LocalRegistry;

beforeEach(async () => {
  workspace = await createWorkspace('lost');
  driver = new FilesystemDriver(workspace.join('root'), DRIVER_FOLDER);
  driver.prepare();
  registry = new LocalRegistry(driver, RULES);
  for (const name of ['lib', 'team/app', 'zeta'])
    await pushImage(registry.repository(nameOf(name)), ['keep', 'old'], {
      config: `{"of":"${name}"}`,
      layers: [`layer of ${name.split('/')[0]}`],
    });
});
afterEach(() => workspace.remove());

const pathOf = (folder: string) => workspace.join(`root/${folder}`);

/** Moves a folder to another disk, which a link leads to. @returns what takes the disk away, and brings it back */
async function moveAway(folder: string) {
  const disk = workspace.join('disk');
  await mkdir(disk);
  await rename(pathOf(folder), `${disk}/content`);
  await symlink(`${disk}/content`, pathOf(folder));
  return {
    unmount: () => rename(disk, `${disk}.away`),
    mount: () => rename(`${disk}.away`, disk),
    undo: async () => {
      await rm(pathOf(folder));
      await rename(`${disk}/content`, pathOf(folder));
      await rm(disk, { recursive: true });
    },
  };
}

function problemsOf(items: readonly JobItem[], what = 'problem'): string {
  return JSON.stringify(items.filter((item) => item.what === what));
}

/** Every job that removes or counts. @returns what each tells of what is lost */
async function everyJob(): Promise<Record<string, string>> {
  const told: Record<string, string> = {};
  for (const exclusive of [true, false]) {
    const dry = await collectOnce(driver, { now: later, exclusive, dryRun: true });
    const run = await collectOnce(driver, { now: later, exclusive });
    expect(run.summary['problems']).toBeGreaterThan(0);
    expect(run.summary).toMatchObject({ blobs: 0, links: 0, manifests: 0 });
    expect(dry.items).toEqual(run.items);
    told[`gc, alone ${exclusive}`] = problemsOf(run.items);
  }
  const scrub = await scrubbed(driver, { repair: true });
  expect(scrub.summary).toMatchObject({ complete: true, repaired: 0 });
  expect(scrub.summary['problems']).toBeGreaterThan(0);
  told['scrub'] = problemsOf(scrub.items, 'unreadable');
  const counting = contextOf(driver);
  const rules = new QuotaRules([{ repositories: 'team/*', maxRepositories: 3 }]);
  const counted = await usage(counting, { rules, isOwn: () => true, update: false });
  expect(counted['problems']).toBeGreaterThan(0);
  told['usage'] = problemsOf(counting.items);
  return told;
}

const FOLDERS = {
  repositories: REPOSITORIES,
  'a namespace': `${REPOSITORIES}team/`,
  'a repository': `${REPOSITORIES}team/app/`,
  'its manifests': `${REPOSITORIES}team/app/_manifests/`,
  'its revisions': `${REPOSITORIES}team/app/_manifests/revisions/`,
  'its layers': `${REPOSITORIES}team/app/_layers/`,
  'layers of an algorithm': `${REPOSITORIES}team/app/_layers/sha256/`,
  bytes: BLOBS,
  'bytes of an algorithm': `${BLOBS}sha256/`,
};

for (const [what, prefix] of Object.entries(FOLDERS)) {
  test(`${what} behind a link that leads nowhere: every job tells it, and nothing goes`, async () => {
    const folder = prefix.slice(0, -1);
    const disk = await moveAway(folder);
    expect((await collectOnce(driver, { now: later, exclusive: true })).summary).toMatchObject({
      problems: 0,
      blobs: 0,
    });
    await disk.unmount();
    const told = await everyJob();
    for (const [job, text] of Object.entries(told)) expect(`${job}: ${text}`).toContain(pathOf(folder));
    await disk.mount();
    for (const name of ['lib', 'team/app', 'zeta']) expect(await isWhole(registry, name, 'keep')).toBe(true);
    await disk.undo();
    expect((await scrubbed(driver)).summary).toMatchObject({ problems: 0, manifests: 3 });
  });
}

test('links in a circle are no empty folders; clients are answered as before', async () => {
  await rename(pathOf(`${REPOSITORIES}team`), workspace.join('away'));
  await symlink('team', pathOf(`${REPOSITORIES}team`));
  expect((await registry.repositories({ limit: 9 })).items.map(String)).toEqual(['lib', 'zeta']);
  const team = registry.repository(nameOf('team/app'));
  expect((await failureOf(team.manifests.get(tagOf('keep')))).name).toBe('RegistryError');
  expect((await failureOf(team.tags.list({ limit: 9 }))).name).toBe('RegistryError');
  const told = await everyJob();
  for (const text of Object.values(told)) expect(text).toContain('circle');
  const context = contextOf(driver);
  const kept = await retention(context, {
    dryRun: false,
    rules: new RetentionRules([{ repositories: ['**'], keep: [{ tags: ['keep'] }] }]),
    guarded: () => undefined,
    isCached: () => false,
    collector: { isEnabled: false, graceMs: 0 },
  });
  expect(kept).toMatchObject({ deleted: 2, problems: 1 });
  // What the cache lets go, and what lies in the trash.
  const objects = new Objects(driver);
  expect(await failureOf(discardUnlinked(objects, [sha256('layer of team')]))).toBeInstanceOf(StorageFailure);
  expect(await isThere(driver, `${BLOBS}sha256/${LAYER.slice(0, 2)}/${LAYER}/data`)).toBe(true);
  await rename(dirname(pathOf(`${BLOBS}sha256/${LAYER.slice(0, 2)}/${LAYER}/data`)), workspace.join('kept'));
  await mkdir(pathOf(TRASH), { recursive: true });
  await rename(`${workspace.join('kept')}/data`, pathOf(`${TRASH}sha256-${LAYER}`));
  // The first time it is noted since when it lies there.
  await emptyTrash(objects, later());
  expect(await failureOf(emptyTrash(objects, later()))).toBeInstanceOf(StorageFailure);
  await rm(pathOf(`${REPOSITORIES}team`));
  await rename(workspace.join('away'), pathOf(`${REPOSITORIES}team`));
  await emptyTrash(objects, later());
  expect(await isWhole(registry, 'team/app', 'keep')).toBe(true);
});

test('a run that goes on remembers that something could not be read before it was stopped', async () => {
  const disk = await moveAway(`${REPOSITORIES}team`);
  await disk.unmount();
  const stop = new AbortController();
  const stopped = collectOnce(driver, {
    now: later,
    signal: stop.signal,
    isCached: (name) => {
      if (name === 'zeta') stop.abort(new Error('enough'));
      return false;
    },
  });
  expect((await failureOf(stopped)).message).toBe('enough');
  const next = await collectOnce(driver, { now: later, resume: true });
  expect(next.summary).toMatchObject({ problems: 1, blobs: 0 });
  await disk.mount();
  expect(await isWhole(registry, 'team/app', 'keep')).toBe(true);
});

test('what goes away during a run keeps what lies in the trash there', async () => {
  const disk = await moveAway(`${REPOSITORIES}team`);
  await pushBlob(registry.repository(nameOf('lib')), 'garbage');
  const first = await collectOnce(driver, { now: later, wait: () => disk.unmount() });
  expect(first.summary).toMatchObject({ links: 1, blobs: 0, problems: 1 });
  expect(problemsOf(first.items)).toContain('stays there');
  // Only what is gone is told.
  expect(first.items.map(({ what }) => what)).not.toContain('blob');
  const trash = await readdir(pathOf(TRASH));
  expect(trash).toHaveLength(2);
  const again = await collectOnce(driver, { now: later });
  expect(again.summary).toMatchObject({ blobs: 0, problems: 1 });
  expect(await readdir(pathOf(TRASH))).toEqual(trash);
  await disk.mount();
  // What was set aside there cannot be looked at again.
  await pushBlob(registry.repository(nameOf('team/app')), 'other garbage');
  const second = await collectOnce(driver, { now: later, wait: () => disk.unmount() });
  expect(second.summary).toMatchObject({ links: 0, blobs: 0, problems: 1 });
  expect(await readdir(pathOf(TRASH))).toEqual(trash);
  await disk.mount();
  expect((await collectOnce(driver, { now: later })).summary).toMatchObject({ blobs: 2, problems: 0 });
  expect((await keysIn(driver)).join(' ')).not.toContain('_entrepot/trash');
  expect(await isWhole(registry, 'team/app', 'keep')).toBe(true);
});

test('where there is no repository at all, the bytes go only when that is said', async () => {
  const before = await readdir(pathOf(`${BLOBS}sha256`));
  await rename(pathOf(REPOSITORIES), workspace.join('away'));
  for (const isMade of [false, true]) {
    if (isMade) await mkdir(pathOf(REPOSITORIES));
    for (const exclusive of [true, false]) {
      const dry = await collectOnce(driver, { now: later, exclusive, dryRun: true });
      const run = await collectOnce(driver, { now: later, exclusive });
      expect(run.summary).toMatchObject({ problems: 1, blobs: 0 });
      expect(dry.items).toEqual(run.items);
      expect(problemsOf(run.items)).toContain('entrepot gc --empty');
    }
  }
  expect(await readdir(pathOf(`${BLOBS}sha256`))).toEqual(before);
  const dry = await collectOnce(driver, { now: later, exclusive: true, mayBeEmpty: true, dryRun: true });
  const run = await collectOnce(driver, { now: later, exclusive: true, mayBeEmpty: true });
  expect(run.summary).toMatchObject({ problems: 0, blobs: 9 });
  expect(dry.items).toEqual(run.items);
  expect((await collectOnce(driver, { now: later })).summary).toMatchObject({ problems: 0, blobs: 0 });
});

test('uploads, and folders that something has left, are no repositories: with them alone no bytes go', async () => {
  const before = await readdir(pathOf(`${BLOBS}sha256`));
  await rename(pathOf(REPOSITORIES), workspace.join('away'));
  const guarded = async (settings: Settings = {}) => {
    for (const exclusive of [true, false]) {
      const dry = await collectOnce(driver, { now: later, exclusive, dryRun: true, ...settings });
      const run = await collectOnce(driver, { now: later, exclusive, ...settings });
      expect(run.summary).toMatchObject({ problems: 1, blobs: 0 });
      expect(problemsOf(dry.items)).toBe(problemsOf(run.items));
      expect(problemsOf(run.items)).toContain('entrepot gc --empty');
    }
    expect(await readdir(pathOf(`${BLOBS}sha256`))).toEqual(before);
  };
  const folders = ['_uploads/u', '_locks/l', '_layers/sha256', '_manifests/tags/old/current', '_trash'];
  for (const folder of folders) {
    await mkdir(pathOf(`${REPOSITORIES}ci/app/${folder}`), { recursive: true });
    await guarded();
  }
  const { id } = await registry.repository(nameOf('ci/app')).uploads.start();
  await registry.repository(nameOf('ci/app')).uploads.append(id, { body: new Blob(['some']).stream() });
  await guarded();
  // Nor does it help that an earlier run has come past such a folder.
  const stop = new AbortController();
  const isCached = () => {
    stop.abort(new Error('stopped'));
    return false;
  };
  expect((await failureOf(collectOnce(driver, { now: later, signal: stop.signal, isCached }))).message).toBe(
    'stopped',
  );
  expect((await collectOnce(driver, { now: later, resume: true })).summary).toMatchObject({
    problems: 1,
    blobs: 0,
  });
  expect(await readdir(pathOf(`${BLOBS}sha256`))).toEqual(before);
  // A tag, or a link of which everything goes now, was a repository's.
  await driver.write(tagCurrentKey(nameOf('ci/tag'), tagOf('t')), linkBytes(sha256('gone')));
  const tagged = await collectOnce(driver, { now: later, exclusive: true, dryRun: true });
  expect(tagged.summary).toMatchObject({ blobs: 9 });
  await driver.delete([tagCurrentKey(nameOf('ci/tag'), tagOf('t'))]);
  await guarded({ dryRun: true });
  await driver.write(layerLinkKey(nameOf('ci/app'), sha256('gone')), linkBytes(sha256('gone')));
  const linked = await collectOnce(driver, { now: later, exclusive: true });
  expect(linked.summary).toMatchObject({ problems: 0, links: 1, blobs: 9 });
});

test('a run that is gone on with behind the last repository knows of those before', async () => {
  const stop = new AbortController();
  const isCached = (name: string) => {
    if (name === 'zeta') stop.abort(new Error('stopped'));
    return false;
  };
  const signal = stop.signal;
  expect((await failureOf(collectOnce(driver, { now: later, signal, isCached }))).message).toBe('stopped');
  const { summary } = await collectOnce(driver, { now: later, resume: true });
  expect(summary).toMatchObject({ repositories: 0, problems: 0 });
  for (const name of ['lib', 'team/app', 'zeta']) expect(await isWhole(registry, name, 'keep')).toBe(true);
});

test('a scrub repairs nothing where all bytes are away, as where their disk is not mounted', async () => {
  const before = await keysIn(driver);
  await rename(pathOf(BLOBS), workspace.join('blobs'));
  await mkdir(pathOf(BLOBS));
  const { items, summary } = await scrubbed(driver, { repair: true });
  expect(items[0]).toMatchObject({ what: 'problem', why: expect.stringContaining('not mounted') });
  expect(summary['problems']).toBeGreaterThan(0);
  await rm(pathOf(BLOBS), { recursive: true });
  await rename(workspace.join('blobs'), pathOf(BLOBS));
  expect((await keysIn(driver)).filter((key) => !key.startsWith('_entrepot/'))).toEqual(
    before.filter((key) => !key.startsWith('_entrepot/')),
  );
});
