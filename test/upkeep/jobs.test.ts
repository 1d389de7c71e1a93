/** What runs jobs: the schedule, the board, how a run is told, and who may have the storage to itself. */
import { describe, expect, test } from 'bun:test';
import { setTimeout as delay } from 'node:timers/promises';
import { JobBoard } from '../../src/admin/job-board.ts';
import { Schedule, type ScheduledJob } from '../../src/admin/schedule.ts';
import type { LastRun } from '../../src/admin/timetable.ts';
import { hasOnlyTold, runJob } from '../../src/app-upkeep.ts';
import { loadConfig } from '../../src/config/load.ts';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import type { JobEvent, JobOutcome } from '../../src/server/job-messages.ts';
import { ALONE_KEY, USERS } from '../../src/store/layout.ts';
import { jobNote, noteJob, noteReadOnly, readOnlyNote } from '../../src/store/notes.ts';
import { Objects } from '../../src/store/objects.ts';
import { storageUsers, StorageTaken, useStorage, useStorageAlone } from '../../src/store/storage-users.ts';
import { failureOf } from '../harness/failure-of.ts';
import { SILENT } from './collecting.ts';
import { untilHolds } from '../harness/waiting.ts';

/** A job that runs until it is told how it ends. */
function fakeJobs() {
  const runs: {
    job: string;
    end: (outcome: JobOutcome) => void;
    event: (event: JobEvent) => Promise<void> | undefined;
    stopped: boolean;
  }[] = [];
  const lines: string[] = [];
  const write =
    (level: string) =>
    (message: string, fields: object = {}) =>
      void lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
  const log = { debug: () => undefined, info: write('info'), warn: write('warn'), error: write('error') };
  const board = new JobBoard(
    (job, _options, event) => {
      const { promise: outcome, resolve: end } = Promise.withResolvers<JobOutcome>();
      const run = { job, end, event, stopped: false };
      runs.push(run);
      const stop = () => {
        run.stopped = true;
        end({ kind: 'stopped', message: 'stopped' });
      };
      return Promise.resolve({ pid: 1, outcome, stop, kill: stop });
    },
    log,
    hasOnlyTold,
  );
  return { runs, lines, board };
}

describe('the board', () => {
  test('has one run of a kind, any number of watchers, one line for each run', async () => {
    const { runs, lines, board } = fakeJobs();
    const first = board.start('gc', { graceMs: 5 }, 'command');
    const again = board.start('gc', {}, 'schedule');
    expect([first?.isNew, again?.isNew]).toEqual([true, false]);
    expect(again?.run).toBe(first?.run);
    await delay(1);
    const seen: string[] = [];
    const watch = (name: string) => first?.run.watch((event) => void seen.push(`${name} ${event.kind}`));
    const leave = watch('a');
    watch('b');
    void runs[0]?.event({ kind: 'progress', phase: 'looking', done: 3, total: 6 });
    leave?.();
    void runs[0]?.event({ kind: 'items', items: [{ what: 'blob' }] });
    expect(seen).toEqual(['a progress', 'b progress', 'b items']);
    expect((await board.status()).running).toMatchObject([
      { job: 'gc', by: 'command', pid: 1, progress: { done: 3 } },
    ]);
    runs[0]?.end({ kind: 'done', summary: { blobs: 2 } });
    expect(await first?.run.ended).toMatchObject({ outcome: { kind: 'done' } });
    await delay(1);
    expect(await board.status()).toMatchObject({
      running: [],
      ended: [{ job: 'gc', options: { graceMs: 5 } }],
    });
    expect(lines).toEqual([
      expect.stringMatching(/^info upkeep is done .*"job":"gc","by":"command".*"blobs":2/),
    ]);
    const other = board.start('scrub', {}, 'command');
    await board.close();
    expect(await other?.run.ended).toMatchObject({
      outcome: { kind: 'stopped', message: 'the server ends' },
    });
    expect(board.start('gc', {}, 'command')).toBeUndefined();
  });

  test('what only tells is not shown as the last run, nor logged as upkeep that failed', async () => {
    const { runs, lines, board } = fakeJobs();
    const ends: JobOutcome[] = [
      { kind: 'done', summary: { deleted: 2 } },
      { kind: 'done', summary: { goes: 1, dryRun: true } },
      { kind: 'failed', message: 'typo: there is no such repository' },
      // By its settings.
      { kind: 'done', summary: { uploads: 1, dryRun: true } },
    ];
    const asked = [
      { dryRun: false },
      { dryRun: true },
      { dryRun: false, explain: true, repository: 'typo' },
      {},
    ];
    for (const [index, outcome] of ends.entries()) {
      const started = board.start('retention', asked[index], 'command');
      await delay(1);
      expect((await board.status()).running).toMatchObject([{ job: 'retention', options: asked[index] }]);
      runs[index]?.end(outcome);
      // Who asked is told all the same.
      expect(await started?.run.ended).toMatchObject({ outcome });
      await delay(1);
      expect(await board.status()).toMatchObject({
        running: [],
        ended: [{ outcome: { summary: { deleted: 2 } } }],
      });
    }
    expect(lines).toEqual([
      expect.stringMatching(/^info upkeep is done .*"deleted":2/),
      expect.stringMatching(/^info upkeep is done .*"dryRun":true/),
      expect.stringMatching(/^info what was asked of upkeep could not be told .*"reason":"typo: /),
      expect.stringMatching(/^info upkeep is done .*"dryRun":true/),
    ]);
    // A real run that fails is, whatever it was asked.
    for (const options of [undefined, 'explain', { dryRun: 'yes' }, { explain: false }]) {
      lines.length = 0;
      board.start('retention', options, 'command');
      await delay(1);
      runs.at(-1)?.end({ kind: 'failed', message: 'broken' });
      await delay(1);
      expect((await board.status()).ended).toMatchObject([{ outcome: { message: 'broken' } }]);
      expect(lines).toEqual([expect.stringMatching(/^error upkeep failed .*"error":"broken"/)]);
    }
    await board.close();
  });

  test('a watcher that reads slowly slows the run, and no other', async () => {
    const { runs, board } = fakeJobs();
    const started = board.start('gc', {}, 'command');
    await delay(1);
    const { promise, resolve } = Promise.withResolvers<void>();
    started?.run.watch(() => promise);
    started?.run.watch(() => undefined);
    let passed = false;
    const passing = Promise.resolve(runs[0]?.event({ kind: 'items', items: [] })).then(() => (passed = true));
    await delay(5);
    expect(passed).toBe(false);
    resolve();
    await passing;
    await board.close();
  });
});

test('the schedule leaves to others what runs there, waits while it must not run, and does not repeat what was cancelled', async () => {
  const { runs, board } = fakeJobs();
  const notes = new Map<string, LastRun>();
  let completed = 0;
  let paused = true;
  const next: (number | undefined)[] = [];
  let jobs: ScheduledJob[] = [{ job: 'gc', options: {}, timetable: { intervalMs: 20 } }];
  const schedule = new Schedule({
    jobs: () => jobs,
    lastRun: (job) => Promise.resolve(notes.get(job)),
    noteRun: (job, run) => {
      if (run.isComplete) completed += 1;
      return Promise.resolve(void notes.set(job, run));
    },
    start: (job, options) => board.start(job, options, 'schedule')?.run,
    isPaused: () => paused,
    onNext: (_job, at) => void next.push(at),
    onFailure: (_job, error) => {
      throw error;
    },
  });
  try {
    await delay(60);
    expect(runs).toHaveLength(0);
    expect(next.some((at) => at !== undefined && Math.abs(at - Date.now()) < 60_000)).toBe(true);
    expect(next).toContain(undefined);
    paused = false;
    await untilHolds(() => runs.length === 1);
    expect(notes.get('gc')).toMatchObject({ isComplete: false });
    runs[0]?.end({ kind: 'busy', message: 'elsewhere' });
    await untilHolds(() => runs.length === 2);
    expect(notes.get('gc')).toMatchObject({ isComplete: false });
    runs[1]?.end({ kind: 'done', summary: {} });
    await untilHolds(() => runs.length === 3);
    expect(completed).toBe(1);
    board.find('gc')?.stop('it was cancelled');
    await untilHolds(() => completed === 2);
    // What is as it was goes on, what is no more is not begun again, and what is new is begun.
    jobs = [...jobs, { job: 'scrub', options: {}, timetable: { intervalMs: 20 } }];
    schedule.renew();
    await untilHolds(() => runs.length === 5);
    expect(board.running.map(({ job }) => job).sort()).toEqual(['gc', 'scrub']);
    jobs = [{ job: 'scrub', options: {}, timetable: { intervalMs: 3_600_000 } }];
    schedule.renew();
    expect(next.at(-1)).toBeUndefined();
    for (const run of runs.slice(3)) run.end({ kind: 'done', summary: {} });
    await untilHolds(() => board.running.length === 0);
    await delay(60);
    expect(runs).toHaveLength(5);
  } finally {
    schedule.end();
    await board.close();
  }
});

test('a run tells of what it does in batches, ends when it is asked to, and refuses what it does not understand', async () => {
  const { config } = await loadConfig({ env: { REGISTRY_STORAGE: 'inmemory' } });
  const objects = new Objects(new MemoryDriver());
  for (let count = 0; count < 700; count += 1) {
    const folder = `docker/registry/v2/repositories/r/_uploads/${count}/`;
    await objects.driver.write(`${folder}startedat`, Buffer.from('2020-01-01T00:00:00Z'));
  }
  const events: JobEvent[] = [];
  const options = {
    config,
    objects,
    log: SILENT,
    exclusive: true,
    onEvent: (event: JobEvent) => void events.push(event),
  };
  const signal = new AbortController().signal;
  const refused = await runJob('uploads', { dryRun: 'yes' }, { ...options, signal });
  expect(refused).toEqual({ kind: 'failed', message: expect.stringContaining('uploads: dryRun: ') });
  const reason = AbortSignal.abort(new Error('enough'));
  expect(await runJob('uploads', {}, { ...options, signal: reason })).toEqual({
    kind: 'stopped',
    message: 'enough',
  });
  expect(events).toEqual([]);
  let waits = 0;
  const whenRead = () => ((waits += 1) % 100 === 0 ? delay(1).then(() => undefined) : undefined);
  const outcome = await runJob('uploads', { dryRun: true }, { ...options, signal, whenRead });
  expect(outcome).toEqual({ kind: 'done', summary: { uploads: 700, dryRun: true } });
  expect(waits).toBe(700);
  const batches = events.flatMap((event) => (event.kind === 'items' ? [event.items.length] : []));
  expect(batches.reduce((sum, size) => sum + size, 0)).toBe(700);
  expect(batches.length).toBeLessThan(70);
  expect(events.filter(({ kind }) => kind === 'progress').length).toBeLessThan(70);
});

describe('the storage', () => {
  const quiet = { withinMs: 5_000, onWait: () => undefined };

  test('is had alone by one, and only while nobody else uses it', async () => {
    const objects = new Objects(new MemoryDriver());
    const alone = await useStorageAlone(objects, 'gc');
    expect(alone.isAlone).toBe(true);
    expect(await failureOf(useStorageAlone(objects, 'scrub'))).toBeInstanceOf(StorageTaken);
    const hasty = useStorage(objects, 'server', { ...quiet, withinMs: 0 });
    expect((await failureOf(hasty)).message).toContain('has the storage to itself');
    expect(alone.disturbed.aborted).toBe(false);
    // A server that starts waits; the job sees it, and ends.
    const waited: string[] = [];
    const coming = useStorage(objects, 'server', {
      withinMs: 20_000,
      onWait: (holder) => void waited.push(holder),
    });
    await new Promise((resolve) => alone.disturbed.addEventListener('abort', resolve, { once: true }));
    expect(String(alone.disturbed.reason)).toContain(`server (process ${process.pid} of `);
    await alone.end();
    const server = await coming;
    expect([server.isAlone, waited.length]).toEqual([false, 1]);
    const beside = await useStorageAlone(objects, 'gc');
    expect(beside.isAlone).toBe(false);
    expect((await storageUsers(objects)).map(({ what }) => what).sort()).toEqual(['gc', 'server']);
    await server.end();
    // The job that runs beside others is a user itself.
    expect((await useStorageAlone(objects, 'usage')).isAlone).toBe(false);
    await beside.end();
  });

  test('is free again after a crash', async () => {
    const objects = new Objects(new MemoryDriver());
    const [host] = (await import('../../src/process-identity.ts')).PROCESS.split('-');
    const dead = `${host}-1-1-0123456789abcdef`;
    await objects.driver.write(ALONE_KEY, Buffer.from(dead));
    await objects.driver.write(USERS + dead, Buffer.from('{"what":"server"'));
    const alone = await useStorageAlone(objects, 'gc');
    expect(alone.isAlone).toBe(true);
    // Taken over, as after a long sleep of the machine: it is not taken back.
    await objects.driver.write(ALONE_KEY, Buffer.from(dead));
    await new Promise((resolve) => alone.disturbed.addEventListener('abort', resolve, { once: true }));
    await alone.end();
    expect(Buffer.from((await objects.bytes(ALONE_KEY)) ?? []).toString()).toBe(dead);
  });

  test('of ten that want it alone at once no two have it, and none has it beside a user', async () => {
    const objects = new Objects(new MemoryDriver());
    let alone = 0;
    let users = 0;
    await Promise.all(
      Array.from({ length: 10 }, async (_, number) => {
        const use =
          number % 3 === 0
            ? await useStorage(objects, 'server', { ...quiet, withinMs: 60_000 })
            : await useStorageAlone(objects, 'gc').catch((error: unknown) => {
                if (error instanceof StorageTaken) return undefined;
                throw error;
              });
        if (use === undefined) return;
        if (use.isAlone) alone += 1;
        else users += 1;
        expect([alone, users]).toSatisfy(([a, u]) => (a === 1 && u === 0) || a === 0);
        await delay(5);
        if (use.isAlone) alone -= 1;
        else users -= 1;
        await use.end();
      }),
    );
    expect(await storageUsers(objects)).toEqual([]);
    expect(await objects.exists(ALONE_KEY)).toBe(false);
  });

  test('keeps what was noted in it; a damaged note refuses changes', async () => {
    const objects = new Objects(new MemoryDriver());
    expect([await readOnlyNote(objects), await jobNote(objects, 'gc')]).toEqual([undefined, undefined]);
    await noteReadOnly(objects, { reason: 'r', since: 5 });
    await noteJob(objects, 'gc', { startedAt: 7, isComplete: true });
    expect(await readOnlyNote(objects)).toEqual({ reason: 'r', since: 5 });
    expect(await jobNote(objects, 'gc')).toEqual({ startedAt: 7, isComplete: true });
    await objects.driver.write('docker/registry/v2/_entrepot/read-only', Buffer.from('{"rea'));
    expect(await readOnlyNote(objects)).toEqual({ reason: '', since: 0 });
    await noteReadOnly(objects, undefined);
    expect(await readOnlyNote(objects)).toBeUndefined();
  });
});
