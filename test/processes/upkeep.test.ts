/** Upkeep of a server that runs, as an operator sees it: the admin socket, jobs, read-only mode, and what a crash leaves. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { type ChildProcess, spawn } from 'node:child_process';
import { lstat, mkdir, readdir, utimes, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { EndedJob, RunningJob } from '../../src/admin/messages.ts';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { Objects } from '../../src/store/objects.ts';
import { useStorageAlone } from '../../src/store/storage-users.ts';
import { childrenOf, untilEnded } from '../faults/worker-pids.ts';
import { entrepotCommand, type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { digestBy, pushBlob } from '../harness/registry-client.ts';
import { failureOf } from '../harness/failure-of.ts';
import { processEnded, reapProcess } from '../harness/reaper.ts';
import { type Finished, run } from '../harness/tools.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { pause, type Condition, untilHolds, untilLogged } from '../harness/waiting.ts';

let workspace: Workspace;
let registry: RunningRegistry;
let socket = '';

beforeAll(async () => {
  workspace = await createWorkspace('upkeep');
  await restart();
});

afterAll(async () => {
  await registry.dispose();
  await workspace.remove();
});

/** Starts a server on the folder that all tests share. */
async function restart(env: Record<string, string> = {}, folder = 'data'): Promise<void> {
  const dataDirectory = workspace.join(folder);
  registry = await startEntrepot({ workers: 2, dataDirectory, env, config: { log: { level: 'info' } } });
  socket = join(dataDirectory, '_entrepot/admin.sock');
  // Whoever sees a server answer can ask it.
  expect(await status()).toBeDefined();
}

/** Shows the server's log when it does not come to that. */
const until = (condition: Condition) => untilHolds(condition, () => registry.logs());

interface Command {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
}

/** Starts a command that is left to itself. */
async function begin(...args: readonly string[]): Promise<Command> {
  const { command, args: before } = await entrepotCommand();
  const child = spawn(command, [...before, ...args], { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const { pid } = child;
  if (pid !== undefined) reapProcess(pid);
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (more: string) => (text[name] += more));
  }
  const finished = new Promise<Finished>((resolve) => {
    child.on('close', (code) => {
      if (pid !== undefined) processEnded(pid);
      resolve({ ...text, code: code ?? -1 });
    });
  });
  return { child, finished };
}

async function entrepot(...args: readonly string[]): Promise<Finished> {
  const { command, args: before } = await entrepotCommand();
  return run(command, [...before, ...args], { mayFail: true });
}

/** What a server says of its jobs, asked without a command in between; undefined when there is none. */
function status(): Promise<{ running: RunningJob[]; ended: EndedJob[] } | undefined> {
  return say({ ask: 'status' }) as Promise<{ running: RunningJob[]; ended: EndedJob[] } | undefined>;
}

/** The first answer to a question. */
function say(question: unknown): Promise<unknown> {
  return new Promise((resolve) => {
    const connection = connect(socket);
    let text = '';
    connection.setEncoding('utf8').on('data', (more: string) => (text += more));
    connection.on('connect', () =>
      connection.write(`${typeof question === 'string' ? question : JSON.stringify(question)}\n`),
    );
    connection.on('error', () => resolve(undefined));
    connection.on('close', () => resolve(text === '' ? undefined : JSON.parse(text.split('\n')[0] ?? '')));
  });
}

/** A collection that has something to remove waits for pushes that may want it, for longer than any step here takes. */
async function beginLongRun(...more: readonly string[]): Promise<Command & { readonly pid: number }> {
  await pushBlob(registry.url, `garbage/${Date.now()}`, Buffer.from(String(Math.random())));
  const command = await begin('gc', registry.configFile, '--grace', '0s', ...more);
  let pid: number | undefined;
  await until(async () => {
    pid = (await status())?.running[0]?.pid;
    return pid !== undefined;
  });
  return { ...command, pid: pid ?? 0 };
}

test('only the user of the server may ask it, who is told what it does not understand', async () => {
  const { mode } = await lstat(socket);
  expect((mode & 0o777).toString(8)).toBe('600');
  expect((await lstat(join(socket, '..'))).mode & 0o077).toBe(0);
  expect(await say({ ask: 'dance' })).toMatchObject({ tell: 'refused' });
  expect(await say({ ask: 'run', job: '__proto__', options: {} })).toMatchObject({ tell: 'refused' });
  expect(await say({ ask: 'run', job: 'gc', options: { dryrun: true } })).toMatchObject({ tell: 'started' });
  await until(async () => (await status())?.running.length === 0);
  // What was not understood was not done either.
  expect((await status())?.ended).toMatchObject([{ job: 'gc', outcome: { kind: 'failed' } }]);
  expect(await say('{')).toBeUndefined();
  expect(await say('x'.repeat(100_000))).toBeUndefined();
  expect((await fetch(`${registry.url}/v2/`)).status).toBe(200);
});

test('a server runs a job and tells what it does; a second client is told that it runs, and may watch and end it', async () => {
  const first = await beginLongRun('--json');
  const second = await entrepot('gc', registry.configFile);
  expect(second).toMatchObject({ code: 1, stdout: '' });
  expect(second.stderr).toContain('gc runs since');
  const watching = await begin('gc', '--watch', '--config', registry.configFile);
  const running = await entrepot('jobs', 'status', registry.configFile);
  expect(running.stdout).toContain(`(process ${first.pid})`);
  expect(running.stdout).toMatch(/^uploads runs next at \d{4}-\d\d-\d\d \d\d:\d\d UTC$/m);
  expect(running.stdout).toContain('scrub does not run by itself: scrub.enabled is false\n');
  expect(await entrepot('jobs', 'cancel', 'gc', registry.configFile)).toMatchObject({ code: 0 });
  const [told, watched] = await Promise.all([first.finished, watching.finished]);
  expect([told.code, watched.code]).toEqual([130, 130]);
  const lines = told.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  // What is only set aside is not gone.
  expect(lines).toMatchObject([
    { what: 'summary', job: 'gc', outcome: 'stopped', message: 'it was cancelled' },
  ]);
  await until(() => registry.logs().includes('msg="upkeep was stopped" job=gc by=command'));
  expect(await entrepot('jobs', 'cancel', 'gc', registry.configFile)).toMatchObject({ code: 1 });
}, 300_000);

test('Ctrl-C cancels what was asked for, a client that is killed does not', async () => {
  const asked = await beginLongRun();
  process.kill(asked.child.pid ?? 0, 'SIGINT');
  expect(await asked.finished).toMatchObject({
    code: 130,
    stderr: expect.stringContaining('is being cancelled'),
  });
  const killed = await beginLongRun();
  process.kill(killed.child.pid ?? 0, 'SIGKILL');
  await killed.finished;
  expect((await status())?.running).toMatchObject([{ job: 'gc', pid: killed.pid }]);
  // The job itself is killed: that is told, and nothing else comes of it.
  const workers = childrenOf(registry.pid).filter((pid) => pid !== killed.pid);
  process.kill(killed.pid, 'SIGKILL');
  await until(async () => (await status())?.running.length === 0);
  expect((await status())?.ended).toMatchObject([
    { outcome: { kind: 'failed', message: expect.stringContaining('SIGKILL') } },
  ]);
  await untilLogged(registry, 'msg="upkeep failed" job=gc');
  expect(childrenOf(registry.pid)).toEqual(workers);
  // What it left is no lock: the next one runs.
  expect(await entrepot('gc', registry.configFile, '--dry-run')).toMatchObject({ code: 0 });
}, 300_000);

/** Sends the head of an upload's only chunk and all of its bytes but the last, which `finish` sends. */
async function slowPush(
  name: string,
  bytes: Buffer,
): Promise<{ finish: () => void; answer: Promise<number> }> {
  const url = `${registry.url}/v2/${name}/blobs/uploads/?digest=${digestBy('sha256', bytes)}`;
  const sending = request(url, { method: 'POST', agent: false, headers: { 'content-length': bytes.length } });
  const answer = new Promise<number>((resolve, reject) => {
    sending.on('error', reject);
    sending.on('response', (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
  });
  sending.write(bytes.subarray(0, -1));
  const uploads = join(registry.dataDirectory, 'docker/registry/v2/repositories', name, '_uploads');
  await until(async () => (await readdir(uploads).catch(() => [])).length > 0);
  return { finish: () => void sending.end(bytes.subarray(-1)), answer };
}

test('read-only mode lets end what is under way, then refuses all changes, also after a restart', async () => {
  const start = () => fetch(`${registry.url}/v2/p/blobs/uploads/`, { method: 'POST' });
  const kept = await pushBlob(registry.url, 'p', Buffer.from('kept'));
  const push = await slowPush('slow', Buffer.from('under way'));
  const long = await beginLongRun();
  const switching = await begin('read-only', 'on', '--reason', 'a backup is made', registry.configFile);
  // Refused at once; the command waits for what had begun before, and a run of the collector is ended.
  await until(async () => (await start()).status === 405);
  expect(await long.finished).toMatchObject({ code: 130, stderr: expect.stringContaining('read-only mode') });
  expect(switching.child.exitCode).toBeNull();
  push.finish();
  expect(await push.answer).toBe(201);
  const on = await switching.finished;
  expect(on).toMatchObject({ code: 0, stdout: expect.stringContaining('a backup is made') });
  // In every worker: connections of their own, to whichever takes them.
  for (let count = 0; count < 12; count += 1) {
    const refused = await fetch(`${registry.url}/v2/p/blobs/uploads/`, {
      method: 'POST',
      headers: { connection: 'close' },
    });
    expect(refused.status).toBe(405);
    expect(await refused.text()).toContain('read-only mode: a backup is made');
  }
  expect((await fetch(`${registry.url}/v2/p/blobs/${kept}`)).status).toBe(200);
  expect(await registry.stop()).toBe(0);
  expect((await failureOf(lstat(socket))).message).toContain('ENOENT');
  await restart();
  expect((await start()).status).toBe(405);
  expect((await entrepot('read-only', 'off', registry.configFile)).stdout).toBe('read-only mode is off\n');
  expect((await start()).status).toBe(202);
  // As another node, or a command without a server, does it: noticed within seconds.
  const note = join(registry.dataDirectory, 'docker/registry/v2/_entrepot/read-only');
  await writeFile(note, '{"reason":"by hand","since":1}');
  await until(async () => (await start()).status === 405);
  const told = await entrepot('read-only', 'status', '--json', registry.configFile);
  expect(JSON.parse(told.stdout)).toEqual({
    tell: 'read-only',
    readOnly: { on: true, reason: 'by hand', since: 1 },
  });
  expect(await entrepot('read-only', 'off', registry.configFile)).toMatchObject({ code: 0 });
}, 300_000);

test('a supervisor that is killed leaves a socket that the next one replaces, and no job', async () => {
  const long = await beginLongRun();
  process.kill(registry.pid, 'SIGKILL');
  expect(await long.finished).toMatchObject({ code: 1, stderr: expect.stringContaining('gc') });
  await untilEnded([long.pid]);
  expect((await lstat(socket)).isSocket()).toBe(true);
  // Nobody is there: the command does it itself, and waits for no pushes, as there can be none.
  const direct = await entrepot('gc', registry.configFile, '--grace', '0s');
  expect(direct).toMatchObject({ code: 0, stdout: expect.stringContaining('gc: ') });
  await restart();
  expect((await lstat(socket)).mode & 0o777).toBe(0o600);
  // A second server of the same folder serves all the same, and says that it cannot be asked.
  const second = await startEntrepot({ workers: 1, dataDirectory: registry.dataDirectory });
  try {
    await until(() => second.logs().includes('another server listens there'));
  } finally {
    await second.dispose();
  }
  expect(await status()).toBeDefined();
}, 300_000);

test('a server waits for a job that has the storage to itself', async () => {
  const dataDirectory = await workspace.folder('alone');
  const driver = new FilesystemDriver(dataDirectory, 'docker/registry/v2/_entrepot');
  driver.prepare();
  const alone = await useStorageAlone(new Objects(driver), 'gc');
  expect(alone.isAlone).toBe(true);
  const starting = startEntrepot({ workers: 1, dataDirectory });
  await new Promise((resolve) => alone.disturbed.addEventListener('abort', resolve, { once: true }));
  await alone.end();
  const server = await starting;
  await untilLogged(server, `a job (process ${process.pid}) has the storage to itself: waiting for its end`);
  const beside = await useStorageAlone(new Objects(driver), 'gc');
  expect(beside.isAlone).toBe(false);
  await beside.end();
  await server.dispose();
});

test('a server that cannot come to its socket serves, and ends when it is told to', async () => {
  const dataDirectory = workspace.join('locked');
  const lock = join(dataDirectory, '_entrepot/admin.sock.lock');
  await mkdir(join(lock, '..'), { recursive: true });
  // Of another machine, as it seems, whose clock was wrong: nobody breaks it within minutes.
  await writeFile(lock, `${'a'.repeat(28)}-12-34`);
  const wrong = new Date(Date.now() + 600_000);
  await utimes(lock, wrong, wrong);
  const server = await startEntrepot({ dataDirectory });
  expect(await server.stop()).toBe(0);
  expect(server.logs()).not.toContain('commands cannot ask');
  await server.dispose();
});

test('by its timetable the collector runs by itself, and only in its window', async () => {
  await registry.stop();
  const now = new Date();
  const hour = (later: number) => `${String((now.getHours() + later) % 24).padStart(2, '0')}:00`;
  const env = { REGISTRY_GARBAGE_COLLECTOR_ENABLED: 'true', REGISTRY_GARBAGE_COLLECTOR_INTERVAL: '200ms' };
  // Of its own: where there is trash a run waits for its time.
  await restart({ ...env, REGISTRY_GARBAGE_COLLECTOR_WINDOW: `"${hour(23)}-${hour(2)}"` }, 'empty');
  await until(() => /msg="upkeep is done" job=gc by=schedule/.test(registry.logs()));
  await registry.stop();
  await restart({ ...env, REGISTRY_GARBAGE_COLLECTOR_WINDOW: `"${hour(3)}-${hour(5)}"` }, 'empty');
  await pause(1_000);
  expect(registry.logs()).not.toContain('by=schedule');
}, 300_000);
