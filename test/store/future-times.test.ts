/** After a power cut with a clock that was ahead: times that lie in the future must stop nothing until they have come. */
import { afterAll, beforeAll, beforeEach, expect, setSystemTime, spyOn, test } from 'bun:test';
import { utimesSync } from 'node:fs';
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { nextRun } from '../../src/admin/timetable.ts';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { withFileLock } from '../../src/file-lock.ts';
import { QuotaRules } from '../../src/oci/quota.ts';
import { CacheClaim } from '../../src/proxy/claims.ts';
import { silenceOf } from '../../src/silence.ts';
import { ALONE_KEY, blobKey, COLLECTOR, DRIVER_FOLDER, TRASH, USERS } from '../../src/store/layout.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { Objects } from '../../src/store/objects.ts';
import { isAlive } from '../../src/store/owner.ts';
import { PullNotes, pullsNotedSince } from '../../src/store/pull-notes.ts';
import { useStorageAlone } from '../../src/store/storage-users.ts';
import { readBook } from '../../src/store/usage-books.ts';
import { AlreadyCollecting } from '../../src/upkeep/collect.ts';
import { uploads as purgeUploads } from '../../src/upkeep/purge-uploads.ts';
import { readScrubState, writeScrubState } from '../../src/upkeep/scrub-state.ts';
import { usage } from '../../src/upkeep/usage.ts';
import { failureOf } from '../harness/failure-of.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { untilHolds } from '../harness/waiting.ts';
import { collectOnce, keysIn } from '../upkeep/collecting.ts';
import { contextOf, scrubbed } from '../upkeep/scrubbing.ts';
import { pushBlob, pushImage } from './content.ts';
import { nameOf, RULES, tagOf } from './subject.ts';

const DAY = 24 * 3600_000;
const V2 = 'docker/registry/v2';
/** Of another boot: nobody can say whether it runs. */
const STRANGER = 'aaaaaaaaaaaa-123-456-0123456789abcdef';

let workspace: Workspace;
let driver: FilesystemDriver;
let objects: Objects;
/** The clock that nobody sets goes forward by ten seconds whenever somebody looks at it. */
let clock: { mockRestore(): void };

beforeAll(async () => {
  workspace = await createWorkspace('future');
  const real = performance.now.bind(performance);
  let ahead = 0;
  clock = spyOn(performance, 'now').mockImplementation(() => real() + (ahead += 10_000));
});

beforeEach(async () => {
  const root = workspace.join(Math.random().toString(36).slice(2));
  await mkdir(root);
  driver = new FilesystemDriver(root, DRIVER_FOLDER);
  driver.prepare();
  objects = new Objects(driver);
});

afterAll(async () => {
  clock.mockRestore();
  await workspace.remove();
});

function comesIn(path: string, days = 300): void {
  const time = new Date(Date.now() + days * DAY);
  utimesSync(path, time, time);
}

/** A file as a process left it whose clock was ahead. */
async function leave(key: string, content = STRANGER): Promise<string> {
  const path = driver.localPath(key);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
  comesIn(path);
  return path;
}

test('a time in the future tells nothing: what keeps it is silent; clocks that differ a little are believed', () => {
  const in300Days = Date.now() + 300 * DAY;
  expect(silenceOf('a', in300Days, 35_000)).toBe('unsure');
  expect(silenceOf('b', in300Days, 35_000)).toBe('unsure');
  expect(['a', 'a', 'a', 'a'].map((name) => silenceOf(name, in300Days, 35_000)).at(-1)).toBe('silent');
  // Another's clock is that far ahead, and it lives.
  for (let written = in300Days; written < in300Days + 20; written += 1)
    expect(isAlive(STRANGER, written, 35_000)).toBe(true);
  for (let round = 0; round < 9; round += 1) {
    expect(silenceOf('c', Date.now() + 50_000, 10_000)).toBe('not silent');
    expect(silenceOf('d', Date.now() - 9_000, 60_000)).toBe('not silent');
  }
  expect(silenceOf('e', Date.now() - 60_000, 60_000)).toBe('silent');
});

test('locks and names of the future are those of the dead: tags are moved and deleted, and it is collected', async () => {
  const repository = new LocalRegistry(driver, RULES).repository(nameOf('p/app'));
  await leave(`${V2}/repositories/p/app/_locks/a`);
  await leave(`${V2}/repositories/p/app/_locks/a~`, '');
  await pushImage(repository, ['a'], { layers: ['x'] });
  await leave(`${V2}/repositories/p/app/_locks/a`);
  await repository.tags.delete(tagOf('a'));
  const lease = `${COLLECTOR}lock`;
  await leave(lease);
  expect((await collectOnce(driver)).summary).toMatchObject({ repositories: 1 });
  // Somebody who lives, and whose clock is ahead by a year.
  const path = await leave(lease);
  let days = 300;
  const renews = setInterval(() => comesIn(path, (days += 1)), 20);
  try {
    expect(await failureOf(collectOnce(driver))).toBeInstanceOf(AlreadyCollecting);
  } finally {
    clearInterval(renews);
  }
  await leave(ALONE_KEY);
  await leave(USERS + STRANGER, '{"what":"server","host":"h","pid":1}');
  const alone = await useStorageAlone(objects, 'gc');
  expect(alone.isAlone).toBe(true);
  await alone.end();
  expect((await keysIn(driver)).filter((key) => /_locks|users|alone/.test(key))).toEqual([]);
});

test('so are those of files and of the cache', async () => {
  const file = workspace.join('htpasswd');
  await writeFile(`${file}.lock`, STRANGER);
  comesIn(`${file}.lock`);
  await withFileLock(file, () => Promise.resolve(), { wait: 1 });
  expect((await readdir(workspace.path)).filter((name) => name.startsWith('htpasswd'))).toEqual([]);
  const claims = { driver, info: objects.info.bind(objects), bytes: objects.bytes.bind(objects) };
  for (const content of ['', JSON.stringify({ owner: STRANGER })]) {
    const key = `${DRIVER_FOLDER}/cache/claim${content.length}`;
    await leave(key, content);
    let claim: CacheClaim | undefined;
    await untilHolds(async () => (claim = await CacheClaim.take(claims, key)) !== undefined);
    await claim?.release();
  }
});

test('content, uploads and what was noted of the future are dealt with in time', async () => {
  const repository = new LocalRegistry(driver, RULES).repository(nameOf('p/app'));
  const { digest: garbage } = await pushBlob(repository, 'garbage');
  await objects.driver.delete([`${V2}/repositories/p/app/_layers/`]);
  comesIn(driver.localPath(blobKey(garbage)));
  const { digest: left } = await pushBlob(repository, 'left in the trash');
  const trash = `${TRASH}${left.replace(':', '-')}`;
  await objects.driver.delete([`${V2}/repositories/p/app/_layers/`]);
  await objects.move(blobKey(left), trash);
  await leave(`${trash}.at`, '');
  const waits: number[] = [];
  let skipped = 0;
  const later = {
    now: () => Date.now() + skipped,
    wait: (milliseconds: number) => {
      waits.push(milliseconds);
      skipped += Math.max(0, milliseconds);
      return Promise.resolve();
    },
  };
  for (let round = 0; round < 3; round += 1) {
    skipped += 120_000;
    await collectOnce(driver, { ...later, mayBeEmpty: true });
  }
  expect(Math.max(...waits)).toBeLessThan(DAY);
  expect((await keysIn(driver)).filter((key) => /blobs|trash/.test(key))).toEqual([]);

  const { id } = await repository.uploads.start();
  const upload = `${V2}/repositories/p/app/_uploads/${id}/`;
  await leave(`${upload}startedat`, new Date(Date.now() + 300 * DAY).toISOString());
  comesIn(driver.localPath(`${upload}data`));
  const purge = (ageMs: number, dryRun = false) => purgeUploads(contextOf(driver), { ageMs, dryRun });
  expect(await purge(DAY, true)).toMatchObject({ uploads: 0 });
  expect((await stat(driver.localPath(`${upload}data`))).mtimeMs).toBeGreaterThan(Date.now() + DAY);
  expect(await purge(DAY)).toMatchObject({ uploads: 0 });
  // From now on it has its time.
  expect(await purge(DAY)).toMatchObject({ uploads: 0 });
  expect(await purge(-1000)).toMatchObject({ uploads: 1 });

  const { digest: kept } = await pushBlob(repository, 'kept');
  await writeScrubState(objects, {
    verified: { [`sha256/${kept.slice(7, 9)}`]: Date.now() + 300 * DAY },
  });
  expect((await scrubbed(driver, { unreadForMs: DAY })).summary).toMatchObject({ blobs: 1 });
  expect(Object.values((await readScrubState(objects)).verified).every((time) => time <= Date.now())).toBe(
    true,
  );

  const counted = { rules: new QuotaRules([{ repositories: 'p/**', bytes: 1000 }]), isOwn: () => true };
  const count = (since: number) =>
    usage(contextOf(driver), { ...counted, update: true, quotasOnly: true, since });
  const countedAt = async () => (await readBook(objects, 'p/**')).countedAt;
  setSystemTime(Date.now() + 300 * DAY);
  try {
    await count(1);
  } finally {
    setSystemTime();
  }
  expect(await countedAt()).toBeGreaterThan(Date.now() + DAY);
  await count(1);
  expect(await countedAt()).toBeLessThanOrEqual(Date.now());

  await leave(`${DRIVER_FOLDER}/pulls/since`, '');
  const notes = new PullNotes(objects, () => true);
  const note = `${DRIVER_FOLDER}/pulls/p/app/_manifests/${kept.replace(':', '-')}`;
  await leave(note, '');
  notes.note(nameOf('p/app'), kept);
  await notes.write();
  notes.stop();
  // A file's time has parts of milliseconds.
  expect(await pullsNotedSince(objects)).toBeLessThan(Date.now() + 1);
  expect((await stat(driver.localPath(note))).mtimeMs).toBeLessThan(Date.now() + 1);
});

test('a job that began in the future is run again soon', () => {
  const hour = 3600_000;
  const now = Date.now();
  const run = (startedAt: number, isComplete = true) =>
    nextRun({ intervalMs: DAY }, { startedAt, isComplete }, { startedAt: now - 5 * hour, chance: 0.5, now });
  expect(run(now + 300 * DAY)).toBeLessThanOrEqual(now);
  expect(run(now + 300 * DAY, false)).toBeLessThanOrEqual(now);
  // Another node's clock is a little ahead, and it has just run there.
  expect(run(now + 30_000)).toBeGreaterThan(now + 23 * hour);
});
