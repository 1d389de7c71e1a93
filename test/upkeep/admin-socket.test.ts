/** The admin socket's file: whose it is, what stands in its way, and what a client of it sees. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { chmod, lstat, readdir, rmdir, unlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { AdminSocketUnavailable, listenForAdmin, reach } from '../../src/admin/admin-socket.ts';
import { askServer } from '../../src/admin/client.ts';
import { writeLine } from '../../src/admin/json-lines.ts';
import { failureOf } from '../harness/failure-of.ts';
import { run } from '../harness/tools.ts';
import { untilHolds } from '../harness/waiting.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

let workspace: Workspace;

beforeAll(async () => {
  workspace = await createWorkspace('admin');
});

afterAll(() => workspace.remove());

const refusal = async (path: string): Promise<string> => {
  const error = await failureOf(listenForAdmin(path, () => undefined));
  expect(error).toBeInstanceOf(AdminSocketUnavailable);
  return error.message;
};

test('what cannot be listened on is told with the way out', async () => {
  const long = workspace.join('x'.repeat(120));
  expect(await refusal(long)).toContain('at most 107): set admin.socket to a shorter one');
  expect(await reach(long)).toBeUndefined();
  const file = workspace.join('file');
  await writeFile(file, 'not yours');
  expect(await refusal(file)).toContain('no socket: remove it, or set admin.socket');
  expect((await lstat(file)).size).toBe(9);
  expect(await refusal(`${file}/admin.sock`)).toContain(`${file}/admin.sock: `);
});

test('of two servers the first has it; what is no longer ours is not removed', async () => {
  const path = workspace.join('admin.sock');
  const first = await listenForAdmin(path, (socket) => socket.end());
  expect((await lstat(path)).mode & 0o777).toBe(0o600);
  expect(await refusal(path)).toContain('another server listens there');
  const living = await reach(path);
  expect(living).toBeDefined();
  living?.destroy();
  await first.close();
  expect((await failureOf(lstat(path))).message).toContain('ENOENT');
  expect(await reach(path)).toBeUndefined();
  const second = await listenForAdmin(path, () => undefined);
  // As by another machine that shares the folder.
  await unlink(path);
  const third = await listenForAdmin(path, (socket) => socket.end());
  await second.close();
  const reached = await reach(path);
  expect(reached).toBeDefined();
  reached?.destroy();
  await third.close();
  // Two that come at once, also where a dead one has left the name.
  for (let round = 0; round < 20; round += 1) {
    if (round > 10) await (await listenForAdmin(path, () => undefined)).close();
    const both = await Promise.allSettled([0, 1].map(() => listenForAdmin(path, (socket) => socket.end())));
    const [won, ...others] = both.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    expect(others).toEqual([]);
    const there = await reach(path);
    expect(there).toBeDefined();
    there?.destroy();
    await won?.close();
  }
  expect(await readdir(workspace.path)).toEqual(['file']);
});

test("another user's socket is not taken for none: it is told whose it is", async () => {
  const folder = await workspace.folder('theirs');
  const path = join(folder, 'admin.sock');
  const listening = await listenForAdmin(path, (socket) => socket.end());
  const username = (await run('id', ['-un'])).stdout.trim();
  const told = (place: string) => `${path}: permission denied: ${place} belongs to ${username}: run this`;
  const forbidden = async () => (await failureOf(asNobody(() => reach(path)))).message;
  try {
    await chmod(workspace.path, 0o755);
    await chmod(folder, 0o755);
    await chmod(path, 0o000);
    expect(await forbidden()).toContain(told(path));
    await chmod(folder, 0o000);
    expect(await forbidden()).toContain(told(folder));
    expect(await forbidden()).toContain(`sudo -u ${username} `);
  } finally {
    await chmod(folder, 0o700);
    await listening.close();
    await rmdir(folder);
  }
});

/** Not as root, who may everything. */
async function asNobody<T>(work: () => Promise<T>): Promise<T> {
  const user = process.geteuid?.();
  if (user === 0) process.seteuid?.(65_534);
  try {
    return await work();
  } finally {
    if (user === 0) process.seteuid?.(0);
  }
}

test('a client is told when the server ends in the middle of a word', async () => {
  const path = workspace.join('broken.sock');
  const server = createServer((socket) => {
    writeLine(socket, { tell: 'event', event: { kind: 'items', items: [] } });
    socket.end('{"tell":"en');
  });
  await new Promise<void>((resolve) => {
    server.listen(path, resolve);
  });
  try {
    const conversation = await askServer(path, { ask: 'watch', job: 'gc' });
    const told: string[] = [];
    const reading = (async () => {
      for await (const one of conversation?.told() ?? []) told.push(one.tell);
    })();
    expect((await failureOf(reading)).message).toContain('the server has ended the conversation');
    expect(told).toEqual(['event']);
  } finally {
    server.close();
  }
});

test('one that cannot get its name leaves nothing that listens', async () => {
  const folder = await workspace.folder('nameless');
  // A socket cannot be renamed to what only a folder can be called.
  const error = await failureOf(listenForAdmin(`${folder}/socket/`, () => undefined));
  expect(error).toBeInstanceOf(AdminSocketUnavailable);
  await untilHolds(async () => (await readdir(folder)).length === 0);
});
