/** What an operator's storage may have in it that upkeep must get past: links between folders, folders that cannot be read. */
import { expect, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, symlink } from 'node:fs/promises';
import { StorageFailure } from '../../src/drivers/driver.ts';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import type { RepositoryName } from '../../src/oci/name.ts';
import { DRIVER_FOLDER } from '../../src/store/layout.ts';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { Objects } from '../../src/store/objects.ts';
import { abandonedUploads } from '../../src/store/abandoned-uploads.ts';
import { uploads as purgeUploads } from '../../src/upkeep/purge-uploads.ts';
import { RetentionRules } from '../../src/upkeep/retention-rules.ts';
import { retention } from '../../src/upkeep/retention.ts';
import { createWorkspace } from '../harness/workspace.ts';
import { pushBlob, pushImage } from '../store/content.ts';
import { nameOf, RULES, tagOf } from '../store/subject.ts';
import { watched } from '../store/watched-driver.ts';
import { collectOnce, keysIn } from './collecting.ts';
import { contextOf, scrubbed } from './scrubbing.ts';

const V2 = 'docker/registry/v2';
const later = () => Date.now() + 3600_000;

async function catalog(registry: LocalRegistry, limit: number): Promise<string[]> {
  const names: string[] = [];
  for (let last: RepositoryName | undefined; ;) {
    const page = await registry.repositories({ limit, ...(last === undefined ? {} : { last }) });
    names.push(...page.items);
    last = page.items.at(-1);
    if (!page.more) return names;
  }
}

async function applyRetention(driver: FilesystemDriver | MemoryDriver) {
  const context = contextOf(driver);
  const summary = await retention(context, {
    dryRun: false,
    rules: new RetentionRules([{ repositories: ['**'], keep: [{ tags: ['keep'] }] }]),
    guarded: () => undefined,
    isCached: () => false,
    collector: { isEnabled: false, graceMs: 0 },
  });
  return { summary, items: context.items };
}

test('links between folders: another disk is like any other, what leads back is told and left out', async () => {
  const workspace = await createWorkspace('links');
  try {
    const root = workspace.join('root');
    const repositories = `${root}/${V2}/repositories`;
    await mkdir(workspace.join('real'));
    await mkdir(root);
    // The storage itself may be elsewhere.
    await symlink(workspace.join('real'), `${root}/docker`);
    const driver = new FilesystemDriver(root, DRIVER_FOLDER);
    driver.prepare();
    const registry = new LocalRegistry(driver, RULES);
    for (const name of ['lib/app', 'team/app', 'x/y']) {
      await pushImage(registry.repository(nameOf(name)), ['keep'], { layers: [name] });
      await pushBlob(registry.repository(nameOf(name)), `garbage of ${name}`);
    }
    await registry.repository(nameOf('lib/app')).uploads.start();
    await rename(`${repositories}/team`, workspace.join('disk'));
    await mkdir(`${repositories}/_kept`);
    await rename(`${repositories}/x/y`, `${repositories}/_kept/y`);
    const links: Readonly<Record<string, string>> = {
      team: workspace.join('disk'), // on another disk
      team2: workspace.join('disk'), // the same a second time
      'team/back': `${repositories}/lib`,
      'x/kept': '../_kept/y', // reached by this name alone
      again: 'lib',
      'lib/up': '..',
      'lib/app/up': '../..',
    };
    for (const [name, target] of Object.entries(links)) await symlink(target, `${repositories}/${name}`);
    const leftOut = ['again', 'lib/app/up', 'lib/up', 'team/back', 'team2'];
    const namesOf = (items: readonly { what: string }[], what: string) =>
      items.filter((item) => item.what === what).map((item) => ('repository' in item ? item.repository : ''));

    const all = ['lib/app', 'team/app', 'x/kept'];
    for (const limit of [1, 2, 10]) expect(await catalog(registry, limit)).toEqual(all);
    expect((await registry.repositories({ limit: 9, last: nameOf('lib/up/lib') })).items.map(String)).toEqual(
      all.slice(1),
    );
    const keep = tagOf('keep');
    const { digest } = await registry.repository(nameOf('lib/app')).manifests.get(keep);
    expect((await registry.repository(nameOf('again/app')).manifests.get(keep)).digest).toBe(digest);
    const uploads: string[] = [];
    for await (const upload of abandonedUploads(new Objects(driver), later())) uploads.push(upload);
    expect(uploads).toHaveLength(1);

    const scrub = await scrubbed(driver, { repair: true });
    expect(scrub.summary).toMatchObject({ complete: true, repositories: 3, problems: 0 });
    expect(namesOf(scrub.items, 'left out')).toEqual(leftOut);
    const kept = await applyRetention(driver);
    expect(kept.summary).toEqual({ repositories: 3, tags: 3, deleted: 0 });
    expect(namesOf(kept.items, 'left out')).toEqual(leftOut);

    // Where a link leads to more than the storage, nobody knows what is linked to there.
    await symlink(workspace.path, `${repositories}/out`);
    const first = await collectOnce(driver, { now: later, exclusive: true });
    expect(first.summary).toMatchObject({ repositories: 3, problems: 1, links: 3, blobs: 0 });
    await rm(`${repositories}/out`);
    const second = await collectOnce(driver, { now: later, exclusive: true });
    expect(second.summary).toMatchObject({ repositories: 3, problems: 0, links: 0, blobs: 3 });
    expect(namesOf(second.items, 'left out')).toEqual(leftOut);
    for (const name of all) await registry.repository(nameOf(name)).manifests.get(keep);
    expect((await scrubbed(driver)).summary).toMatchObject({ problems: 0 });
  } finally {
    await workspace.remove();
  }
});

test('a folder that cannot be read is told of, and the rest goes on', async () => {
  const inner = new MemoryDriver();
  const registry = new LocalRegistry(inner, RULES);
  for (const name of ['a', 'b', 'c'])
    await pushImage(registry.repository(nameOf(name)), ['old', 'keep'], { layers: [name] });
  await registry.repository(nameOf('c')).uploads.start();
  const driver = watched(inner, {
    before: (method, key) => {
      if (key.startsWith(`${V2}/repositories/b/`))
        throw new StorageFailure(`${key}: not for us (EACCES)`, 'EACCES');
    },
  });
  const scrub = await scrubbed(driver, { repair: true });
  expect(scrub.summary).toMatchObject({ complete: true, repositories: 2 });
  expect(scrub.summary['problems']).toBeGreaterThan(0);
  expect(scrub.items[0]).toMatchObject({
    what: 'unreadable',
    repository: 'b',
    reason: expect.stringContaining('EACCES'),
  });
  expect(scrub.items.map(({ what }) => what)).not.toContain('orphan upload');
  const kept = await applyRetention(driver);
  expect(kept.summary).toEqual({ repositories: 2, tags: 4, deleted: 2, problems: 1 });
  expect(kept.items).toContainEqual(expect.objectContaining({ what: 'problem', repository: 'b' }));
  const context = contextOf(driver);
  expect(await purgeUploads(context, { ageMs: -1000, dryRun: false })).toMatchObject({ uploads: 1 });
  expect(context.items.map(({ what }) => what)).toEqual(['problem', 'upload']);
  const collected = await collectOnce(driver);
  expect(collected.summary).toMatchObject({ repositories: 2, problems: 1, blobs: 0 });
});

test('of a repository that is gone no folder is left, whoever removed what', async () => {
  const workspace = await createWorkspace('remains');
  try {
    const driver = new FilesystemDriver(workspace.path, DRIVER_FOLDER);
    driver.prepare();
    const registry = new LocalRegistry(driver, RULES);
    const { digest } = await pushImage(registry.repository(nameOf('by/parts')), ['v1'], { layers: ['1'] });
    await registry.repository(nameOf('by/parts')).manifests.delete(digest);
    await registry.repository(nameOf('uploads/only')).uploads.start();
    const folders = `${workspace.path}/${V2}/repositories`;
    await mkdir(`${folders}/left/over/_locks`, { recursive: true });
    await mkdir(`${folders}/left/_uploads`, { recursive: true });
    const { summary } = await collectOnce(driver, { now: later });
    expect(summary).toMatchObject({ repositories: 1, problems: 0 });
    expect(await readdir(folders)).toEqual(['uploads']);
    await purgeUploads(contextOf(driver), { ageMs: -1000, dryRun: false });
    await collectOnce(driver, { now: later });
    expect(existsSync(folders)).toBe(false);
    expect(await keysIn(driver)).toEqual([]);
  } finally {
    await workspace.remove();
  }
});
