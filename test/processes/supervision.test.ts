/** What an operator sees of the processes: crashes, draining, rolling restarts, addresses that are taken. */
import { afterEach, expect, test } from 'bun:test';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { request } from 'node:http';
import {
  type EntrepotOptions,
  entrepotCommand,
  type RunningRegistry,
  startEntrepot,
} from '../harness/entrepot.ts';
import { run } from '../harness/tools.ts';
import { childrenOf, untilEnded } from '../faults/worker-pids.ts';
import { untilHolds, untilLogged } from '../harness/waiting.ts';
import { createWorkspace } from '../harness/workspace.ts';

const started: RunningRegistry[] = [];

async function start(options: EntrepotOptions = {}): Promise<RunningRegistry> {
  const registry = await startEntrepot({ workers: 2, ...options });
  started.push(registry);
  return registry;
}

afterEach(async () => {
  for (const registry of started.splice(0)) await registry.dispose();
});

/** Pushes a blob of so many bytes and returns its URL. */
async function pushBlob(url: string, size: number): Promise<string> {
  const bytes = Buffer.alloc(size, 'entrepot');
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  const answer = await fetch(`${url}/v2/p/blobs/uploads/?digest=${digest}`, { method: 'POST', body: bytes });
  expect(answer.status).toBe(201);
  return `${url}/v2/p/blobs/${digest}`;
}

/** Begins a download and reads nothing more of it until `finish` is called, which tells how many bytes came. */
function slowDownload(url: string): Promise<{ finish: () => Promise<number> }> {
  return new Promise((resolve, reject) => {
    request(url, { agent: false }, (answer) => {
      let size = 0;
      answer.pause();
      resolve({
        finish: () =>
          new Promise((done, failed) => {
            answer.on('data', (chunk: Buffer) => (size += chunk.length));
            answer.on('end', () => done(size));
            answer.on('error', failed);
            answer.resume();
          }),
      });
    })
      .on('error', reject)
      .end();
  });
}

/** The status of a request on a connection of its own; once repeated, as clients do, when a crash took the connection. */
function freshStatus(url: string, repeated = false): Promise<number> {
  return new Promise<number>((resolve, reject) => {
    request(`${url}/v2/`, { agent: false }, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode ?? 0));
    })
      .on('error', reject)
      .end();
  }).catch((error: unknown) => {
    if (repeated) throw error;
    return freshStatus(url, true);
  });
}

test('a worker that is killed is named in the log and replaced, and the others serve on', async () => {
  const registry = await start();
  // It is said when all workers serve; one that answers is enough for the harness.
  await untilHolds(() => registry.logs().includes('is serving on'));
  const [first] = childrenOf(registry.pid);
  if (first === undefined) throw new Error('there are no workers');
  process.kill(first, 'SIGKILL');
  await untilHolds(() => {
    const pids = childrenOf(registry.pid);
    return pids.length === 2 && !pids.includes(first);
  });
  await untilHolds(() => registry.logs().includes(String(first)));
  for (let i = 0; i < 20; i += 1) expect(await freshStatus(registry.url)).toBe(200);
});

test('SIGTERM lets a download under way end, refuses new connections, and exits with 0', async () => {
  const registry = await start({ config: { http: { draintimeout: '5m' } } });
  const size = 48 * 1024 * 1024;
  const download = await slowDownload(await pushBlob(registry.url, size));
  const stopped = registry.stop('SIGTERM');
  await untilHolds(() =>
    // On Node 20 a connection may be taken by the parent and given to nobody: it is ended with the process.
    fetch(`${registry.url}/v2/`, {
      headers: { connection: 'close' },
      signal: AbortSignal.timeout(1000),
    }).then(
      () => false,
      () => true,
    ),
  );
  expect(await download.finish()).toBe(size);
  expect(await stopped).toBe(0);
});

test('SIGHUP replaces the workers while a download goes on and new requests are answered', async () => {
  const registry = await start();
  const size = 48 * 1024 * 1024;
  const download = await slowDownload(await pushBlob(registry.url, size));
  const before = childrenOf(registry.pid);
  process.kill(registry.pid, 'SIGHUP');
  await untilHolds(async () => {
    expect((await fetch(`${registry.url}/v2/`)).status).toBe(200);
    return newWorkers(registry, before) === 2;
  });
  // The one that sends the download goes on beside them, and ends after it.
  expect(await download.finish()).toBe(size);
  await untilHolds(() => childrenOf(registry.pid).length === 2);
  expect(newWorkers(registry, before)).toBe(2);
  expect((await fetch(`${registry.url}/v2/`)).status).toBe(200);
});

function newWorkers(registry: RunningRegistry, before: readonly number[]): number {
  return childrenOf(registry.pid).filter((pid) => !before.includes(pid)).length;
}

test('what is in memory outlives SIGHUP, and the log says what a crash costs', async () => {
  const registry = await start({ config: { storage: { inmemory: {} }, log: { level: 'warn' } } });
  const blob = await pushBlob(registry.url, 1000);
  const before = childrenOf(registry.pid);
  process.kill(registry.pid, 'SIGHUP');
  await untilHolds(() => registry.logs().includes('worker 0 is not replaced: '));
  await untilLogged(registry, 'what it has in memory (storage.inmemory) would be lost');
  expect(childrenOf(registry.pid)).toEqual(before);
  expect((await fetch(blob)).status).toBe(200);
  for (const pid of before) process.kill(pid, 'SIGKILL');
  await untilHolds(() => /ended unasked.*lost="what it has in memory/.test(registry.logs()));
});

test('no worker outlives a supervisor that is killed', async () => {
  const registry = await start();
  const pids = childrenOf(registry.pid);
  expect(pids.length).toBe(2);
  await registry.kill9();
  await untilEnded(pids);
});

test('an address that another Entrepot has is one clear line and exit code 1', async () => {
  const registry = await start();
  const { command, args } = await entrepotCommand();
  const second = await run(command, [...args, 'serve', registry.configFile], { mayFail: true });
  expect(second.code).toBe(1);
  expect(second.stderr.trim().split('\n')).toHaveLength(1);
  expect(second.stderr).toContain('in use');
  expect((await fetch(`${registry.url}/v2/`)).status).toBe(200);
});

test('SIGHUP while the server starts does not end it', async () => {
  const workspace = await createWorkspace('early');
  try {
    const file = workspace.join('config.yml');
    await run('mkfifo', [file]);
    const { command, args } = await entrepotCommand();
    const server = spawn(command, [...args, 'serve', file], { stdio: 'ignore' });
    const ended = once(server, 'exit');
    // Opened as soon as the server reads it.
    const config = await open(file, 'w');
    server.kill('SIGHUP');
    await config.write('http: {addr: wrong}\n');
    await config.close();
    expect(await ended).toEqual([1, null]);
  } finally {
    await workspace.remove();
  }
});

test('a terminal that is closed ends the server as SIGTERM does, though the log cannot be written any more', async () => {
  const { command, args } = await entrepotCommand();
  let text = '';
  const child = Bun.spawn([command, ...args, 'serve'], {
    env: { ...process.env, REGISTRY_STORAGE: 'inmemory', REGISTRY_HTTP_ADDR: '127.0.0.1:0' },
    terminal: { cols: 200, data: (_, data) => void (text += Buffer.from(data).toString()) },
  });
  await untilHolds(() => text.includes('serving on'));
  const workers = childrenOf(child.pid);
  child.terminal?.close();
  expect(await child.exited).toBe(0);
  await untilEnded(workers);
});
