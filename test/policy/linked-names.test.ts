/** Symbolic links between folders are no way past what goes for the repository that they lead to. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdir, rename, symlink } from 'node:fs/promises';
import { openOwnRegistry } from '../../src/app.ts';
import { holdToQuotas } from '../../src/app-quota.ts';
import { notingPulls } from '../../src/app-retention.ts';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import type { Repository } from '../../src/oci/registry.ts';
import { DRIVER_FOLDER, PULLS } from '../../src/store/layout.ts';
import { Objects } from '../../src/store/objects.ts';
import { canonicalName } from '../../src/store/repository-alias.ts';
import { readBook } from '../../src/store/usage-books.ts';
import { loaded } from '../config/config-file.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { untilHolds } from '../harness/waiting.ts';
import { pushBlob, pushImage } from '../store/content.ts';
import { nameOf, refusalOf, tagOf } from '../store/subject.ts';
import { keysIn } from '../upkeep/collecting.ts';
import { SILENT } from '../upkeep/collecting.ts';

let workspace: Workspace;
let driver: FilesystemDriver;
const inRepositories = (name: string) => workspace.join('root/docker/registry/v2/repositories', name);

beforeAll(async () => {
  workspace = await createWorkspace('linked-names');
  await mkdir(workspace.join('real/docker/registry/v2/repositories/prod/app'), { recursive: true });
  // The storage is reached by a link, too.
  await symlink(workspace.join('real'), workspace.join('root'));
  driver = new FilesystemDriver(workspace.join('root'), DRIVER_FOLDER);
  driver.prepare();
  await mkdir(inRepositories('team'));
  await rename(inRepositories('team'), workspace.join('elsewhere'));
  const links: Readonly<Record<string, string>> = {
    alias: 'prod/app',
    absolute: inRepositories('prod/app'),
    real: workspace.join('real/docker/registry/v2/repositories/prod/app'),
    again: 'alias',
    production: 'prod',
    team: workspace.join('elsewhere'),
    'team/back': inRepositories('prod'),
    teammate: 'team/app',
    round: 'around',
    around: 'round',
    self: '.',
    away: 'prod/gone',
  };
  for (const [name, target] of Object.entries(links)) await symlink(target, inRepositories(name));
});
afterAll(() => workspace.remove());

test('a name leads where its links lead, one by one', () => {
  const objects = new Objects(driver);
  const real = (name: string): string => canonicalName(objects, nameOf(name));
  for (const name of [
    'alias',
    'absolute',
    'real',
    'again',
    'production/app',
    'team/back/app',
    'self/prod/app',
  ])
    expect([name, real(name)]).toEqual([name, 'prod/app']);
  expect(real('production/new/app')).toBe('prod/new/app');
  expect(real('self/self/production/new')).toBe('prod/new');
  // A namespace elsewhere is like any other, and has its own name.
  expect([real('team/app'), real('teammate'), real('away')]).toEqual(['team/app', 'team/app', 'prod/gone']);
  for (const name of ['prod/app', 'prod', 'round', 'self', 'round/x', 'new/name', 'team'])
    expect([name, real(name)]).toEqual([name, name]);
});

test('rules of tags hold, quotas count and pulls are noted under the name that a link leads to', async () => {
  const config = await loaded(
    [
      'version: 0.1',
      'storage: {inmemory: {}, delete: {enabled: true}}',
      'tags: {immutable: [{repositories: ["prod/*", "again"], tags: ["v*"]}], protected: [{repositories: ["alias"], tags: ["mine"]}]}',
      'quotas: [{repositories: "{namespace}/**", bytes: 3kB}]',
      'retention: {rules: [{repositories: "prod/**", keep: [{pulled_within: 1d}]}]}',
      '',
    ].join('\n'),
  );
  const isOwn = () => true;
  const own = openOwnRegistry(config, driver, {
    hold: (local) => holdToQuotas(config, driver, local, { isOwn, readOnly: () => false }, SILENT).registry,
  });
  const pulls = notingPulls(config, own, driver, () => false);
  const repository = (name: string): Repository => pulls.registry.repository(nameOf(name));
  const push = (name: string, tag: string, mark: string) =>
    pushImage(repository(name), [tag], { annotations: { mark } });
  await push('prod/app', 'v1', 'first');
  for (const name of ['alias', 'again', 'production/app', 'team/back/app']) {
    expect([name, await refusalOf(push(name, 'v1', 'second'))]).toEqual([name, 'DENIED 409']);
    expect(await refusalOf(repository(name).tags.delete(tagOf('v1')))).toBe('DENIED 409');
    const { digest } = await repository(name).manifests.get(tagOf('v1'));
    expect(await refusalOf(repository(name).manifests.delete(digest))).toBe('DENIED 409');
    expect(await refusalOf(repository(name).delete())).toBe('DENIED 409');
  }
  await push('alias', 'free', 'third');
  await push('alias', 'free', 'fourth');
  await repository('alias').tags.delete(tagOf('free'));
  // A rule for the link's own name holds for who comes by it.
  await push('alias', 'mine', 'fifth');
  expect(await refusalOf(repository('alias').tags.delete(tagOf('mine')))).toBe('DENIED 409');
  await repository('prod/app').tags.delete(tagOf('mine'));

  const objects = new Objects(driver);
  const used = async (account: string) => (await readBook(objects, account)).bytes;
  const before = await used('prod/**');
  await pushBlob(repository('alias'), 'x'.repeat(10));
  expect(await used('prod/**')).toBe(before + 10);
  expect(await refusalOf(pushBlob(repository('alias'), 'y'.repeat(3000)))).toStartWith('DENIED');
  expect((await keysIn(driver)).filter((key) => key.includes('usage/alias'))).toEqual([]);

  await untilHolds(async () => {
    const notes: string[] = [];
    for await (const { key } of driver.list(PULLS)) notes.push(key);
    if (notes.some((key) => /alias|production/.test(key))) throw new Error(notes.join());
    return notes.some((key) => key.includes('/prod/app/'));
  });
  pulls.stop();
});
