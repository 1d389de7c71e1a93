/** Commands that run upkeep where no server does, and how they show it. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { writeFile } from 'node:fs/promises';
import { gc, garbageCollect, type GcFlags } from '../../src/cli/upkeep.ts';
import { retention, retentionExplain, scrub } from '../../src/cli/check-storage.ts';
import type { CommandIo } from '../../src/cli/command-io.ts';
import { jobsStatus } from '../../src/cli/jobs.ts';
import { readOnly } from '../../src/cli/read-only.ts';
import { describeItem, describeSummary, EXIT, JobReport } from '../../src/cli/job-report.ts';
import { formatSeconds, formatSize } from '../../src/cli/format.ts';
import { barLine, ProgressBar } from '../../src/cli/progress-bar.ts';
import type { JobOutcome } from '../../src/server/job-messages.ts';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { blobKey, layerLinkKey } from '../../src/store/layout.ts';
import { linkBytes } from '../../src/store/objects.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { pushImage } from '../store/content.ts';
import { RULES } from '../store/subject.ts';
import { failureOf } from '../harness/failure-of.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { digestBy } from '../harness/registry-client.ts';
import type { Digest } from '../../src/oci/digest.ts';
import type { RepositoryName } from '../../src/oci/name.ts';
import { captured } from './captured-io.ts';

const KEPT =
  'younger than the grace time of 1d; to free it now: `entrepot gc --grace 1m`, or another shorter time';

let workspace: Workspace;
let file = '';
let driver: FilesystemDriver;
const bytes = Buffer.from('nobody wants this');
const digest = digestBy('sha256', bytes) as Digest;
const NAME = 'lib/a' as RepositoryName;

beforeAll(async () => {
  workspace = await createWorkspace('upkeep-commands');
  file = workspace.join('config.yml');
  await workspace.folder('data');
  await config(workspace.join('data'));
  driver = new FilesystemDriver(workspace.join('data'), 'docker/registry/v2/_entrepot');
  driver.prepare();
});

afterAll(() => workspace.remove());

async function config(rootDirectory: string, more = ''): Promise<void> {
  await writeFile(file, `version: 0.1\nstorage: {filesystem: {rootdirectory: ${rootDirectory}}${more}}\n`);
}

async function garbage(): Promise<void> {
  await driver.write(blobKey(digest), bytes);
  await driver.write(layerLinkKey(NAME, digest), linkBytes(digest));
}

const collect = (flags: GcFlags) => captured((io) => gc({ file, ...flags }, io));

test('without a server it is done at once and here; a dry run tells the same and does nothing', async () => {
  await garbage();
  const dry = await collect({ dryRun: true, grace: '0s' });
  expect(dry).toMatchObject({ code: 0, err: '' });
  expect(dry.out).toContain(`blob ${digest} 17 B (no repository links to it)\n`);
  expect(await driver.stat(blobKey(digest))).toMatchObject({ size: 17 });
  const kept = await collect({ json: true, grace: '24h' });
  expect(
    kept.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual([
    { what: 'kept', repository: NAME, links: 1, until: expect.any(String), why: KEPT },
    {
      what: 'summary',
      job: 'gc',
      outcome: 'done',
      seconds: expect.any(Number),
      summary: expect.objectContaining({ blobs: 0, young: 1 }),
    },
  ]);
  const until = String((JSON.parse(kept.out.split('\n')[0] ?? '') as { until?: unknown }).until);
  const left = Date.parse(until) - Date.now();
  expect(left > 23 * 3600_000 && left <= 24 * 3600_000).toBe(true);
  // In whole minutes, and not too early.
  const shown = new Date(Date.parse(until) + 59_999).toISOString().slice(0, 16).replace('T', ' ');
  expect((await collect({ grace: '1d' })).out).toContain(
    `kept ${NAME} links 1 until ${shown} UTC (${KEPT})\n`,
  );
  const real = await collect({ grace: '0s' });
  expect(real.code).toBe(0);
  const results = (out: string) => out.split('\n').slice(0, -2);
  expect(results(real.out)).toEqual(results(dry.out));
  expect(real.out).toMatch(/\ngc: repositories 1, .*blobs 1, bytes 17 B, \d+\.\d s\n$/);
  expect((await failureOf(driver.stat(blobKey(digest)))).message).toContain('no object');
  expect(await collect({ grace: '0s', quiet: true })).toEqual({ code: 0, out: '', err: '' });
});

test('garbage-collect tells what scripts of registry:2 look for', async () => {
  await garbage();
  const long = { file, dryRun: true };
  const dry = await captured((io) => garbageCollect(long, io));
  expect(dry.out).toBe(
    `blob eligible for deletion: ${digest}\n\n1 blobs and 0 manifests eligible for deletion\n`,
  );
  const real = await captured((io) => garbageCollect({ file, quiet: true }, io));
  expect(real).toEqual({ code: 0, out: '', err: '' });
  expect((await failureOf(driver.stat(blobKey(digest)))).message).toContain('no object');
});

test('bytes without any repository go only when that is asked for', async () => {
  await driver.write(blobKey(digest), bytes);
  const refused = await collect({});
  expect([refused.code, refused.out]).toEqual([3, expect.stringContaining('`entrepot gc --empty`')]);
  const alias = await captured((io) => garbageCollect({ file }, io));
  expect([alias.code, alias.out]).toEqual([3, expect.stringContaining('`entrepot gc --empty`')]);
  expect(await driver.stat(blobKey(digest))).toMatchObject({ size: 17 });
  expect(await collect({ empty: true, quiet: true })).toEqual({ code: 0, out: '', err: '' });
  expect((await failureOf(driver.stat(blobKey(digest)))).message).toContain('no object');
});

test('by hand manifests without a tag go at once, also where a rule would wait', async () => {
  const registry = new LocalRegistry(driver, RULES);
  const { digest: before } = await pushImage(registry.repository(NAME), ['v1'], { layers: ['one'] });
  await pushImage(registry.repository(NAME), ['v1'], { layers: ['two'] });
  await config(workspace.join('data'), '}\nretention: {rules: [{repositories: "*", untagged: 7d}]');
  const dry = (deleteUntagged: boolean) => collect({ dryRun: true, grace: '0s', deleteUntagged });
  expect((await dry(false)).out).not.toContain(`manifest lib/a ${before}`);
  expect((await dry(true)).out).toContain(`manifest lib/a ${before}`);
  const told = await captured((io) => retentionExplain({ file, reference: 'lib/a' }, io));
  expect([told.code, told.out]).toEqual([0, expect.stringContaining(`${before} stays for now: rule 1`)]);
  expect(told.out).toContain('garbage_collector is not enabled: `entrepot gc` removes it in 6d23h');
  await config(workspace.join('data'));
});

test('what cannot be done is one line', async () => {
  expect(await collect({ grace: 'soon' })).toEqual({
    code: 2,
    out: '',
    err: '--grace: soon is no duration; one is such as 30m, 2h or 1d\n',
  });
  expect(await captured((io) => jobsStatus({ file }, io))).toEqual({
    code: 1,
    out: '',
    err: 'no server of this configuration runs on this machine\n',
  });
  await config(workspace.join('dada'));
  const slip = await collect({});
  expect(slip).toMatchObject({
    code: 1,
    out: '',
    err: expect.stringContaining('/dada: there is no such folder\n'),
  });
  await writeFile(file, 'version: 0.1\nstorage: inmemory\n');
  expect((await collect({})).err).toBe('storage: what is kept in memory is known to the server alone\n');
  await config(workspace.join('data'));
});

test('read-only mode is switched in the storage where no server runs; that of the configuration stays', async () => {
  const ask = (on?: boolean, reason?: string) =>
    captured((io) => readOnly({ file, ...(on === undefined ? {} : { on }), reason }, io));
  expect((await ask()).out).toBe('read-only mode is off\n');
  expect((await ask(true, 'a backup')).out).toMatch(/^read-only mode is on since .* UTC: a backup\n$/);
  expect((await ask()).out).toMatch(/ UTC: a backup\n$/);
  for (const changing of [
    (io: CommandIo) => retention({ file }, io),
    (io: CommandIo) => scrub({ file, repair: true }, io),
  ]) {
    const told = await captured(changing);
    expect([told.code, told.err]).toEqual([1, expect.stringContaining('read-only (a backup)')]);
  }
  expect(await captured((io) => retention({ file, dryRun: true }, io))).toMatchObject({ code: 0 });
  // By hand the collector runs also then: that is what it is often for.
  expect(await collect({ grace: '0s', quiet: true })).toMatchObject({ code: 0 });
  await config(workspace.join('data'), ', maintenance: {readonly: {enabled: true}}');
  expect(await ask(false)).toEqual({
    code: 1,
    out: 'read-only mode is on by the configuration\n',
    err: 'storage.maintenance.readonly is set in the configuration, and stays\n',
  });
  await config(workspace.join('data'));
  expect((await ask()).out).toBe('read-only mode is off\n');
});

test('sizes, times, items and bars are written for people', () => {
  expect([0, 1023, 1024, 1.5 * 2 ** 30].map(formatSize)).toEqual(['0 B', '1023 B', '1.0 KiB', '1.5 GiB']);
  expect([0, 9.94, 59, 61, 3725].map(formatSeconds)).toEqual([
    '0.0 s',
    '9.9 s',
    '59 s',
    '1 min 1 s',
    '1 h 2 min',
  ]);
  expect(describeItem({ what: 'blob', digest: 'sha256:a', bytes: 2048, why: 'old' })).toBe(
    'blob sha256:a 2.0 KiB (old)',
  );
  expect(
    describeItem({ what: 'brokenLink', count: 2, tags: ['a', 'b'], dryRun: true, no: false, none: [] }),
  ).toBe('broken link count 2 tags a, b dry run');
  const missing = {
    what: 'missing layer',
    repository: 'a',
    manifest: 'sha256:aa',
    digest: 'sha256:bb',
    tag: 'v1',
  };
  expect(describeItem(missing)).toBe('missing layer a manifest sha256:aa layer sha256:bb tag v1');
  const three = { what: 'x', repositories: ['a', 'b', 'c'] };
  expect(describeItem(three)).toBe('x repositories a, b, c');
  expect(describeItem({ ...three, moreRepositories: 2 })).toBe('x repositories a, b, c and 2 more');
  expect(barLine({ kind: 'progress', phase: 'marking', done: 1500, total: 3000 }, 1200)).toBe(
    'marking  [############            ]  50 %  1,500 of 3,000, 1,200 a second',
  );
  expect(barLine({ kind: 'progress', phase: 'marking', done: 1500 }, undefined)).toBe('marking  1,500');
  let shown = '';
  const bar = new ProgressBar(
    (text) => (shown += text),
    () => 0,
  );
  bar.erase();
  bar.show({ kind: 'progress', phase: 'a', done: 1 });
  bar.erase();
  bar.erase();
  expect(shown).toBe('\r\u001B[2Ka  1\r\u001B[2K');
});

test('the exit code tells how a run ended', async () => {
  const codes: (readonly [JobOutcome, number])[] = [
    [{ kind: 'done', summary: { problems: 0 } }, EXIT.done],
    [{ kind: 'done', summary: { problems: 2 } }, EXIT.problems],
    [{ kind: 'failed', message: 'why' }, EXIT.failed],
    [{ kind: 'busy', message: 'why' }, EXIT.failed],
    [{ kind: 'stopped', message: 'why' }, EXIT.cancelled],
  ];
  for (const [outcome, code] of codes) {
    const ended = { job: 'scrub', by: 'command', startedAt: 0, seconds: 1, options: {}, outcome } as const;
    const told = await captured((io) => Promise.resolve(new JobReport(io, {}).end(ended)));
    expect(told.code).toBe(code);
    expect(told.out).toBe(outcome.kind === 'done' ? `${describeSummary(outcome.summary, ended)}\n` : '');
    expect(told.err.includes('why')).toBe(outcome.kind !== 'done');
  }
});
