/** What an operator sees of the processes: crashes, draining, rolling restarts, addresses that are taken. */
import { afterEach, expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import { request } from 'node:http';
import {
  type EntrepotOptions,
  entrepotCommand,
  type RunningRegistry,
  startEntrepot,
} from '../harness/entrepot.ts';
import { run } from '../harness/tools.ts';
import { childrenOf, untilEnded } from '../faults/worker-pids.ts';

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

async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 20_000; Date.now() < end;) {
    if (await what()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('it did not come to pass within 20 seconds');
}

test('a worker that is killed is named in the log and replaced, and the others serve on', async () => {
  const registry = await start();
  // It is said when all workers serve; one that answers is enough for the harness.
  await until(() => registry.logs().includes('is serving on'));
  const [first] = childrenOf(registry.pid);
  if (first === undefined) throw new Error('there are no workers');
  process.kill(first, 'SIGKILL');
  await until(() => {
    const pids = childrenOf(registry.pid);
    return pids.length === 2 && !pids.includes(first);
  });
  await until(() => registry.logs().includes(String(first)));
  for (let i = 0; i < 20; i += 1) expect(await freshStatus(registry.url)).toBe(200);
});

test('SIGTERM lets a download under way end, refuses new connections, and exits with 0', async () => {
  const registry = await start();
  const size = 48 * 1024 * 1024;
  const download = await slowDownload(await pushBlob(registry.url, size));
  const stopped = registry.stop('SIGTERM');
  await until(() =>
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
  await until(async () => {
    expect((await fetch(`${registry.url}/v2/`)).status).toBe(200);
    return newWorkers(registry, before) > 0;
  });
  // The one that sends the download ends after it; then the rest is replaced.
  expect(await download.finish()).toBe(size);
  await until(() => newWorkers(registry, before) === 2);
  expect((await fetch(`${registry.url}/v2/`)).status).toBe(200);
});

function newWorkers(registry: RunningRegistry, before: readonly number[]): number {
  return childrenOf(registry.pid).filter((pid) => !before.includes(pid)).length;
}

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
